//! The active uploads: limits their number, supersedes earlier ones of the same backup, and finds them by id.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::join_all;
use parking_lot::Mutex;

use super::catalog::refuse_oversized;
use super::location::Location;
use super::model::UploadStatus;
use super::task::shutting_down;
use super::upload::{Announcement, Context, Reason, Received, Upload, Uploader, not_found};
use crate::backup::{StoredBackup, parse_date};
use crate::error::{Error, Kind, Result};

/// Maximum number of uploads; each may hold a few parts in memory.
pub(super) const MAX_UPLOADS: usize = 16;

/// Maximum number of uploads to one location, so that a slow provider does not block the others.
pub(super) const MAX_UPLOADS_OF_ONE: usize = 4;

/// All active uploads.
#[derive(Debug)]
pub(super) struct Uploads {
    by_id: Mutex<HashMap<String, Upload>>,
    context: Context,
}

impl Uploads {
    pub(super) fn new(context: Context) -> Self {
        Self {
            by_id: Mutex::default(),
            context,
        }
    }

    /// Begins an upload, and waits a moment for its name; while the storage is away, the upload's task goes on waiting. It
    /// supersedes an active upload of the same backup to the same location.
    ///
    /// # Errors
    /// [`Kind::InvalidMetadata`], [`Kind::ShuttingDown`], [`Kind::TooManyUploads`], and errors of the storage.
    pub(super) async fn begin(
        &self,
        location: Arc<Location>,
        announced: Announcement,
    ) -> Result<Upload> {
        refuse_oversized(&announced.backup)?;
        refuse_unreadable_date(&announced)?;
        loop {
            self.refuse_when_stopping()?;
            match self.start(&location, &announced)? {
                ControlFlow::Break(upload) => return upload.named().await,
                ControlFlow::Continue(same) => {
                    for upload in same {
                        upload.discard(Reason::Superseded).await;
                    }
                }
            }
        }
    }

    /// Starts an upload, unless uploads of the same backup to the same location are active: those are returned.
    fn start(
        &self,
        location: &Arc<Location>,
        announced: &Announcement,
    ) -> Result<ControlFlow<Upload, Vec<Upload>>> {
        let mut uploads = self.by_id.lock();
        let (same, beside) = at(&mut uploads, location, &announced.backup.backup_id);
        if !same.is_empty() {
            return Ok(ControlFlow::Continue(same));
        }
        if beside.len() >= MAX_UPLOADS_OF_ONE || uploads.len() >= MAX_UPLOADS {
            return Err(too_many());
        }
        let context = self.context.clone();
        let upload = Upload::begin(Arc::clone(location), announced.clone(), context)?;
        uploads.insert(upload.id.clone(), upload.clone());
        Ok(ControlFlow::Break(upload))
    }

    /// # Errors
    /// As [`Upload::receive`]; the upload has ended then.
    pub(super) async fn receive<S>(&self, id: &str, body: S) -> Result<Received>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.find(id)?.receive(body).await
    }

    /// # Errors
    /// As [`Upload::complete`]; nothing is kept then.
    pub(super) async fn complete(
        &self,
        id: &str,
        size: u64,
        crc32: String,
    ) -> Result<StoredBackup> {
        self.find(id)?.complete(size, crc32).await
    }

    /// # Errors
    /// [`Kind::UploadNotFound`], also if the backup exists already.
    pub(super) async fn cancel(&self, id: &str) -> Result<()> {
        let is_discarded = self.find(id)?.discard(Reason::Cancelled).await;
        is_discarded.then_some(()).ok_or_else(|| not_found(id))
    }

    /// Discards all uploads to a location that was removed.
    pub(super) async fn remove_location(&self, id: &str) {
        for upload in self.active() {
            if upload.location().id() == id {
                upload.discard(Reason::LocationRemoved).await;
            }
        }
    }

    /// Discards all uploads, because the agent shuts down.
    pub(super) async fn shut_down(&self) {
        let uploads: Vec<_> = self.by_id.lock().drain().collect();
        let discards = uploads
            .iter()
            .map(|(_, upload)| upload.discard(Reason::ShuttingDown));
        join_all(discards).await;
    }

    /// Status of all active uploads, oldest first.
    pub(super) fn status(&self) -> Vec<UploadStatus> {
        let mut uploads: Vec<_> = self.active().iter().map(Upload::status).collect();
        uploads.sort_by(|one, other| {
            (&one.started_at, &one.upload_id).cmp(&(&other.started_at, &other.upload_id))
        });
        uploads
    }

    /// Whether any upload is active.
    pub(super) fn are_active(&self) -> bool {
        !self.active().is_empty()
    }

    /// Whether this backup is being uploaded to this location.
    pub(super) fn is_active(&self, location: &Location, backup_id: &str) -> bool {
        let uploads = &mut self.by_id.lock();
        !at(uploads, location, backup_id).0.is_empty()
    }

    /// # Errors
    /// [`Kind::ShuttingDown`].
    pub(super) fn refuse_when_stopping(&self) -> Result<()> {
        if self.context.stopping.is_cancelled() {
            Err(shutting_down())
        } else {
            Ok(())
        }
    }

    /// All active uploads; forgets those that have ended.
    fn active(&self) -> Vec<Upload> {
        active(&mut self.by_id.lock())
    }

    fn find(&self, id: &str) -> Result<Upload> {
        let mut uploads = self.active().into_iter();
        uploads
            .find(|upload| upload.id == id)
            .ok_or_else(|| not_found(id))
    }
}

fn active(uploads: &mut HashMap<String, Upload>) -> Vec<Upload> {
    uploads.retain(|_, upload| !upload.has_ended());
    uploads.values().cloned().collect()
}

/// Active uploads to the folder of a location: those of this backup to this location, and the others.
fn at(
    uploads: &mut HashMap<String, Upload>,
    location: &Location,
    backup_id: &str,
) -> (Vec<Upload>, Vec<Upload>) {
    active(uploads)
        .into_iter()
        .filter(|upload| upload.location().folder.id == location.folder.id)
        .partition(|upload| {
            upload.backup_id() == backup_id && upload.location().id() == location.id()
        })
}

fn too_many() -> Error {
    let detail = format!(
        "Too many uploads are in progress: the agent allows {MAX_UPLOADS_OF_ONE} to one location, {MAX_UPLOADS} in total."
    );
    Error::new(Kind::TooManyUploads, detail)
}

/// Refuses a backup whose date Home Assistant cannot parse: one such date breaks its retention for all backups.
/// A copy of one that is stored already is made as it is.
///
/// Source: `homeassistant/components/backup/config.py`, `raise_on_error`.
fn refuse_unreadable_date(announced: &Announcement) -> Result<()> {
    let date = &announced.backup.date;
    if announced.uploader == Uploader::Copy || parse_date(date).is_some() {
        return Ok(());
    }
    let detail = format!(
        "The backup's date \"{}\" cannot be parsed.",
        date.escape_debug()
    );
    Err(Error::new(Kind::InvalidMetadata, detail))
}
