//! The active uploads: limits their number, supersedes earlier ones of the same backup, and finds them by id.

use std::collections::HashMap;
use std::io;
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

    /// Begins an upload. It supersedes an active upload of the same backup to the same location.
    ///
    /// # Errors
    /// [`Kind::InvalidMetadata`], [`Kind::ShuttingDown`], [`Kind::StorageThrottled`] beyond the limits, and errors of the
    /// storage.
    pub(super) async fn begin(
        &self,
        location: Arc<Location>,
        announced: Announcement,
    ) -> Result<Upload> {
        refuse_oversized(&announced.backup)?;
        refuse_unreadable_date(&announced)?;
        loop {
            self.refuse_when_stopping()?;
            // One at a time: the key of an upload that began a moment ago still looks free in the bucket.
            let creating = location.folder.creating.lock().await;
            let (same, beside) = self.at(&location, &announced.backup.backup_id);
            if same.is_empty() {
                self.refuse_when_full(beside.len())?;
                let taken: Vec<_> = beside.iter().map(|upload| upload.tar().clone()).collect();
                let context = self.context.clone();
                let upload =
                    Upload::begin(Arc::clone(&location), announced, &taken, context).await?;
                self.by_id.lock().insert(upload.id.clone(), upload.clone());
                return Ok(upload);
            }
            drop(creating);
            for upload in same {
                upload.discard(Reason::Superseded).await;
            }
        }
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
        !self.at(location, backup_id).0.is_empty()
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
        let mut uploads = self.by_id.lock();
        uploads.retain(|_, upload| !upload.has_ended());
        uploads.values().cloned().collect()
    }

    /// Active uploads to the folder of a location: those of this backup to this location, and the others.
    fn at(&self, location: &Location, backup_id: &str) -> (Vec<Upload>, Vec<Upload>) {
        self.active()
            .into_iter()
            .filter(|upload| upload.location().folder.id == location.folder.id)
            .partition(|upload| {
                upload.backup_id() == backup_id && upload.location().id() == location.id()
            })
    }

    fn find(&self, id: &str) -> Result<Upload> {
        let mut uploads = self.active().into_iter();
        uploads
            .find(|upload| upload.id == id)
            .ok_or_else(|| not_found(id))
    }

    fn refuse_when_full(&self, here: usize) -> Result<()> {
        if here < MAX_UPLOADS_OF_ONE && self.by_id.lock().len() < MAX_UPLOADS {
            return Ok(());
        }
        let detail = format!(
            "Too many uploads are under way: {MAX_UPLOADS_OF_ONE} may be to one location, {MAX_UPLOADS} to all together."
        );
        Err(Error::new(Kind::StorageThrottled, detail))
    }
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
