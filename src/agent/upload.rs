//! One upload: created, received, completed, or discarded with everything it left.
//!
//! The order of writes is the promise: the tar first, its size confirmed, the metadata last. A backup exists when its
//! metadata does. The work runs in tasks of its own, so that a client that goes away cannot stop the cleaning up.

mod parts;
mod plan;
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
use crate::store::{ContentType, Multipart, Part, Stem};

/// An upload that nothing happens on is discarded after this long.
const IDLE_LIMIT: Duration = Duration::from_mins(10);

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
    replaced: Option<Stem>,
    stored_bytes: AtomicU64,
    cancel: CancellationToken,
    phase: Mutex<Phase>,
    tasks: TaskTracker,
}

/// How far an upload is.
#[expect(clippy::large_enum_variant, reason = "there is one of it for each upload")]
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
        let part_size = plan::part_size(location.settings.part_size, backup.size, location.settings.max_parts())?;
        let (stem, replaced) = location.note(plan::choose_stem(&location, &backup, filename, taken).await)?;
        let upload = Arc::new(Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            part_size,
            location,
            backup,
            stem,
            replaced,
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
            if self.has_ended() {
                return;
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
        let _changing = location.changing.lock().await;
        let stored = match tar {
            Tar::Whole(data) => {
                location.store.write(&location.keys.tar(&self.stem), data, ContentType::Tar, location.patience()).await
            }
            Tar::Parts(multipart, parts) => {
                let completed = multipart.complete(&parts, received.size, location.patience()).await;
                if completed.is_err() {
                    self.clean_up(Some(Tar::Parts(multipart, parts)));
                }
                completed
            }
        };
        if let Err(error) = stored {
            // The tar may have arrived, and only the answer was lost. A refusal changed nothing.
            if error.outcome.is_transient() {
                self.erase();
            }
            return Err(error.into());
        }
        match self.describe_in_bucket(received).await {
            Ok(stored) => {
                self.remove_replaced();
                Ok(stored)
            }
            Err(error) => {
                self.erase();
                Err(error)
            }
        }
    }

    /// Confirms the tar's size and writes the metadata.
    async fn describe_in_bucket(&self, received: &Received) -> Result<StoredBackup> {
        let location = &self.location;
        let (tar_key, patience) = (location.keys.tar(&self.stem), location.patience());
        let stored_size = location.store.size(&tar_key, patience).await?;
        if stored_size != received.size {
            let sent = received.size;
            let detail = format!("\"{tar_key}\" has {stored_size} bytes in the bucket, but {sent} were sent.");
            return Err(Error::new(Kind::StorageError, detail));
        }
        let stored = self.describe(received);
        let json = serde_json::to_vec(&stored).map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
        let metadata_key = location.keys.metadata(&self.stem);
        location.store.write(&metadata_key, json.into(), ContentType::Json, patience).await?;
        Ok(stored)
    }

    /// An earlier copy of this backup goes when the new one is complete, not before.
    fn remove_replaced(&self) {
        if let Some(stem) = &self.replaced {
            let keys = vec![self.location.keys.metadata(stem), self.location.keys.tar(stem)];
            self.location.remove_later(keys, &self.tasks);
        }
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
        let keys = vec![self.location.keys.metadata(&self.stem), self.location.keys.tar(&self.stem)];
        self.location.remove_later(keys, &self.tasks);
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
