//! Tasks that outlive their caller, and their errors.

use tokio::task::JoinError;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Kind, Result};

/// Runs work as a task of its own: a client that disconnects does not interrupt it.
pub(super) async fn to_end<T: Send + 'static>(
    tasks: &TaskTracker,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    tasks.spawn(work).await.map_err(stopped)
}

/// Error of work that is refused or aborted because the agent shuts down.
pub(crate) fn shutting_down() -> Error {
    Error::new(Kind::ShuttingDown, "The agent is stopping.")
}

/// Error of a task that panicked.
pub(super) fn stopped(panicked: JoinError) -> Error {
    Error::new(Kind::Internal, "The task panicked.").with_source(panicked)
}
