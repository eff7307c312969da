//! One upload: created, received, completed, or discarded with everything it left.
//!
//! The order of writes is the promise: the tar first, its size confirmed, the metadata last. A backup exists when its
//! metadata does. The work runs in tasks of its own, so that a client that goes away cannot stop the cleaning up.

mod parts;
mod receive;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use tokio::sync::{Mutex, TryLockError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use receive::Received;

use super::events::{Event, Report, UploadState};
use super::location::Location;
use crate::backup::{AgentBackup, AgentMetadata, StoredBackup};
use crate::error::{Error, Kind, Result};
use crate::store::{ContentType, Error as StoreError, Key, Multipart, Outcome, Part, Patience, Stem};

/// An upload that nothing happens on is discarded after this long.
const IDLE_LIMIT: Duration = Duration::from_mins(10);

/// S3's own limit. Source: "Amazon S3 multipart upload limits" in Amazon's user guide.
const MAX_PARTS: u64 = 10_000;

/// The largest metadata object of another backup that is read to compare its id.
const MAX_METADATA_BYTES: u64 = 1024 * 1024;

/// An upload.
#[derive(Debug)]
pub struct Upload {
    /// Its id.
    pub id: String,
    /// Where it goes.
    pub location: Arc<Location>,
    /// What is uploaded, as announced.
    pub backup: AgentBackup,
    /// Size of its parts in bytes.
    pub part_size: u64,
    stem: Stem,
    replaces: bool,
    stored_bytes: AtomicU64,
    cancel: CancellationToken,
    phase: Mutex<Phase>,
    tasks: TaskTracker,
}

/// How far an upload is.
#[derive(Debug)]
enum Phase {
    /// Nothing has arrived.
    Waiting,
    /// Everything has arrived and is stored; the sender has not confirmed it.
    Received(Received, Tar),
    /// The backup exists.
    Complete,
    /// Failed or discarded.
    Ended,
}

/// A tar that is stored but not yet in its place.
#[derive(Debug)]
enum Tar {
    /// Small enough for one request, which is made at the end.
    Whole(Bytes),
    /// Stored in parts.
    Parts(Multipart, Vec<Part>),
}

impl Upload {
    /// Prepares an upload: chooses its keys and the size of its parts. Fails early when the bucket cannot be reached.
    /// `taken` are the keys of other backups that are on their way to the same location.
    ///
    /// # Errors
    /// What a request can come to.
    pub(super) async fn create(
        location: Arc<Location>,
        backup: AgentBackup,
        filename: &str,
        taken: &[String],
        stopping: &CancellationToken,
        tasks: TaskTracker,
    ) -> Result<Arc<Self>> {
        let (stem, replaces) = location.note(choose_stem(&location, &backup, filename, taken).await)?;
        let upload = Arc::new(Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            part_size: part_size(location.settings.part_size, backup.size),
            location,
            backup,
            stem,
            replaces,
            stored_bytes: AtomicU64::new(0),
            cancel: stopping.child_token(),
            phase: Mutex::new(Phase::Waiting),
            tasks,
        });
        info!(
            upload_id = upload.id,
            size_bytes = upload.backup.size,
            part_size = upload.part_size,
            "uploading to \"{}\" in {}",
            upload.key(),
            upload.location.store.place()
        );
        Ok(upload)
    }

    /// The key its tar will have.
    #[must_use]
    pub fn key(&self) -> String {
        self.location.keys.tar(&self.stem).to_string()
    }

