//! Errors of tasks that do not reach their end.

use tokio::task::JoinError;

use crate::error::{Error, Kind};

/// Error of work that is refused or aborted because the agent shuts down.
pub(crate) fn shutting_down() -> Error {
    Error::new(Kind::ShuttingDown, "The agent is stopping.")
}

/// Error of a task that panicked.
pub(super) fn stopped(panicked: JoinError) -> Error {
    Error::new(Kind::Internal, "The work stopped in the middle.").with_source(panicked)
}
