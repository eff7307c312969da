//! One upload: announced, received, committed; or discarded with everything that it stored.
//!
//! A [task](task) owns each upload and is the only one to change its state. [`Upload`] is a handle: it sends commands and
//! reads the status. A client that disconnects, or whose call is answered early, never stops the task's cleanup.

mod commit;
mod inside;
mod intake;
mod parts;
mod plan;
mod progress;
mod resume;
mod retention;
mod state;
mod task;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use futures_util::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::info;

pub(super) use inside::Inside;
pub use intake::Received;
pub(super) use plan::{Announcement, Context};
pub(super) use retention::Reason;
pub use retention::Uploader;

use super::folder::ClaimKind;
use super::location::Location;
use super::model::{UploadState, UploadStatus};
use crate::backup::StoredBackup;
use crate::error::{Error, Kind, Result};
use crate::store::Key;
use crate::units::rfc3339;
use plan::{Plan, choose_stem, is_own, part_size};
use progress::{Outages, Progress};
use resume::{Ledger, Wanted};
use state::Reply;
use task::{Command, Task};

/// Handle of an upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its id.
    pub id: String,
    /// Size of its parts in bytes.
    pub part_size: u64,
    plan: Arc<Plan>,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<UploadStatus>,
}

impl Upload {
    /// Begins an upload: chooses its key, takes over interrupted attempts, and starts its task. `taken` are the keys of
    /// other active uploads to the same folder.
    ///
    /// # Errors
    /// Errors of the storage. Each request is bounded by [`Patience::INTERACTIVE`](crate::store::Patience::INTERACTIVE).
    pub(super) async fn begin(
        location: Arc<Location>,
        announced: Announcement,
        taken: &[Key],
        context: Context,
    ) -> Result<Self> {
        let size = announced.backup.size;
        let part_size = part_size(
            announced.part_size.unwrap_or(location.settings.part_size),
            size,
            location.settings.max_parts(size),
        )?;
        let interrupted = context
            .journals
            .interrupted(&location.folder.id, &announced.backup.backup_id)
            .await;
        let choice =
            location.note(choose_stem(&location, &announced, taken, &interrupted).await)?;
        let tar = location.folder.keys.tar(&choice.stem);
        let is_own_tar = is_own(&interrupted, &tar);
        let claim = location.folder.claim(&tar, ClaimKind::Upload);
        let wanted = Wanted {
            location: &location,
            tar: &tar,
            part_size,
            size,
            tasks: &context.tasks,
        };
        let ledger = Ledger::take_over(interrupted, wanted, claim).await?;
        let (watch, outages) = Outages::channel();
        let plan = Plan {
            id: uuid::Uuid::new_v4().simple().to_string(),
            store: location.store.watched(watch),
            backup: announced.backup,
            uploader: announced.uploader,
            part_size,
            metadata: location.folder.keys.metadata(&choice.stem),
            tar,
            location,
            replaced: choice.replaced,
            is_own_tar,
            started_at: Utc::now(),
            started: Instant::now(),
            context,
        };
        Ok(Self::start(plan, ledger, outages))
    }

    fn start(
        plan: Plan,
        ledger: Ledger,
        outages: mpsc::UnboundedReceiver<progress::Outage>,
    ) -> Self {
        let resumed_bytes = ledger.resumed_bytes();
        info!(
            location = plan.location.id(),
            upload_id = plan.id,
            size_bytes = plan.backup.size,
            part_size = plan.part_size,
            resumed_bytes,
            "uploading to \"{}\" in {}",
            plan.tar,
            plan.location.store.description()
        );
        let status = UploadStatus {
            upload_id: plan.id.clone(),
            location: plan.location.id().to_owned(),
            backup_id: plan.backup.backup_id.clone(),
            name: plan.backup.name.clone(),
            state: UploadState::Receiving,
            started_at: rfc3339(plan.started_at),
            stored_bytes: 0,
            total_bytes: plan.backup.size,
            resumed_bytes,
            differs: false,
            waiting: None,
            error: None,
        };
        let progress = Progress::new(Arc::clone(&plan.location), plan.tar.to_string(), status);
        let status = progress.subscribe();
        let (commands, received) = mpsc::unbounded_channel();
        let plan = Arc::new(plan);
        let task = Task::new(Arc::clone(&plan), received, outages, progress, ledger);
        plan.context.tasks.spawn(task.run());
        Self {
            id: plan.id.clone(),
            part_size: plan.part_size,
            plan,
            commands,
            status,
        }
    }

    /// Key of its tar.
    #[must_use]
    pub fn key(&self) -> String {
        self.plan.tar.to_string()
    }

    pub(super) fn tar(&self) -> &Key {
        &self.plan.tar
    }

    /// Its location, with the settings that it began with.
    pub(super) fn location(&self) -> &Location {
        &self.plan.location
    }

    /// Id of its backup.
    pub(super) fn backup_id(&self) -> &str {
        &self.plan.backup.backup_id
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> UploadStatus {
        self.status.borrow().clone()
    }

    /// Bytes that an earlier attempt stored. They are not sent again if the content is the same.
    #[must_use]
    pub fn resumed_bytes(&self) -> u64 {
        self.status.borrow().resumed_bytes
    }

    /// Whether it takes no more calls. Its cleanup may still run.
    pub(super) fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Takes in the content. If that fails, the upload has ended, and `retention` decides whether stored parts are kept.
    ///
    /// # Errors
    /// [`Kind::SizeMismatch`] if fewer bytes arrive than announced, [`Kind::InvalidMetadata`] if they are not this backup,
    /// [`Kind::Cancelled`], and errors of the storage, each request of which is retried for the location's outage time.
    pub(super) async fn receive<S>(&self, body: S) -> Result<Received>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.call(|reply| Command::Content(body.boxed(), reply))
            .await
    }

    /// Commits the backup, if the sender counted the same bytes.
    ///
    /// # Errors
    /// [`Kind::SizeMismatch`], [`Kind::ChecksumMismatch`], [`Kind::Cancelled`], and errors of the storage, each request of
    /// which is retried for the location's outage time. The upload has ended then.
    pub(super) async fn complete(&self, size: u64, crc32: String) -> Result<StoredBackup> {
        self.call(|reply| Command::Complete { size, crc32, reply })
            .await
    }

    /// Lets the storage copy the tar, and commits the backup.
    ///
    /// # Errors
    /// Errors of the storage; the upload has ended then. [`Kind::StorageError`] or [`Kind::StorageForbidden`] if the
    /// provider refuses copies or the key may not read the source.
    pub(super) async fn copy_inside(&self, inside: Inside) -> Result<StoredBackup> {
        self.call(|reply| Command::CopyInside(inside, reply)).await
    }

    /// Ends the upload. Answers as soon as that is decided: only a sender's successor waits, for parts in flight to be
    /// journaled or up to ten seconds for a commit. Returns false if the backup exists.
    pub(super) async fn discard(&self, reason: Reason) -> bool {
        let (reply, answer) = oneshot::channel();
        drop(self.commands.send(Command::Discard(reason, reply)));
        answer
            .await
            .unwrap_or_else(|_| self.status.borrow().state != UploadState::Complete)
    }

    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        drop(self.commands.send(command(reply)));
        // An upload that ends drops its commands.
        answer.await.unwrap_or_else(|_| Err(not_found(&self.id)))
    }
}

/// The error for an upload that does not exist any more.
pub(super) fn not_found(id: &str) -> Error {
    Error::new(
        Kind::UploadNotFound,
        format!("There is no upload \"{id}\", or it has ended."),
    )
}
