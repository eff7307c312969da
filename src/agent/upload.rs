//! One upload: announced, received, committed; or discarded with everything that it stored.
//!
//! A [task](task) owns each upload and is the only one to change its state. [`Upload`] is a handle: it sends commands and
//! reads the status. A client that disconnects, or whose call is answered early, never stops the task's cleanup.

mod commit;
mod inside;
mod intake;
mod parts;
mod plan;
mod planning;
mod progress;
mod replaced;
mod resume;
mod retention;
mod state;
mod task;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

pub(super) use inside::Inside;
pub use intake::Received;
pub(super) use plan::{Announcement, Context};
pub(super) use retention::Reason;
pub use retention::Uploader;

use super::location::Location;
use super::model::{UploadState, UploadStatus};
use crate::backup::StoredBackup;
use crate::error::{Error, Kind, Result};
use plan::{Outline, part_size};
use planning::{NAMED_WITHIN, Named, Planning};
use progress::{Outage, Outages, Progress};
use state::Reply;
use task::Command;

/// Handle of an upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its id.
    pub id: String,
    /// Size of its parts in bytes.
    pub part_size: u64,
    location: Arc<Location>,
    backup_id: String,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<UploadStatus>,
    named: watch::Receiver<Named>,
}

impl Upload {
    /// Begins an upload: starts its task, which chooses its key and takes over interrupted attempts.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`] if the backup is larger than the provider's objects.
    pub(super) fn begin(
        location: Arc<Location>,
        announced: Announcement,
        context: Context,
    ) -> Result<Self> {
        let (settings, backup) = (&location.settings, announced.backup);
        let part_size = part_size(
            announced.part_size.unwrap_or(settings.part_size),
            backup.size,
            settings.max_parts(backup.size),
        )?;
        let (watch, outages) = Outages::channel();
        let outline = Outline {
            id: uuid::Uuid::new_v4().simple().to_string(),
            store: location.store.watched(watch),
            backup,
            filename: announced.filename,
            uploader: announced.uploader,
            part_size,
            location,
            started: Instant::now(),
            context,
        };
        Ok(Self::start(outline, outages))
    }

    fn start(outline: Outline, outages: mpsc::UnboundedReceiver<Outage>) -> Self {
        let location = Arc::clone(&outline.location);
        let progress = Progress::new(Arc::clone(&location), outline.status());
        let status = progress.subscribe();
        let (commands, received) = mpsc::unbounded_channel();
        let (named, is_named) = watch::channel(None);
        let upload = Self {
            id: outline.id.clone(),
            part_size: outline.part_size,
            location,
            backup_id: outline.backup.backup_id.clone(),
            commands,
            status,
            named: is_named,
        };
        let planning = Planning {
            commands: received,
            outages,
            progress,
            stopping: outline.context.stopping.clone(),
            named,
            early: None,
        };
        let tasks = outline.context.tasks.clone();
        tasks.spawn(planning.run(outline));
        upload
    }

    /// Waits for its name, up to [`NAMED_WITHIN`]: while the storage is away, its task goes on waiting. If this call is
    /// dropped, the upload is discarded.
    ///
    /// # Errors
    /// Errors of the storage, and [`Kind::Cancelled`]; the upload has ended then.
    pub(super) async fn named(self) -> Result<Self> {
        let creating = Creating(Some(&self));
        let mut named = self.named.clone();
        let named = async {
            named
                .wait_for(Option::is_some)
                .await
                .map(|named| named.clone())
        };
        let named = timeout(NAMED_WITHIN, named).await;
        creating.end();
        let error = match named {
            Err(_) | Ok(Ok(None | Some(Ok(())))) => return Ok(self),
            Ok(Ok(Some(Err(error)))) => error,
            Ok(Err(_)) => not_found(&self.id),
        };
        // The caller has the error, so the task need not wait for one.
        self.discard(Reason::Superseded).await;
        Err(error)
    }

    /// Key of its tar; the first choice as long as the storage is away.
    #[must_use]
    pub fn key(&self) -> String {
        self.status.borrow().key.clone()
    }

    /// Its location, with the settings that it began with.
    pub(super) fn location(&self) -> &Location {
        &self.location
    }

    /// Id of its backup.
    pub(super) fn backup_id(&self) -> &str {
        &self.backup_id
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

/// A call that creates an upload. Dropping it discards the upload: its caller never learns the id.
struct Creating<'u>(Option<&'u Upload>);

impl Creating<'_> {
    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        if let Some(upload) = self.0 {
            let (reply, _) = oneshot::channel();
            drop(
                upload
                    .commands
                    .send(Command::Discard(Reason::SenderLeft, reply)),
            );
        }
    }
}

/// The error for an upload that does not exist any more.
pub(super) fn not_found(id: &str) -> Error {
    Error::new(
        Kind::UploadNotFound,
        format!("There is no upload \"{id}\", or it has ended."),
    )
}
