//! One upload: created, received, completed, or discarded with everything it left.
//!
//! The order of writes is the promise: the tar first, its size confirmed, the metadata last. A backup exists when its
//! metadata does. The work runs in tasks of its own, so that a client that goes away cannot stop the cleaning up.

mod ending;
mod inside;
mod parts;
mod place;
mod plan;
mod receive;
mod record;
mod waiting;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, TryLockError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub(super) use inside::Inside;
pub use receive::Received;

use super::cleanup::EarlierCopy;
use super::journal::Journals;
use super::location::Location;
use super::model::{Event, Failure, UploadState, UploadStatus};
use crate::backup::{AgentBackup, StoredBackup};
use crate::error::{Error, Kind, Result};
use crate::store::{CopySource, Key, Multipart, Part, Stem, Store};
use crate::units::rfc3339;
use record::Record;
use waiting::{Waiting, Watcher};

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
    /// The location's storage, which tells when it keeps this upload waiting.
    store: Store,
    waiting: Waiting,
    stem: Stem,
    /// Its tar has no metadata yet, and is nobody's to adopt.
    replaced: Vec<EarlierCopy>,
    /// What may be under its key is what an earlier attempt left there.
    has_left: bool,
    /// When it was announced.
    started: (DateTime<Utc>, Instant),
    /// What was told last.
    told: std::sync::Mutex<UploadState>,
    /// When something last happened on it.
    touched: std::sync::Mutex<Instant>,
    stored_bytes: AtomicU64,
    resumed_bytes: u64,
    /// Whether what comes is another stream than the one that an earlier attempt stored parts of.
    differs: AtomicBool,
    cancel: CancellationToken,
    /// Whoever cancelled it wants nothing of it.
    is_unwanted: AtomicBool,
    phase: Mutex<Phase>,
    record: Record,
    means: Means,
}

/// What an upload works with beside its location.
#[derive(Debug, Clone)]
pub(super) struct Means {
    pub(super) stopping: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) journals: Arc<Journals>,
    pub(super) options: Options,
}

/// How an upload differs from one that Home Assistant sends.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Options {
    /// When what is stored stays for the next attempt.
    pub(super) keep: Keep,
    /// Size of its parts in bytes, in place of the location's.
    pub(super) part_size: Option<u64>,
    /// Whether the agent sends it itself.
    pub(super) is_from_agent: bool,
}

/// When what an upload stored stays for the next attempt at it. What is wrong, and what a person cancelled, never does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Keep {
    /// Never: nobody makes another attempt.
    Nothing,
    /// When the sender leaves in the middle, or the agent stops.
    #[default]
    Interrupted,
    /// When the storage fails, too.
    Failed,
}

/// What becomes of the parts of an upload that is discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discard {
    /// They are removed: a person wants nothing of it.
    All,
    /// They wait for the next attempt, where there may be one.
    Unfinished,
}

/// How far an upload is.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it for each upload"
)]
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
    /// At the same endpoint already, and small enough for one request.
    Inside(CopySource),
}

impl Tar {
    /// The upload in parts that it is stored by.
    fn multipart(&self) -> Option<Multipart> {
        if let Self::Parts(multipart, _) = self {
            Some(multipart.clone())
        } else {
            None
        }
    }
}

