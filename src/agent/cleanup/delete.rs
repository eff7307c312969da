//! Deletes backups: metadata first, so that a backup is invisible before its tar is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::tombstone::{apply, delete_metadata, delete_tar, described};
use crate::agent::catalog::Entry;
use crate::agent::folder::{Claim, ClaimKind};
use crate::agent::journal::{Header, Journal, Journals, Tombstone};
use crate::agent::location::Location;
use crate::error::{Error, Kind, Result};
use crate::store::{Error as StoreError, Key, Object, Patience, Stem};

/// How long a deletion waits for a commit of the same backup.
const COMMIT_WAIT: Duration = Duration::from_secs(12);

type StoreResult<T> = std::result::Result<T, StoreError>;

/// A backup whose metadata is deleted; its tar follows.
#[derive(Debug)]
pub(in crate::agent) struct Deletion {
    location: Arc<Location>,
    tar: Key,
    /// The tar as it was found, if there is one.
    found: Option<Object>,
    journal: Option<Journal>,
    /// Without its metadata the tar would look like an orphan to adopt.
    _claim: Claim,
}

/// The objects of a backup to delete.
#[derive(Debug)]
struct Target<'a> {
    tar: &'a Key,
    found: Option<Object>,
    metadata: &'a Key,
    /// SHA-256 of the metadata object.
    sha256: &'a str,
    backup_id: &'a str,
}

/// A copy of a backup that is deleted once a newer one is complete.
#[derive(Debug, Clone)]
pub(in crate::agent) struct EarlierCopy {
    pub(in crate::agent) stem: Stem,
    /// SHA-256 of its metadata object.
    pub(in crate::agent) metadata: String,
}

impl Deletion {
    /// Deletes the metadata of a listed backup, which is invisible then. Returns none if the metadata was gone already or
    /// describes another backup.
    ///
    /// # Errors
    /// Errors of the storage. The backup is unchanged then, or the sweep finishes its deletion.
    async fn begin(
        location: &Arc<Location>,
        copy: &Entry,
        backup_id: &str,
        journals: &Arc<Journals>,
    ) -> StoreResult<Option<Self>> {
        let tar = &copy.tar.key;
        let patience = Patience::INTERACTIVE;
        let Some(metadata) = tar.metadata_of_tar() else {
            return Ok(None);
        };
        match described(location, &metadata, patience).await? {
            Some(described) if described.backup_id.as_deref() == Some(backup_id) => {
                let target = Target {
                    tar,
                    found: Some(copy.tar.clone()),
                    metadata: &metadata,
                    sha256: &described.sha256,
                    backup_id,
                };
                Self::of(location, target, patience, journals)
                    .await
                    .map(Some)
            }
            Some(_) => Ok(None),
            None => {
                let tombstone = Tombstone::Deleted {
                    version: copy.tar.version.clone(),
                };
                apply(location, tar, &tombstone, patience, |_| false).await?;
                Ok(None)
            }
        }
    }