    /// Stores the parts as they arrive. On any failure nothing is left behind, and the upload has ended.
    ///
    /// # Errors
    /// [`Kind::SizeMismatch`] when fewer bytes arrive than announced, [`Kind::InvalidMetadata`] when they are not this
    /// backup, [`Kind::Cancelled`], and what the storage can come to.
    pub(super) async fn receive<S>(self: &Arc<Self>, body: S) -> Result<Received>
    where
        S: futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let mut phase = match self.phase.try_lock() {
            Ok(phase) => phase,
            Err(TryLockError { .. }) => return Err(self.wrong_order("its content is already on its way")),
        };
        if !matches!(*phase, Phase::Waiting) {
            return Err(self.wrong_order("its content has arrived already"));
        }
        self.tell(UploadState::Receiving, None);
        let (result, leftover) = receive::receive(self, body).await;
        match (result, leftover) {
            (Ok(received), Some(tar)) => {
                *phase = Phase::Received(received.clone(), tar);
                Ok(received)
            }
            (result, leftover) => {
                *phase = Phase::Ended;
                let error = result.err().unwrap_or_else(|| Error::new(Kind::Internal, "The upload has no content."));
                self.clean_up(leftover);
                Err(self.fail(error))
            }
        }
    }

    /// Puts the backup in its place, if the sender counted what we did.
    ///
    /// # Errors
    /// [`Kind::SizeMismatch`], [`Kind::ChecksumMismatch`], and what the storage can come to; nothing is kept then.
    pub(super) async fn complete(self: &Arc<Self>, size: u64, crc32: &str) -> Result<StoredBackup> {
        let mut phase = self.phase.lock().await;
        let (received, tar) = match std::mem::replace(&mut *phase, Phase::Ended) {
            Phase::Received(received, tar) => (received, tar),
            Phase::Waiting => {
                *phase = Phase::Waiting;
                return Err(self.wrong_order("its content has not arrived yet"));
            }
            ended => {
                *phase = ended;
                return Err(not_found(&self.id));
            }
        };
        if let Err(error) = received.agrees_with(size, crc32) {
            self.clean_up(Some(tar));
            return Err(self.fail(error));
        }
        self.tell(UploadState::Storing, None);
        match self.location.note(self.put_in_place(&received, tar).await) {
            Ok(stored) => {
                info!(upload_id = self.id, size_bytes = received.size, "uploaded \"{}\"", self.key());
                *phase = Phase::Complete;
                self.stored_bytes.store(received.size, Ordering::Relaxed);
                self.location.changed(&self.backup.backup_id);
                self.tell(UploadState::Complete, None);
                Ok(stored)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Stops the upload and removes what it stored. Returns false when it is too late: the backup exists.
    pub(super) async fn discard(self: &Arc<Self>) -> bool {
        self.cancel.cancel();
        // Waits for `receive` to notice.
        let mut phase = self.phase.lock().await;
        match std::mem::replace(&mut *phase, Phase::Ended) {
            Phase::Waiting => {}
            Phase::Received(_, tar) => self.clean_up(Some(tar)),
            Phase::Complete => {
                *phase = Phase::Complete;
                return false;
            }
            // Whoever sent the content was told.
            Phase::Ended => return true,
        }
        self.tell(UploadState::Cancelled, None);
        true
    }

    /// Discards the upload when nothing happens on it for too long.
    pub(super) async fn expire(self: Arc<Self>) {
        loop {
            let before = self.stored_bytes.load(Ordering::Relaxed);
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = tokio::time::sleep(IDLE_LIMIT) => {}
            }
            let is_receiving = self.phase.try_lock().is_err();
            if !is_receiving && self.stored_bytes.load(Ordering::Relaxed) == before {
                warn!(upload_id = self.id, "nobody went on with the upload of \"{}\"", self.key());
                self.discard().await;
                return;
            }
        }
    }

    /// Whether it has ended, one way or another.
    pub(super) fn has_ended(&self) -> bool {
        self.phase.try_lock().is_ok_and(|phase| matches!(*phase, Phase::Complete | Phase::Ended))
    }

    async fn put_in_place(&self, received: &Received, tar: Tar) -> Result<StoredBackup> {
        let location = &self.location;
        let patience = location.patience();
        let (tar_key, metadata_key) = (location.keys.tar(&self.stem), location.keys.metadata(&self.stem));
        let before = match self.take_out(&metadata_key).await {
            Ok(before) => before,
            Err(error) => {
                self.clean_up(Some(tar));
                return Err(error);
            }
        };
        let stored = match tar {
            Tar::Whole(data) => location.store.write(&tar_key, data, ContentType::Tar, patience).await,
            Tar::Parts(multipart, parts) => {
                let completed = multipart.complete(&parts, received.size, patience).await;
                if completed.is_err() {
                    self.clean_up(Some(Tar::Parts(multipart, parts)));
                }
                completed
            }
        };
        if let Err(error) = stored {
            match before {
                // A refusal changed nothing: the backup that was there is as good as before.
                Some(before) if !error.outcome.is_transient() => {
                    location.store.write(&metadata_key, before, ContentType::Json, patience).await?;
                }
                Some(_) => {}
                // The tar may have arrived, and only the answer was lost.
                None => self.erase(),
            }
            return Err(error.into());
        }
        let placed = async {
            let stored_size = location.store.size(&tar_key, patience).await?;
            if stored_size != received.size {
                let detail =
                    format!("\"{tar_key}\" has {stored_size} bytes in the bucket, but {} were sent.", received.size);
                return Err(Error::new(Kind::StorageError, detail));
            }
            let stored = self.describe(received);
            let json = serde_json::to_vec(&stored).map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
            location.store.write(&metadata_key, json.into(), ContentType::Json, patience).await?;
            Ok(stored)
        };
        let placed = placed.await;
        if placed.is_err() {
            self.erase();
        }
        placed
    }

    /// Takes the metadata of what is replaced out of the bucket: it would describe the new tar wrongly, and without it
    /// the tar is invisible, not broken.
    async fn take_out(&self, key: &Key) -> Result<Option<Bytes>> {
        if !self.replaces {
            return Ok(None);
        }
        let (store, patience) = (&self.location.store, self.location.patience());
        let before = match store.read(key, MAX_METADATA_BYTES, patience).await {
            Ok(before) => Some(before),
            Err(StoreError { outcome: Outcome::NotFound, .. }) => None,
            Err(error) => return Err(error.into()),
        };
        store.delete(key, patience).await?;
        Ok(before)
    }

    fn describe(&self, received: &Received) -> StoredBackup {
        let backup = AgentBackup { size: received.size, ..self.backup.clone() };
        let agent = AgentMetadata {
            format: 1,
            size: received.size,
            sha256: received.sha256.clone(),
            part_size: self.part_size,
            uploaded_at: Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        StoredBackup { backup, agent: Some(agent) }
    }

    /// Aborts a multipart upload in the background, for as long as the storage may be away.
    fn clean_up(&self, tar: Option<Tar>) {
        let Some(Tar::Parts(multipart, _)) = tar else { return };
        let (patience, key) = (self.location.patience(), self.key());
        self.tasks.spawn(async move {
            if let Err(error) = multipart.abort(patience).await {
                warn!("the parts of \"{key}\" are left behind: {error}");
            }
        });
    }

    /// Removes what is in place of an upload that failed at the very end, metadata first.
    fn erase(&self) {
        let location = Arc::clone(&self.location);
        let stem = self.stem.clone();
        self.tasks.spawn(async move {
            let patience = location.patience();
            for key in [location.keys.metadata(&stem), location.keys.tar(&stem)] {
                if let Err(error) = location.store.delete(&key, patience).await {
                    warn!("\"{key}\" is left behind: {error}");
                }
            }
        });
    }

    fn fail(&self, error: Error) -> Error {
        let state = if error.kind() == Kind::Cancelled { UploadState::Cancelled } else { UploadState::Failed };
        warn!(upload_id = self.id, code = error.kind().code(), "the upload of \"{}\" ended: {error}", self.key());
        self.tell(state, Some(Report::from(&error)));
        error
    }

    fn tell(&self, state: UploadState, error: Option<Report>) {
        self.location.events().send(Event::Upload {
            upload_id: self.id.clone(),
            location: self.location.id().to_owned(),
            backup_id: self.backup.backup_id.clone(),
            state,
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            total_bytes: self.backup.size,
            error,
        });
    }

    fn wrong_order(&self, why: &str) -> Error {
        Error::new(Kind::InvalidRequest, format!("The upload {} cannot do this now: {why}.", self.id))
    }
}

/// The error for an upload that is not there any more.
pub(super) fn not_found(id: &str) -> Error {
    Error::new(Kind::UploadNotFound, format!("There is no upload \"{id}\", or it has ended."))
}

/// The stem for a backup, and whether this backup is there already. Another backup's stem is never taken.
async fn choose_stem(
    location: &Location,
    backup: &AgentBackup,
    filename: &str,
    taken: &[String],
) -> Result<(Stem, bool)> {
    let stem = Stem::from_filename(filename);
    if taken.iter().any(|key| key == location.keys.tar(&stem).as_str()) {
        return Ok((stem.with_id(&backup.backup_id), true));
    }
    let key = location.keys.metadata(&stem);
    match location.store.read(&key, MAX_METADATA_BYTES, Patience::INTERACTIVE).await {
        Ok(json) => match StoredBackup::parse(&json) {
            Ok(stored) if stored.backup.backup_id == backup.backup_id => Ok((stem, true)),
            _ => Ok((stem.with_id(&backup.backup_id), true)),
        },
        Err(StoreError { outcome: Outcome::NotFound, .. }) => Ok((stem, false)),
        Err(error) => Err(error.into()),
    }
}

/// The smallest part size that keeps a backup within the number of parts, with room for one that turns out larger.
fn part_size(wanted: u64, size: u64) -> u64 {
    const MIB: u64 = 1024 * 1024;
    let needed = (size + size / 16).div_ceil(MAX_PARTS).next_multiple_of(MIB);
    wanted.max(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_no_upload_needs_more_than_ten_thousand() {
        const MIB: u64 = 1 << 20;
        assert_eq!(part_size(8 * MIB, 1 << 30), 8 * MIB);
        assert_eq!(part_size(8 * MIB, 0), 8 * MIB);
        let terabyte = 1 << 40;
        assert!(terabyte / part_size(8 * MIB, terabyte) < MAX_PARTS);
    }
}
