//! The embedded location, a directory on this machine, is there until the agent has a bucket.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::cleanup::Sweeper;
use super::registry::Registry;
use super::uploads::Uploads;
use crate::config::Origin;
use crate::store::Patience;

/// Interval between attempts while an upload or a deletion is in the way.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Removes the embedded location once there is another one, if it holds nothing. Otherwise it stays, so that its backups can
/// be reached, and the log says where they are. While an upload or a deletion is in the way, it is retried in the background.
pub(super) async fn retire_embedded(
    locations: Arc<Registry>,
    uploads: Arc<Uploads>,
    sweeper: Sweeper,
) {
    if is_decided(&locations, &uploads, &sweeper).await {
        return;
    }
    tokio::spawn(async move {
        while uploads.refuse_when_stopping().is_ok() {
            sleep(RETRY_INTERVAL).await;
            if is_decided(&locations, &uploads, &sweeper).await {
                return;
            }
        }
    });
}

/// Removes the embedded location if it holds nothing. Returns false if an upload or a deletion is in the way.
async fn is_decided(locations: &Registry, uploads: &Uploads, sweeper: &Sweeper) -> bool {
    let all = locations.all();
    let mut embedded = all.iter();
    let Some(embedded) = embedded.find(|it| it.settings.origin == Origin::Embedded) else {
        return true;
    };
    if all.len() == 1 {
        return true;
    }
    let (id, directory) = (embedded.id(), embedded.store.description());
    let is_in_use = || {
        let mut active = uploads.status().into_iter();
        active.any(|it| it.location == id) || embedded.folder.is_claimed()
    };
    if is_in_use() {
        return false;
    }
    let generation = embedded.catalog.generation();
    let (folder, patience) = (embedded.folder.keys.folder(), Patience::INTERACTIVE);
    // Parts of interrupted uploads: without a location, the sweep would never remove them.
    let has_leftovers = match embedded.store.leftovers(folder, patience).await {
        Ok(found) => !found.all.is_empty(),
        Err(_) => true,
    };
    // An error is in its status, and in the log.
    let Ok(view) = embedded.list_and_note(true).await else {
        return true;
    };
    // No await from here to the removal. The refresh is one generation; another one is a change, which the list may lack.
    if is_in_use() || embedded.catalog.generation() > generation + 1 {
        return false;
    }
    if view.error.is_some() || has_leftovers {
        return true;
    }
    if view.listing.is_empty() && view.listing.orphans.is_empty() {
        info!("{directory} is empty, and not needed any more");
        drop(locations.remove(id));
        uploads.remove_location(id).await;
        sweeper.sweep_abandoned(embedded).await;
    } else {
        warn!(
            location = id,
            backups = view.listing.entries.len(),
            "{directory} holds backups from before the first bucket. They can be listed, downloaded and copied as the \
             location \"{id}\", until they are deleted. To offer the directory to Home Assistant, name it under [[locations]]"
        );
    }
    true
}