/// What is known of a tar's bytes.
#[derive(Debug)]
struct Content {
    size: u64,
    part_size: u64,
    /// None for a copy of what another tool uploaded: nobody has seen its bytes here.
    sha256: Option<String>,
    crc32: Option<String>,
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
        means: Means,
    ) -> Result<Arc<Self>> {
        let part_size = means
            .options
            .part_size
            .unwrap_or(location.settings.part_size);
        let part_size = plan::part_size(
            part_size,
            backup.size,
            location.settings.max_parts(backup.size),
        )?;
        let left = means
            .journals
            .interrupted(location.store.place(), &location.keys, &backup.backup_id)
            .await;
        let (stem, replaced) =
            location.note(plan::choose_stem(&location, &backup, filename, taken, &left).await)?;
        let tar = location.keys.tar(&stem);
        let arriving = location.folder.claim(&tar);
        let has_left = left.iter().any(|left| left.header.key == tar.as_str());
        let sizes = (part_size, backup.size);
        let journals = (Arc::clone(&means.journals), &means.tasks);
        let record = Record::take_over(left, &location, (&tar, arriving), sizes, journals).await?;
        let upload = Arc::new_cyclic(|upload| Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            part_size,
            store: location.store.watched(Watcher::of(upload)),
            waiting: Waiting::default(),
            location,
            backup,
            stem,
            replaced,
            has_left,
            started: (Utc::now(), Instant::now()),
            told: std::sync::Mutex::new(UploadState::Receiving),
            touched: std::sync::Mutex::new(Instant::now()),
            stored_bytes: AtomicU64::new(0),
            resumed_bytes: record.resumed_bytes(),
            differs: AtomicBool::new(false),
            cancel: means.stopping.child_token(),
            is_unwanted: AtomicBool::new(false),
            phase: Mutex::new(Phase::Waiting),
            record,
            means,
        });
        info!(
            location = upload.location.id(),
            upload_id = upload.id,
            size_bytes = upload.backup.size,
            part_size = upload.part_size,
            resumed_bytes = upload.resumed_bytes,
            "uploading to \"{}\" in {}",
            upload.key(),
            upload.location.store.place()
        );
        Ok(upload)
    }

    /// The key its tar will have.
    #[must_use]
    pub fn key(&self) -> String {
        self.tar_key().to_string()
    }

    fn tar_key(&self) -> Key {
        self.location.keys.tar(&self.stem)
    }

    /// Bytes that an earlier attempt stored, and that need not be stored again if they are the same.
    #[must_use]
    pub fn resumed_bytes(&self) -> u64 {
        self.resumed_bytes
    }

    /// Stores the parts as they arrive. On any failure the upload has ended; what is stored waits for the next attempt when
    /// the sender left or the agent stops, and nothing is left behind otherwise.
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
            Err(TryLockError { .. }) => {
                return Err(self.wrong_order("its content is already on its way"));
            }
        };
        match *phase {
            Phase::Waiting => {}
            Phase::Ended => return Err(not_found(&self.id)),
            Phase::Received(..) | Phase::Complete => {
                return Err(self.wrong_order("its content has arrived already"));
            }
        }
        self.tell(UploadState::Receiving, None);
        let (result, leftover) = receive::receive(self, body).await;
        match (result, leftover) {
            (Ok(received), Some(tar)) => {
                self.touch();
                *phase = Phase::Received(received.clone(), tar);
                Ok(received)
            }
            (result, leftover) => {
                *phase = Phase::Ended;
                let error = result
                    .err()
                    .unwrap_or_else(|| Error::new(Kind::Internal, "The upload has no content."));
                self.leave_or_clean_up(leftover, &error);
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
        let content = Content {
            size: received.size,
            part_size: self.part_size,
            sha256: Some(received.sha256),
            crc32: Some(received.crc32),
        };
        self.conclude(&mut phase, &content, tar).await
    }

    async fn conclude(
        self: &Arc<Self>,
        phase: &mut Phase,
        content: &Content,
        tar: Tar,
    ) -> Result<StoredBackup> {
        self.tell(UploadState::Storing, None);
        match self.location.note(self.put_in_place(content, tar).await) {
            Ok(stored) => {
                self.record.end().await;
                let (duration_ms, location) =
                    (self.started.1.elapsed().as_millis(), self.location.id());
                let size_bytes = content.size;
                info!(
                    location,
                    upload_id = self.id,
                    size_bytes,
                    duration_ms,
                    "uploaded \"{}\"",
                    self.key()
                );
                *phase = Phase::Complete;
                self.stored_bytes.store(content.size, Ordering::Relaxed);
                self.location.changed(&self.backup.backup_id);
                self.tell(UploadState::Complete, None);
                Ok(stored)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Whether it has ended, one way or another.
    pub(super) fn has_ended(&self) -> bool {
        self.phase
            .try_lock()
            .is_ok_and(|phase| matches!(*phase, Phase::Complete | Phase::Ended))
    }

    fn progress(&self, stored_bytes: u64) {
        if stored_bytes > 0 {
            self.stored_bytes.fetch_add(stored_bytes, Ordering::Relaxed);
            self.tell(UploadState::Receiving, None);
        }
    }

    fn fail(&self, error: Error) -> Error {
        let state = if error.kind() == Kind::Cancelled {
            UploadState::Cancelled
        } else {
            UploadState::Failed
        };
        warn!(
            upload_id = self.id,
            code = error.kind().code(),
            "the upload of \"{}\" ended: {error}",
            self.key()
        );
        self.tell(state, Some(Failure::from(&error)));
        error
    }

    fn tell(&self, state: UploadState, error: Option<Failure>) {
        if !matches!(state, UploadState::Receiving | UploadState::Storing) {
            self.waiting.end();
        }
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.location
            .history()
            .uploaded(state, self.stored_bytes.load(Ordering::Relaxed));
        self.location
            .events()
            .send(Event::Upload(Box::new(UploadStatus {
                error,
                ..self.status()
            })));
    }

    fn is_under_way(&self) -> bool {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(told, UploadState::Receiving | UploadState::Storing) && !self.cancel.is_cancelled()
    }

    /// Tells once more how it stands.
    fn tell_again(&self) {
        self.location
            .events()
            .send(Event::Upload(Box::new(self.status())));
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> UploadStatus {
        UploadStatus {
            upload_id: self.id.clone(),
            location: self.location.id().to_owned(),
            backup_id: self.backup.backup_id.clone(),
            name: self.backup.name.clone(),
            state: *self.told.lock().unwrap_or_else(PoisonError::into_inner),
            started_at: rfc3339(self.started.0),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            total_bytes: self.backup.size,
            resumed_bytes: self.resumed_bytes,
            differs: self.differs.load(Ordering::Relaxed),
            waiting: self.waiting.shown(),
            error: None,
        }
    }

    fn wrong_order(&self, why: &str) -> Error {
        Error::new(
            Kind::InvalidRequest,
            format!("The upload {} cannot do this now: {why}.", self.id),
        )
    }
}

/// The error for an upload that is not there any more.
pub(super) fn not_found(id: &str) -> Error {
    Error::new(
        Kind::UploadNotFound,
        format!("There is no upload \"{id}\", or it has ended."),
    )
}
