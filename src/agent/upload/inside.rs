//! An upload whose bytes are at the same endpoint already: the storage copies them, and nothing passes here.

use std::sync::Arc;

use super::parts::{Parts, Piece};
use super::{Content, Phase, Tar, Upload};
use crate::agent::download::split;
use crate::agent::model::UploadState;
use crate::backup::StoredBackup;
use crate::error::{Error, Kind, Result};
use crate::store::CopySource;

/// What is copied.
#[derive(Debug)]
pub(in crate::agent) struct Inside {
    pub(in crate::agent) source: CopySource,
    pub(in crate::agent) size: u64,
    /// As it was uploaded, when that is known.
    pub(in crate::agent) sha256: Option<String>,
    pub(in crate::agent) crc32: Option<String>,
    /// Bytes that are copied in one request; what is larger is copied in parts.
    pub(in crate::agent) single_limit: u64,
}

impl Upload {
    /// Has the storage copy the tar, and makes the backup exist.
    ///
    /// # Errors
    /// What the storage can come to; the upload has ended then. A provider that refuses copies, or a key that may not
    /// read the source, is [`Kind::StorageError`] or [`Kind::StorageForbidden`].
    pub(in crate::agent) async fn copy_inside(
        self: &Arc<Self>,
        inside: Inside,
    ) -> Result<StoredBackup> {
        let mut phase = self.phase.lock().await;
        if !matches!(*phase, Phase::Waiting) {
            return Err(self.wrong_order("its content has arrived already"));
        }
        *phase = Phase::Ended;
        self.tell(UploadState::Receiving, None);
        let (size, sha256, crc32) = (inside.size, inside.sha256.clone(), inside.crc32.clone());
        if size <= inside.single_limit {
            let content = Content {
                size,
                part_size: inside.single_limit,
                sha256,
                crc32,
            };
            return self
                .conclude(&mut phase, &content, Tar::Inside(inside.source))
                .await;
        }
        let content = Content {
            size,
            part_size: self.part_size,
            sha256,
            crc32,
        };
        let mut parts = Parts::new(self);
        let copied = tokio::select! {
            () = self.cancel.cancelled() => Err(self.cancelled()),
            copied = self.copy_parts(&mut parts, &inside) => copied,
        };
        let is_kept = copied.as_ref().is_err_and(|error| self.keeps_after(error));
        let tar = parts
            .finish(is_kept)
            .await
            .map(|(multipart, parts)| Tar::Parts(multipart, parts));
        match (copied, tar) {
            (Ok(()), Some(tar)) => self.conclude(&mut phase, &content, tar).await,
            (copied, tar) => {
                let error = copied
                    .err()
                    .unwrap_or_else(|| Error::new(Kind::Internal, "The copy has no parts."));
                self.leave_or_clean_up(tar, &error);
                Err(self.fail(error))
            }
        }
    }

    async fn copy_parts(&self, parts: &mut Parts<'_>, inside: &Inside) -> Result<()> {
        for range in split(0..inside.size, self.part_size) {
            self.progress(
                parts
                    .send(Piece::Inside(inside.source.clone(), range))
                    .await?,
            );
        }
        while parts.are_running() {
            self.progress(parts.one_stored().await?);
        }
        Ok(())
    }
}
