//! What has to go from a location, and goes even when the agent is killed or the storage is away meanwhile.
//!
//! It is noted in the journal first, and the sweep carries out what was left. Before anything is removed it is looked at
//! whose it is: another agent on the same folder may have taken the name since.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::folder::{Claim, is_settled};
use super::journal::{Header, Journal, Journals, Left};
use super::listing::{Entry, MAX_METADATA_BYTES};
use super::location::Location;
use crate::backup::StoredBackup;
use crate::error::{Kind, Result};
use crate::store::{Error as StoreError, Key, Multipart, Object, Outcome, Patience, Stem};
use crate::units::sha256;

type StoreResult<T> = std::result::Result<T, StoreError>;

/// What has to go, as the journal notes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Removal {
    /// What is in place of an upload that failed at its end, which its sender was told: the metadata object that has this
    /// SHA-256, when it may have got there, and the tar, of this version where that was seen. No other attempt writes the
    /// same metadata, while all of them may write the same tar.
    Failed {
        metadata: Option<String>,
        version: Option<String>,
    },
    /// The tar of this version, of a backup that was deleted. Where its metadata is still there, nothing was deleted.
    Deleted { version: String },
}

/// A backup whose metadata is deleted; its tar follows.
#[derive(Debug)]
pub(super) struct Deletion {
    location: Arc<Location>,
    tar: Key,
    journal: Option<Journal>,
    /// Without its metadata it would look like one that waits to be adopted.
    _leaving: Claim,
}

impl Deletion {
    /// Deletes the metadata of the backup whose tar has this key, and this version: it is invisible then. Nothing when
    /// that was done, or another backup is described there by now.
    ///
    /// # Errors
    /// What a request can come to; the backup is there as before then, or the sweep ends what was begun.
    pub(super) async fn begin(
        location: &Arc<Location>,
        (tar, version): (&Key, &str),
        backup_id: &str,
        patience: Patience,
        journals: &Arc<Journals>,
    ) -> StoreResult<Option<Self>> {
        let Some(metadata) = tar.metadata_of_tar() else {
            return Ok(None);
        };
        match described(location, &metadata, patience).await? {
            Some(described) if described.backup_id.as_deref() == Some(backup_id) => {}
            Some(_) => return Ok(None),
            None => {
                let removal = Removal::Deleted {
                    version: version.to_owned(),
                };
                carry_out(location, tar, &removal, patience, |_| false).await?;
                return Ok(None);
            }
        }
        Self::of_described(
            location,
            [tar, &metadata],
            version,
            (backup_id, patience, journals),
        )
        .await
        .map(Some)
    }

