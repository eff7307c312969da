//! Takes in a backup's content: counts, hashes and walks it, and sends each part as soon as it is full.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io, mem};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use super::parts::{Parts, Piece, Step};
use super::plan::Plan;
use super::resume::Ledger;
use super::retention::Uploader;
use crate::archive::{self, Contents, Walker};
use crate::backup::Inventory;
use crate::error::{Error, Kind, Result};
use crate::units::hex;

/// How long a sender may be silent. The agent itself, when it copies, waits for its source as long as for any storage.
const SENDER_IDLE_LIMIT: Duration = Duration::from_mins(10);

/// An upload's content.
pub(super) type Body = BoxStream<'static, io::Result<Bytes>>;

/// Content that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Number of bytes.
    pub size: u64,
    /// CRC-32, eight hex digits.
    pub crc32: String,
    /// SHA-256, 64 hex digits.
    pub sha256: String,
    /// What the backup lacks.
    pub inventory: Option<Box<Inventory>>,
}

/// Outcome of one step of the intake.
pub(super) enum Arrival {
    Step(Step),
    /// All content arrived and is stored, in parts unless it fits in one.
    All(Received),
}

pub(super) struct Intake {
    plan: Arc<Plan>,
    body: Body,
    pub(super) parts: Parts,
    buffer: BytesMut,
    /// Rest of the last piece of the body.
    rest: Bytes,
    is_at_end: bool,
    /// Since when the intake waits for the body.
    waiting_since: Option<Instant>,
    size: u64,
    crc32: Digest,
    sha256: Context,
    walker: Walker,
    inventory: Option<Box<Inventory>>,
}

impl Received {
    /// Compares the content with what its sender counted.
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

impl Intake {
    pub(super) fn new(plan: Arc<Plan>, body: Body) -> Self {
        Self {
            parts: Parts::new(Arc::clone(&plan)),
            plan,
            body,
            buffer: BytesMut::new(),
            rest: Bytes::new(),
            is_at_end: false,
            waiting_since: None,
            size: 0,
            crc32: Digest::new(CrcAlgorithm::Crc32IsoHdlc),
            sha256: Context::new(&SHA256),
            walker: Walker::default(),
            inventory: None,
        }
    }

    /// When the sender has been silent for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = self.waiting_since?;
        (self.plan.uploader != Uploader::Copy).then(|| since + SENDER_IDLE_LIMIT)
    }

    /// Takes in content until there is progress to tell. Cancel safe.
    ///
    /// # Errors
    /// [`Kind::SizeMismatch`] if fewer bytes arrive than announced, [`Kind::InvalidMetadata`] if they are not this backup,
    /// [`Kind::InvalidRequest`] if the sender leaves, and errors of the storage.
    pub(super) async fn step(&mut self, ledger: &mut Ledger) -> Result<Arrival> {
        loop {
            if self.has_full_part() {
                let step = match self.parts.ready(ledger).await? {
                    Some(step) => step,
                    None => self.send_buffer(),
                };
                return Ok(Arrival::Step(step));
            }
            if !self.rest.is_empty() {
                self.fill_buffer();
                continue;
            }
            if self.is_at_end {
                return if self.parts.are_running() {
                    self.parts.one_stored().await.map(Arrival::Step)
                } else {
                    Ok(Arrival::All(self.received()))
                };
            }
            self.waiting_since.get_or_insert_with(Instant::now);
            tokio::select! {
                // A failed part ends the upload at once, not when all content has arrived.
                stored = self.parts.one_stored(), if self.parts.are_running() => {
                    return stored.map(Arrival::Step);
                }
                piece = self.body.next() => {
                    self.waiting_since = None;
                    if let Some(piece) = piece {
                        self.take(piece.map_err(sender_gone)?)?;
                    } else {
                        self.check()?;
                        self.is_at_end = true;
                    }
                }
            }
        }
    }

    /// The error for a sender that was silent for too long.
    pub(super) fn silence() -> Error {
        sender_gone(io::ErrorKind::TimedOut.into())
    }

    /// The content, if it fits in one part.
    pub(super) fn whole(&mut self) -> Bytes {
        mem::take(&mut self.buffer).freeze()
    }

    /// Whether the buffer is to be sent: it is full and more follows, or it is the last of several parts. A backup of
    /// exactly one part needs no multipart upload.
    fn has_full_part(&self) -> bool {
        if self.is_at_end {
            self.parts.has_begun() && !self.buffer.is_empty()
        } else {
            self.buffer.len() == self.part_size() && !self.rest.is_empty()
        }
    }

    fn take(&mut self, piece: Bytes) -> Result<()> {
        self.size += piece.len() as u64;
        self.crc32.update(&piece);
        self.sha256.update(&piece);
        self.walker
            .push(&piece)
            .map_err(|error| not_a_backup(&error))?;
        self.rest = piece;
        Ok(())
    }

    fn fill_buffer(&mut self) {
        let part_size = self.part_size();
        if self.buffer.capacity() == 0 {
            let expected = self
                .plan
                .backup
                .size
                .saturating_sub(self.size)
                .saturating_add(64 * 1024);
            let expected = usize::try_from(expected).unwrap_or(usize::MAX);
            self.buffer.reserve(expected.min(part_size));
        }
        let room = part_size - self.buffer.len();
        let taken = self.rest.split_to(self.rest.len().min(room));
        self.buffer.extend_from_slice(&taken);
    }

    fn send_buffer(&mut self) -> Step {
        let part = mem::take(&mut self.buffer).freeze();
        let digest = self.plan.store.part_digest(&part);
        self.parts.send(Piece::Bytes(part, digest))
    }

    /// Checks that all content arrived and is the announced backup.
    fn check(&mut self) -> Result<()> {
        let announced = self.plan.backup.size;
        if self.size < announced {
            let detail = format!(
                "{announced} bytes were announced, but only {} arrived.",
                self.size
            );
            return Err(Error::new(Kind::SizeMismatch, detail));
        }
        let Contents {
            manifest,
            inventory,
        } = mem::take(&mut self.walker)
            .finish()
            .map_err(|error| not_a_backup(&error))?;
        let backup_id = &self.plan.backup.backup_id;
        if manifest.backup_id() != backup_id {
            let inside = manifest.backup_id();
            let detail = format!("The tar is the backup \"{inside}\", not \"{backup_id}\".");
            return Err(Error::new(Kind::InvalidMetadata, detail));
        }
        self.inventory = inventory;
        Ok(())
    }

    fn received(&mut self) -> Received {
        let sha256 = mem::replace(&mut self.sha256, Context::new(&SHA256)).finish();
        Received {
            size: self.size,
            crc32: format!("{:08x}", self.crc32.finalize()),
            sha256: hex(sha256),
            inventory: self.inventory.take(),
        }
    }

    fn part_size(&self) -> usize {
        usize::try_from(self.plan.part_size).unwrap_or(usize::MAX)
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}

fn not_a_backup(error: &archive::Error) -> Error {
    Error::new(
        Kind::InvalidMetadata,
        format!("What arrived is not a backup: {error}."),
    )
}

fn sender_gone(error: io::Error) -> Error {
    // A copy's source reports its own error.
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
