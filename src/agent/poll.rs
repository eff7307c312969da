//! Polls the storage of idle locations, so that a status is never about yesterday.
//!
//! A poll is a list: one request for up to a thousand objects. Locations are polled at different times.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

use super::verify::Verifier;

/// How often the agent looks for locations to poll.
const INTERVAL: Duration = Duration::from_mins(1);

/// Polls until `stopping`.
pub(super) async fn poll(verifier: Verifier, stopping: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
    let polling = async {
        loop {
            ticks.tick().await;
            let mut idle = verifier.locations.all();
            idle.retain(|location| location.is_to_be_asked());
            join_all(idle.iter().map(async |location| {
                // Its error is in the location's status.
                drop(location.list_and_note(true).await);
                // A command may have verified backups meanwhile.
                verifier.show(location);
            }))
            .await;
        }
    };
    tokio::select! {
        () = stopping.cancelled() => {}
        () = polling => {}
    }
}