    /// The same for an earlier copy of a backup, when it is still the one that its metadata object's SHA-256 tells.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(super) async fn begin_copy(
        location: &Arc<Location>,
        copy: &EarlierCopy,
        backup_id: &str,
        patience: Patience,
        journals: &Arc<Journals>,
    ) -> StoreResult<Option<Self>> {
        let (tar, metadata) = (
            location.keys.tar(&copy.stem),
            location.keys.metadata(&copy.stem),
        );
        // From here on no upload of this agent chooses the name.
        let _leaving = location.folder.claim_deletion(&tar);
        let version = location
            .store
            .object_if_any(&tar, patience)
            .await?
            .map(|found| found.version);
        let described = described(location, &metadata, patience).await?;
        if described.is_none_or(|described| described.sha256 != copy.metadata) {
            return Ok(None);
        }
        let version = version.unwrap_or_default();
        Self::of_described(
            location,
            [&tar, &metadata],
            &version,
            (backup_id, patience, journals),
        )
        .await
        .map(Some)
    }

    async fn of_described(
        location: &Arc<Location>,
        [tar, metadata]: [&Key; 2],
        version: &str,
        (backup_id, patience, journals): (&str, Patience, &Arc<Journals>),
    ) -> StoreResult<Self> {
        let leaving = location.folder.claim_deletion(tar);
        let journal = journals.begin(header(location, tar, backup_id)).await;
        if let Some(journal) = &journal {
            journal
                .removing(Removal::Deleted {
                    version: version.to_owned(),
                })
                .await;
        }
        location.store.delete(metadata, patience).await?;
        Ok(Self {
            location: Arc::clone(location),
            tar: tar.clone(),
            journal,
            _leaving: leaving,
        })
    }

    /// Deletes the tar; one that resists is deleted in the background, for as long as the storage may be away.
    pub(super) async fn finish(self, patience: Patience, tasks: &TaskTracker) {
        match self.location.store.delete(&self.tar, patience).await {
            Ok(()) => self.end().await,
            Err(error) => {
                warn!("{error}; its metadata is gone, so it goes on in the background");
                tasks.spawn(async move {
                    match self
                        .location
                        .store
                        .delete(&self.tar, self.location.patience())
                        .await
                    {
                        Ok(()) => self.end().await,
                        Err(error) => warn!("\"{}\" is left behind for now: {error}", self.tar),
                    }
                });
            }
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
/// [`crate::error::Kind::BackupNotFound`], and what a request can come to.
pub(super) async fn delete(
    location: &Arc<Location>,
    backup_id: &str,
    journals: &Arc<Journals>,
    tasks: &TaskTracker,
) -> Result<()> {
    let found = location.note_error(location.listings.find_all(backup_id).await)?;
    if !delete_found(location, found, backup_id, journals, tasks).await? {
        // The list may be old, and the backup have another name by now.
        match location.listings.find_all(backup_id).await {
            Ok(found) => drop(delete_found(location, found, backup_id, journals, tasks).await?),
            // Somebody else deleted it; what was wanted is so.
            Err(error) if error.kind() == Kind::BackupNotFound => {}
            Err(error) => return location.note_error(Err(error)),
        }
    }
    location.history.deleted();
    Ok(())
}

/// Deletes a backup as the list has it, and says whether it was there.
async fn delete_found(
    location: &Arc<Location>,
    (entry, mut copies): (Entry, Vec<Entry>),
    backup_id: &str,
    journals: &Arc<Journals>,
    tasks: &TaskTracker,
) -> Result<bool> {
    let (start, patience) = (Instant::now(), Patience::INTERACTIVE);
    // Earlier copies first: they would come to light in its place.
    copies.push(entry);
    let (mut deletions, mut failed) = (Vec::new(), None);
    for copy in &copies {
        match Deletion::begin(
            location,
            (&copy.tar.key, &copy.tar.version),
            backup_id,
            patience,
            journals,
        )
        .await
        {
            Ok(deletion) => deletions.extend(deletion),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let was_there = !deletions.is_empty();
    if was_there || failed.is_none() {
        location.changed(backup_id);
    }
    for deletion in deletions {
        let tar = deletion.tar.clone();
        deletion.finish(patience, tasks).await;
        let (duration_ms, place) = (start.elapsed().as_millis(), location.store.place());
        info!(
            location = location.id(),
            duration_ms, "deleted \"{tar}\" from {place}"
        );
    }
    location.note(failed.map_or(Ok(was_there), |error| Err(error.into())))
}

/// A copy of a backup that goes when a newer one is complete.
#[derive(Debug, Clone)]
pub(super) struct EarlierCopy {
    pub(super) stem: Stem,
    /// SHA-256 of its metadata object.
    pub(super) metadata: String,
}

/// A metadata object.
struct Described {
    /// The backup that it describes, where it can be read.
    backup_id: Option<String>,
    sha256: String,
}

async fn described(
    location: &Location,
    metadata: &Key,
    patience: Patience,
) -> StoreResult<Option<Described>> {
    match location
        .store
        .read(metadata, MAX_METADATA_BYTES, patience)
        .await
    {
        Ok(json) => {
            let backup_id = StoredBackup::parse(&json)
                .ok()
                .map(|stored| stored.backup.backup_id);
            Ok(Some(Described {
                backup_id,
                sha256: sha256(&json),
            }))
        }
        Err(error) if error.outcome == Outcome::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes what is in place of an upload of `size` bytes that failed; says whether it is gone. A tar of another size is
/// another agent's, or will be removed by the sweep.
pub(super) async fn erase(location: &Location, tar: &Key, removal: &Removal, size: u64) -> bool {
    let patience = location.patience();
    let gone = carry_out(location, tar, removal, patience, |found| {
        found.size == size || is_settled(found)
    })
    .await;
    gone.unwrap_or_else(|error| {
        warn!("\"{tar}\" is left behind for now: {error}");
        false
    })
}

/// Removes what an upload or a deletion left that nobody goes on with, then its journal. What resists is left to the sweep.
pub(super) fn abandon(location: &Arc<Location>, left: Left, tasks: &TaskTracker) {
    let location = Arc::clone(location);
    tasks.spawn(async move {
        let Left {
            header,
            journal,
            removal,
            ..
        } = left;
        if let Some(multipart) = multipart(&location, &header)
            && !abort(&location, &multipart, &header.key).await
        {
            return journal.unwanted().await;
        }
        let Some(removal) = removal else {
            return journal.end().await;
        };
        let key = Key::new(&header.key);
        let leaving = {
            // No upload chooses the name meanwhile; one that has it comes first.
            let _creating = location.folder.creating.lock().await;
            if location.folder.has_upload(&key) {
                return;
            }
            location.folder.claim_deletion(&key)
        };
        let gone = carry_out(&location, &key, &removal, location.patience(), is_settled).await;
        drop(leaving);
        match gone {
            Ok(true) => journal.end().await,
            Ok(false) => {}
            Err(error) => warn!("\"{key}\" is left behind for now: {error}"),
        }
    });
}

/// Aborts an upload in parts, and says whether it is gone.
pub(super) async fn abort(location: &Location, multipart: &Multipart, key: &str) -> bool {
    let aborted = multipart.abort(location.patience()).await;
    aborted
        .inspect_err(|error| warn!("the parts of \"{key}\" are left behind for now: {error}"))
        .is_ok()
}

/// The upload in parts that a journal tells of.
pub(super) fn multipart(location: &Location, header: &Header) -> Option<Multipart> {
    Multipart::resume(
        &location.store,
        &Key::new(&header.key),
        header.upload_id.as_ref()?,
    )
}

/// Removes what has to go. Not yet, when a tar is there that is not known to be it, and that is not `may_go`.
async fn carry_out(
    location: &Location,
    tar: &Key,
    removal: &Removal,
    patience: Patience,
    may_go: impl Fn(&Object) -> bool,
) -> StoreResult<bool> {
    let Some(metadata) = tar.metadata_of_tar() else {
        return Ok(true);
    };
    let ours = match removal {
        Removal::Failed { metadata, .. } => metadata.as_deref(),
        Removal::Deleted { .. } => None,
    };
    if !take_back(location, &metadata, ours, patience).await? {
        // A backup has this name now.
        return Ok(true);
    }
    let Some(found) = location.store.object_if_any(tar, patience).await? else {
        return Ok(true);
    };
    match removal {
        Removal::Deleted { version }
        | Removal::Failed {
            version: Some(version),
            ..
        } => {
            if !is_same(version, &found.version) {
                return Ok(true);
            }
        }
        Removal::Failed { version: None, .. } if !may_go(&found) => return Ok(false),
        Removal::Failed { .. } => {}
    }
    location.store.delete(tar, patience).await?;
    location.outdated();
    Ok(true)
}

/// Removes a metadata object when it is the one with this SHA-256, and says whether there is none then.
pub(super) async fn take_back(
    location: &Location,
    metadata: &Key,
    ours: Option<&str>,
    patience: Patience,
) -> StoreResult<bool> {
    match described(location, metadata, patience).await? {
        None => Ok(true),
        Some(described) if ours == Some(&*described.sha256) => {
            location.store.delete(metadata, patience).await?;
            location.outdated();
            Ok(true)
        }
        Some(_) => Ok(false),
    }
}

/// Servers do not agree with themselves on the quotation marks of an `ETag`.
fn is_same(one: &str, other: &str) -> bool {
    one.trim_matches('"') == other.trim_matches('"')
}

fn header(location: &Location, tar: &Key, backup_id: &str) -> Header {
    let (place, key, backup_id) = (
        location.store.place().to_owned(),
        tar.to_string(),
        backup_id.to_owned(),
    );
    Header {
        place,
        key,
        backup_id,
        upload_id: None,
        part_size: 0,
        size: None,
        kept: None,
    }
}
