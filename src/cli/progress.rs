//! Progress bars that follow uploads.

use std::collections::HashMap;

use indicatif::ProgressBar;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::Agent;
use crate::agent::model::{Event, UploadStatus};

/// Moves `bar` with the stored bytes of all matching uploads, until the handle is dropped.
pub(super) fn follow_uploads(
    agent: &Agent,
    bar: &ProgressBar,
    matches: impl Fn(&UploadStatus) -> bool + Send + 'static,
) -> AbortOnDropHandle<()> {
    let mut events = agent.events().subscribe();
    let bar = bar.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut stored: HashMap<String, u64> = HashMap::new();
        while let Ok(event) = events.recv().await {
            if let Event::Upload(upload) = event
                && matches(&upload)
            {
                stored.insert(upload.backup_id, upload.stored_bytes);
                bar.set_position(stored.values().sum());
            }
        }
    }))
}
