//! Decisions before the first byte: the backup's key and the size of its parts.

use std::sync::Arc;

use chrono::Utc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::retention::Uploader;
use crate::agent::catalog::MAX_METADATA_BYTES;
use crate::agent::cleanup::EarlierCopy;
use crate::agent::folder::{Claim, ClaimKind};
use crate::agent::journal::{Header, Interrupted, Journals};
use crate::agent::location::Location;
use crate::agent::model::{UploadState, UploadStatus};
use crate::backup::{AgentBackup, StoredBackup};
use crate::config::settings::PART_SIZE;
use crate::error::{Error, Kind, Result};
use crate::store::{Key, Outcome, Patience, Stem, Store};
use crate::units::{rfc3339, sha256};

/// Names to try for one backup.
const MAX_STEMS: usize = 20;

/// Names that the copies of one backup alternate between.
const NAMES_OF_COPIES: usize = 2;

/// What uploads share.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Context {
    pub(in crate::agent) stopping: CancellationToken,
    pub(in crate::agent) tasks: TaskTracker,
    pub(in crate::agent) journals: Arc<Journals>,
}

/// Request for an upload.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Announcement {
    pub(in crate::agent) backup: AgentBackup,
    pub(in crate::agent) filename: String,
    pub(in crate::agent) uploader: Uploader,
    /// Part size in bytes, instead of the location's.
    pub(in crate::agent) part_size: Option<u64>,
}

/// What is known of an upload before it has a name.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) id: String,
    pub(super) location: Arc<Location>,
    /// The location's storage; reports outages to the upload.
    pub(super) store: Store,
    pub(super) backup: AgentBackup,
    pub(super) filename: String,
    pub(super) uploader: Uploader,
    pub(super) part_size: u64,
    pub(super) started: Instant,
    pub(super) context: Context,
}

/// Constants of one upload.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) id: String,
    pub(super) location: Arc<Location>,
    /// The location's storage; reports outages to the upload.
    pub(super) store: Store,
    pub(super) backup: AgentBackup,
    pub(super) uploader: Uploader,
    pub(super) part_size: u64,
    pub(super) tar: Key,
    pub(super) metadata: Key,
    /// Copies of the backup that are deleted once this one is complete.
    pub(super) replaced: Vec<EarlierCopy>,
    /// Whether a tar under the key is an earlier attempt's.
    pub(super) is_own_tar: bool,
    pub(super) started: Instant,
    pub(super) context: Context,
}

/// A name for a backup.
pub(super) struct Choice {
    pub(super) stem: Stem,
    /// The key is this upload's until the claim is dropped.
    pub(super) claim: Claim,
    /// Copies of the same backup under other names.
    pub(super) replaced: Vec<EarlierCopy>,
}

impl Outline {
    /// The key that the tar gets if nothing has it.
    fn first_key(&self) -> Key {
        let stem = Stem::from_filename(&self.filename);
        self.location.folder.keys.tar(&stem)
    }

    /// The status that an upload begins with.
    pub(super) fn status(&self) -> UploadStatus {
        UploadStatus {
            upload_id: self.id.clone(),
            location: self.location.id().to_owned(),
            backup_id: self.backup.backup_id.clone(),
            name: self.backup.name.clone(),
            key: self.first_key().to_string(),
            state: UploadState::Receiving,
            started_at: rfc3339(Utc::now()),
            stored_bytes: 0,
            total_bytes: self.backup.size,
            resumed_bytes: 0,
            differs: false,
            waiting: None,
            waiting_until: None,
            error: None,
        }
    }
}

impl Plan {
    /// The first line of its journal.
    pub(super) fn header(&self, upload_id: Option<&str>) -> Header {
        Header {
            folder: self.location.folder.id.clone(),
            key: self.tar.to_string(),
            backup_id: self.backup.backup_id.clone(),
            upload_id: upload_id.map(str::to_owned),
            part_size: self.part_size,
            size: Some(self.backup.size),
            kept: Some(self.location.settings.keeps()),
        }
    }

    /// How long requests are retried.
    pub(super) fn patience(&self) -> Patience {
        self.location.patience()
    }
}