    /// Deletes the metadata of an earlier copy, if that is unchanged.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(in crate::agent) async fn begin_copy(
        location: &Arc<Location>,
        copy: &EarlierCopy,
        backup_id: &str,
        journals: &Arc<Journals>,
    ) -> StoreResult<Option<Self>> {
        let patience = location.patience();
        let tar = location.folder.keys.tar(&copy.stem);
        let metadata = location.folder.keys.metadata(&copy.stem);
        // From here on no upload of this agent chooses the name.
        let _claim = location.folder.claim(&tar, ClaimKind::Deletion);
        let store = &location.store;
        let found = store.object_or_listed_if_any(&tar, patience).await?;
        let described = described(location, &metadata, patience).await?;
        if described.is_none_or(|described| described.sha256 != copy.metadata) {
            return Ok(None);
        }
        let target = Target {
            tar: &tar,
            found,
            metadata: &metadata,
            sha256: &copy.metadata,
            backup_id,
        };
        Self::of(location, target, patience, journals)
            .await
            .map(Some)
    }

    async fn of(
        location: &Arc<Location>,
        target: Target<'_>,
        patience: Patience,
        journals: &Arc<Journals>,
    ) -> StoreResult<Self> {
        let claim = location.folder.claim(target.tar, ClaimKind::Deletion);
        let header = Header {
            folder: location.folder.id.clone(),
            key: target.tar.to_string(),
            backup_id: target.backup_id.to_owned(),
            upload_id: None,
            part_size: 0,
            size: None,
            kept: None,
        };
        let journal = journals.begin(header).await;
        if let Some(journal) = &journal {
            let version = target.found.as_ref().map(|found| found.version.clone());
            let version = version.unwrap_or_default();
            journal.bury(Tombstone::Deleted { version }).await;
        }
        delete_metadata(location, target.metadata, target.sha256, patience).await?;
        Ok(Self {
            location: Arc::clone(location),
            tar: target.tar.clone(),
            found: target.found,
            journal,
            _claim: claim,
        })
    }

    /// Deletes the tar. If that fails, retries in the background for as long as an outage may last.
    pub(in crate::agent) async fn finish(self, patience: Patience, tasks: &TaskTracker) {
        match self.delete_tar(patience).await {
            Ok(()) => self.end().await,
            Err(error) => {
                warn!(
                    "{error}; its metadata is deleted, so the deletion continues in the background"
                );
                tasks.spawn(async move {
                    let patience = self.location.patience();
                    match self.delete_tar(patience).await {
                        Ok(()) => self.end().await,
                        Err(error) => warn!(
                            "could not delete \"{}\"; the sweep will retry: {error}",
                            self.tar
                        ),
                    }
                });
            }
        }
    }

    async fn delete_tar(&self, patience: Patience) -> StoreResult<()> {
        match &self.found {
            Some(found) => delete_tar(&self.location, found, patience).await,
            None => Ok(()),
        }
    }

    async fn end(self) {
        if let Some(journal) = self.journal {
            journal.end().await;
        }
    }
}

/// Deletes a backup: the metadata of all its copies, then their tars.
///
/// # Errors
/// [`Kind::BackupNotFound`], and errors of the storage.
pub(in crate::agent) async fn delete(
    location: &Arc<Location>,
    backup_id: &str,
    journals: &Arc<Journals>,
    tasks: &TaskTracker,
) -> Result<()> {
    let changing = location.folder.changing(backup_id);
    let Ok(_changing) = timeout(COMMIT_WAIT, changing.write()).await else {
        return Err(being_committed(backup_id));
    };
    let found = location.note_error(location.find_all(backup_id).await)?;
    if !delete_found(location, found, backup_id, journals, tasks).await? {
        // The list may be stale, and the backup renamed since.
        match location.find_all(backup_id).await {
            Ok(found) => drop(delete_found(location, found, backup_id, journals, tasks).await?),
            // Another agent deleted it: deleting is idempotent.
            Err(error) if error.kind() == Kind::BackupNotFound => {}
            Err(error) => return location.note_error(Err(error)),
        }
    }
    location.history().counts.deleted += 1;
    Ok(())
}

/// Error for a deletion of a backup whose commit waits for its storage.
fn being_committed(backup_id: &str) -> Error {
    let detail = format!("The backup \"{backup_id}\" is still being stored.");
    Error::new(Kind::StorageTimeout, detail).with_hint("Cancel its upload, or delete it later.")
}

/// Deletes all copies of a backup as listed, and returns whether any existed.
async fn delete_found(
    location: &Arc<Location>,
    (entry, mut copies): (Entry, Vec<Entry>),
    backup_id: &str,
    journals: &Arc<Journals>,
    tasks: &TaskTracker,
) -> Result<bool> {
    let start = Instant::now();
    // Earlier copies first: they would be listed in its place.
    copies.push(entry);
    let (mut deletions, mut failed) = (Vec::new(), None);
    for copy in &copies {
        match Deletion::begin(location, copy, backup_id, journals).await {
            Ok(deletion) => deletions.extend(deletion),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let existed = !deletions.is_empty();
    if existed || failed.is_none() {
        location.changed(backup_id);
    }
    for deletion in deletions {
        let tar = deletion.tar.clone();
        deletion.finish(Patience::INTERACTIVE, tasks).await;
        info!(
            location = location.id(),
            duration_ms = start.elapsed().as_millis(),
            "deleted \"{tar}\" from {}",
            location.store.description()
        );
    }
    location.note(failed.map_or(Ok(existed), Err))
}
