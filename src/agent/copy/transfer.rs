//! Copies one backup from one location to another.

use std::io;
use std::sync::{Arc, OnceLock};

use futures_util::TryStreamExt;
use tracing::warn;

use super::plan::{Done, InsideLimits};
use crate::agent::catalog::Entry;
use crate::agent::download::Download;
use crate::agent::location::Location;
use crate::agent::peek::peek_contents;
use crate::agent::upload::{Announcement, Inside, Reason, Upload, Uploader};
use crate::agent::uploads::Uploads;
use crate::backup::{AgentBackup, Inventory, StoredBackup};
use crate::error::{Error, Kind, Result};

/// A plan that is carried out.
pub(super) struct Copying {
    pub(super) uploads: Arc<Uploads>,
    pub(super) from: Arc<Location>,
    pub(super) folder: String,
    pub(super) to: Arc<Location>,
    pub(super) inside: InsideLimits,
    /// Set once the storage refuses to copy by itself.
    pub(super) refused: OnceLock<()>,
}

impl Copying {
    pub(super) async fn run(&self, entry: &Entry) -> Result<Done> {
        let backup = StoredBackup::parse(entry.metadata.json.get().as_bytes())
            .map_err(|error| Error::new(Kind::Internal, error.to_string()))?
            .backup;
        if entry.tar.size < backup.size {
            let (held, said) = (entry.tar.size, backup.size);
            let detail = format!(
                "\"{}\" has {held} bytes, but its metadata says {said}.",
                entry.tar.key
            );
            return Err(Error::new(Kind::SizeMismatch, detail)
                .with_hint("It is cut off and cannot be restored."));
        }
        if self.refused.get().is_none() {
            match self.copy_inside(entry, &backup).await {
                Ok(()) => return Ok(Done::CopiedInside),
                Err(error) if is_refusal(error.kind()) => {
                    if self.refused.set(()).is_ok() {
                        warn!(
                            "the storage does not copy by itself: {error}; backups are downloaded and uploaded"
                        );
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.pass_on(entry, backup).await.map(|()| Done::Copied)
    }

    async fn copy_inside(&self, entry: &Entry, backup: &AgentBackup) -> Result<()> {
        let source = self.from.store.copy_source(&entry.tar);
        let source = source
            .ok_or_else(|| Error::new(Kind::StorageError, "The buckets are at two endpoints."))?;
        let (size, single_limit) = (entry.tar.size, self.inside.single);
        let sha256 = entry.metadata.sha256().map(str::to_owned);
        let stored = entry.metadata.stored.as_ref();
        let crc32 = stored.and_then(|stored| stored.crc32.clone());
        let inventory = match stored.and_then(|stored| stored.inventory.clone()) {
            None => self.look_inside(entry).await,
            known => known,
        };
        let upload = self
            .create(entry, backup.clone(), Some(self.inside.part_size))
            .await?;
        let inside = Inside {
            source,
            size,
            sha256,
            crc32,
            inventory,
            single_limit,
        };
        upload.copy_inside(inside).await.map(drop)
    }

    /// Reads what a backup lacks whose bytes do not pass through the agent. A failure is no obstacle: a copy is as good as
    /// its source, and `verify` tells what is wrong with it.
    async fn look_inside(&self, entry: &Entry) -> Option<Box<Inventory>> {
        let tar = &entry.tar;
        let peek = peek_contents(&self.from, &tar.key, tar.size).await.ok()?;
        peek.contents.ok()?.inventory
    }

    /// Downloads, verifies and uploads it, without a file in between.
    async fn pass_on(&self, entry: &Entry, backup: AgentBackup) -> Result<()> {
        let upload = self.create(entry, backup, None).await?;
        let download = match Download::open(Arc::clone(&self.from), entry, None).await {
            Ok(download) => download,
            Err(error) => {
                upload.discard(Reason::SenderLeft).await;
                return Err(error);
            }
        };
        // The download compares the SHA-256 of the source before it releases the last piece.
        let received = self
            .uploads
            .receive(&upload.id, download.into_stream().map_err(io::Error::other))
            .await?;
        self.uploads
            .complete(&upload.id, received.size, received.crc32)
            .await
            .map(drop)
    }

    /// Keeps the name of its objects, which may have been renamed.
    async fn create(
        &self,
        entry: &Entry,
        backup: AgentBackup,
        part_size: Option<u64>,
    ) -> Result<Upload> {
        let stem = entry
            .key
            .stem_in(&self.folder)
            .map_or_else(|| backup.suggested_stem(), str::to_owned);
        let backup = AgentBackup {
            size: entry.tar.size,
            ..backup
        };
        let announced = Announcement {
            backup,
            filename: format!("{stem}.tar"),
            uploader: Uploader::Copy,
            part_size,
        };
        self.uploads.begin(Arc::clone(&self.to), announced).await
    }
}

/// Whether a copy inside the storage failed for a reason that a download and an upload may not have: fall back to those.
const fn is_refusal(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::StorageError
            | Kind::StorageForbidden
            | Kind::StorageAuth
            | Kind::BucketNotFound
            | Kind::WrongRegion
    )
}