impl Outline {
    /// Chooses and claims a free name, and finds the earlier copies of this backup.
    ///
    /// A backup that is uploaded repeatedly alternates between its first two names, so both are examined.
    ///
    /// A key is never overwritten: not another backup's, not this backup's earlier copy before the new one is complete, and
    /// not an orphaned tar, which may wait to be adopted. The exception is the tar of an earlier attempt at this backup that
    /// was killed just before it wrote the metadata.
    pub(super) async fn choose_stem(&self, interrupted: &[Interrupted]) -> Result<Choice> {
        let (backup_id, folder) = (&self.backup.backup_id, &self.location.folder);
        let (store, patience) = (&self.store, self.location.patience());
        let first = Stem::from_filename(&self.filename);
        let (mut free, mut replaced) = (None, Vec::new());
        for attempt in 0..MAX_STEMS {
            let stem = first.attempt(attempt, backup_id);
            let (tar, metadata) = (folder.keys.tar(&stem), folder.keys.metadata(&stem));
            if folder.is_taken(&tar) {
                continue;
            }
            match store.read(&metadata, MAX_METADATA_BYTES, patience).await {
                Ok(json) => {
                    let stored = StoredBackup::parse(&json).ok();
                    if stored.is_some_and(|stored| stored.backup.backup_id == *backup_id) {
                        replaced.push(EarlierCopy {
                            stem,
                            metadata: sha256(&json),
                        });
                    }
                }
                // No list shows such an object, but it takes the name.
                Err(error)
                    if error.outcome == Outcome::Refused && self.is_too_large(&metadata).await => {}
                Err(error) if error.outcome != Outcome::NotFound => return Err(error.into()),
                Err(_) if free.is_some() => {}
                Err(_) => {
                    let found = store.object_if_any(&tar, patience).await?;
                    if found.is_none() || is_own(interrupted, &tar) {
                        let claim = folder.try_claim(&tar, ClaimKind::Upload);
                        free = claim.map(|claim| (stem, claim));
                    }
                }
            }
            if attempt >= NAMES_OF_COPIES - 1
                && let Some((stem, claim)) = free.take()
            {
                return Ok(Choice {
                    stem,
                    claim,
                    replaced,
                });
            }
        }
        Err(self.all_names_taken())
    }

    /// Whether an object is larger than any metadata that this agent reads.
    async fn is_too_large(&self, metadata: &Key) -> bool {
        let size = self.store.size(metadata, self.location.patience()).await;
        size.is_ok_and(|size| size > MAX_METADATA_BYTES)
    }

    fn all_names_taken(&self) -> Error {
        let detail = format!(
            "All names for the backup \"{}\" are taken in {}.",
            self.backup.backup_id,
            self.location.store.description()
        );
        Error::new(Kind::StorageError, detail)
            .with_hint("Remove copies of it that are no longer needed.")
    }
}

/// Whether an interrupted upload claims this key.
pub(super) fn is_own(interrupted: &[Interrupted], tar: &Key) -> bool {
    interrupted
        .iter()
        .any(|upload| upload.header.key == tar.as_str())
}

/// The smallest part size that keeps a backup within the number of parts, with room for a backup that turns out larger.
pub(super) fn part_size(wanted: u64, size: u64, max_parts: u64) -> Result<u64> {
    let needed = size
        .saturating_add(size / 16)
        .div_ceil(max_parts)
        .next_multiple_of(1024 * 1024);
    if needed > PART_SIZE.max {
        let detail = format!(
            "{size} bytes are more than this provider stores as one object, in {max_parts} parts."
        );
        return Err(Error::new(Kind::InvalidRequest, detail));
    }
    Ok(wanted.max(needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_to_stay_within_the_providers_number() {
        const MIB: u64 = 1 << 20;
        for max_parts in [10_000, 1000] {
            let of = |size| part_size(8 * MIB, size, max_parts);
            assert_eq!((of(0).unwrap(), of(1 << 30).unwrap()), (8 * MIB, 8 * MIB));
            let large = 100 << 30;
            assert!(large / of(large).unwrap() < max_parts);
            for absurd in [1 << 50, u64::MAX] {
                assert_eq!(of(absurd).unwrap_err().kind(), Kind::InvalidRequest);
            }
        }
    }
}
