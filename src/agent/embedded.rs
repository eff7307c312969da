//! The embedded location, a directory on this machine, is there until the agent has a bucket.

use std::sync::Arc;

use tracing::{info, warn};

use super::registry::Registry;
use super::uploads::Uploads;
use crate::config::Origin;

/// Removes the embedded location once there is another one, if it holds nothing. Otherwise it stays, so that its backups can
/// be reached, and the log says where they are.
pub(super) async fn retire_embedded(locations: Arc<Registry>, uploads: Arc<Uploads>) {
    let all = locations.all();
    let mut embedded = all.iter();
    let Some(embedded) = embedded.find(|it| it.settings.origin == Origin::Embedded) else {
        return;
    };
    let (id, directory) = (embedded.id(), embedded.store.description());
    if all.len() == 1 || uploads.status().iter().any(|it| it.location == id) {
        return;
    }
    // An error is in its status, and in the log.
    let Ok(view) = embedded.list_and_note(true).await else {
        return;
    };
    if view.listing.is_empty() && view.listing.orphans.is_empty() {
        info!("{directory} is empty, and not needed any more");
        drop(locations.remove(id));
        uploads.remove_location(id).await;
    } else {
        warn!(
            location = id,
            backups = view.listing.entries.len(),
            "{directory} holds backups from before the first bucket. They can be listed, downloaded and copied as the \
             location \"{id}\", until they are deleted. To offer the directory to Home Assistant, name it under [[locations]]"
        );
    }
}
