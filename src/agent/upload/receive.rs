//! Takes a backup's bytes in: counts, hashes and walks them, and sends each part as soon as it is full.

use std::io;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use futures_util::{Stream, StreamExt};
use tokio::time::sleep;

use super::parts::{Parts, Piece};
use super::{Tar, Upload};
use crate::archive::{self, Walker};
use crate::error::{Error, Kind, Result};
use crate::units::hex;

/// How long a sender may be silent. The agent itself, when it copies, waits for its source as long as for any storage.
const SENDER_IDLE_LIMIT: Duration = Duration::from_mins(10);

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Number of bytes.
    pub size: u64,
    /// CRC-32, eight hex digits.
    pub crc32: String,
    /// SHA-256, 64 hex digits.
    pub sha256: String,
}

impl Received {
    pub(super) fn agrees_with(&self, size: u64, crc32: &str) -> Result<()> {
        if size != self.size {
            let detail = format!(
                "{} bytes arrived, but the sender counted {size}.",
                self.size
            );
            return Err(Error::new(Kind::SizeMismatch, detail));
        }
        if !crc32.eq_ignore_ascii_case(&self.crc32) {
            let detail = format!(
                "The CRC-32 of what arrived is {}, but the sender's is {crc32}.",
                self.crc32
            );
            return Err(Error::new(Kind::ChecksumMismatch, detail));
        }
        Ok(())
    }
}

/// Receives the content. What is stored comes back in any case, to be completed or cleaned up.
pub(super) async fn receive<S>(upload: &Upload, body: S) -> (Result<Received>, Option<Tar>)
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let mut intake = Intake::new(upload);
    let result = tokio::select! {
        () = upload.cancel.cancelled() => Err(upload.cancelled()),
        result = intake.run(body) => result,
    };
    let whole = std::mem::take(&mut intake.buffer).freeze();
    let is_kept = result
        .as_ref()
        .is_err_and(|error| upload.keeps_after(error));
    let tar = match intake.parts.finish(is_kept).await {
        Some((multipart, parts)) => Some(Tar::Parts(multipart, parts)),
        None => Some(Tar::Whole(whole)),
    };
    (result, tar)
}

struct Intake<'u> {
    upload: &'u Upload,
    parts: Parts<'u>,
    buffer: BytesMut,
    size: u64,
    crc32: Digest,
    sha256: Context,
    walker: Walker,
}

impl<'u> Intake<'u> {
    fn new(upload: &'u Upload) -> Self {
        Self {
            upload,
            parts: Parts::new(upload),
            buffer: BytesMut::new(),
            size: 0,
            crc32: Digest::new(CrcAlgorithm::Crc32IsoHdlc),
            sha256: Context::new(&SHA256),
            walker: Walker::default(),
        }
    }

    async fn run<S>(&mut self, body: S) -> Result<Received>
    where
        S: Stream<Item = io::Result<Bytes>> + Send,
    {
        let mut body = std::pin::pin!(body);
        loop {
            let next = tokio::select! {
                // A part that fails for good ends the upload at once, not when the sender is through.
                stored = self.parts.one_stored(), if self.parts.are_running() => {
                    self.progress(stored?);
                    continue;
                }
                next = body.next() => next,
                () = sleep(SENDER_IDLE_LIMIT), if !self.upload.means.options.is_from_agent => {
                    Some(Err(io::ErrorKind::TimedOut.into()))
                }
            };
            match next {
                Some(Ok(piece)) => self.take(piece).await?,
                Some(Err(error)) => return Err(sender_gone(error)),
                None => break,
            }
        }
        self.finish().await
    }

    async fn take(&mut self, mut piece: Bytes) -> Result<()> {
        self.size += piece.len() as u64;
        self.crc32.update(&piece);
        self.sha256.update(&piece);
        self.walker
            .push(&piece)
            .map_err(|error| not_a_backup(&error))?;
        let part_size = usize::try_from(self.upload.part_size).unwrap_or(usize::MAX);
        while !piece.is_empty() {
            // A full buffer is sent when more follows: a backup of exactly one part needs no multipart upload.
            if self.buffer.len() == part_size {
                self.send_buffer().await?;
            }
            if self.buffer.capacity() == 0 {
                self.buffer.reserve(self.buffer_size(part_size));
            }
            let taken = piece.split_to(piece.len().min(part_size - self.buffer.len()));
            self.buffer.extend_from_slice(&taken);
        }
        Ok(())
    }

    /// What is still expected, up to a part.
    fn buffer_size(&self, part_size: usize) -> usize {
        let rest = self
            .upload
            .backup
            .size
            .saturating_sub(self.size)
            .saturating_add(64 * 1024);
        usize::try_from(rest).unwrap_or(usize::MAX).min(part_size)
    }

    async fn send_buffer(&mut self) -> Result<()> {
        let part = std::mem::take(&mut self.buffer).freeze();
        let digest = self.upload.store.part_digest(&part);
        let stored_bytes = self.parts.send(Piece::Bytes(part, digest)).await?;
        self.progress(stored_bytes);
        Ok(())
    }

    async fn finish(&mut self) -> Result<Received> {
        let announced = self.upload.backup.size;
        if self.size < announced {
            let detail = format!(
                "{} bytes were announced, but only {} arrived.",
                announced, self.size
            );
            return Err(Error::new(Kind::SizeMismatch, detail));
        }
        let manifest = std::mem::take(&mut self.walker)
            .finish()
            .map_err(|error| not_a_backup(&error))?;
        if manifest.backup_id() != self.upload.backup.backup_id {
            let (inside, said) = (manifest.backup_id(), &self.upload.backup.backup_id);
            let detail = format!("The tar is the backup \"{inside}\", not \"{said}\".");
            return Err(Error::new(Kind::InvalidMetadata, detail));
        }
        if self.parts.has_begun() {
            self.send_buffer().await?;
            while self.parts.are_running() {
                let stored_bytes = self.parts.one_stored().await?;
                self.progress(stored_bytes);
            }
        }
        let sha256 = std::mem::replace(&mut self.sha256, Context::new(&SHA256)).finish();
        let crc32 = format!("{:08x}", self.crc32.finalize());
        Ok(Received {
            size: self.size,
            crc32,
            sha256: hex(sha256),
        })
    }

    fn progress(&self, stored_bytes: u64) {
        self.upload.progress(stored_bytes);
    }
}

fn not_a_backup(error: &archive::Error) -> Error {
    Error::new(
        Kind::InvalidMetadata,
        format!("What arrived is not a backup: {error}."),
    )
}

fn sender_gone(error: io::Error) -> Error {
    // A sender inside the agent, which copies from another location, says itself what is wrong.
    if let Some(error) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        return error.clone();
    }
    let detail = format!("The sender stopped in the middle: {error}.");
    Error::new(Kind::InvalidRequest, detail)
        .with_hint("Send the same backup again.")
        .with_source(error)
}
