//! Reads a backup: several ranges at the same time, handed on in order, checked before the last byte is let go.
//!
//! Each range is read by a task of its own into a queue that holds at most that range, so memory is bounded by the
//! number of ranges times their size. A range whose body breaks goes on where it stopped.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error};

use super::listing::Entry;
use super::location::Location;
use crate::error::{Error, Kind, Result};
use crate::store::{Backoff, Body, Error as StoreError, Key, Outcome, Store};
use crate::units::hex;

/// A backup on its way out.
pub struct Download {
    /// Size of the whole tar in bytes.
    pub size: u64,
    /// The tar's `ETag`.
    pub e_tag: Option<String>,
    /// The bytes that are sent.
    pub range: Range<u64>,
    reader: Reader,
    check: Option<Check>,
    backup_id: String,
    start: Instant,
}

/// What a download reads from, for tasks that outlive the call.
#[derive(Clone)]
struct Source {
    store: Store,
    location: Arc<Location>,
    key: Key,
    e_tag: Option<String>,
}

/// Ranges being read, in order.
struct Reader {
    source: Source,
    waiting: VecDeque<Range<u64>>,
    running: VecDeque<Running>,
}

struct Running {
    chunks: mpsc::UnboundedReceiver<Result<Bytes>>,
    // Reading stops when the client goes away.
    _task: AbortOnDropHandle<()>,
}

/// The hash so far and the one that must come out.
struct Check {
    hash: Context,
    wanted: String,
}

impl Download {
    /// Opens a backup. `range` is what to send of it, the whole of it when absent; the first request is made here, so
    /// that its failure is an answer and not a broken stream.
    ///
    /// # Errors
    /// What a read can come to; [`Kind::InvalidRequest`] when the range is outside.
    pub async fn open(
        location: Arc<Location>,
        entry: &Entry,
        range: Option<Range<u64>>,
    ) -> Result<Self> {
        let tar = &entry.tar;
        let range = range.unwrap_or(0..tar.size);
        if range.end > tar.size {
            return Err(Error::new(
                Kind::InvalidRequest,
                format!("The range ends after the tar's {} bytes.", tar.size),
            ));
        }
        let part = location.settings.part_size;
        let mut waiting: VecDeque<_> = split(range.clone(), part).collect();
        let first = waiting.pop_front().unwrap_or(0..0);
        let mut source = Source {
            store: location.store.clone(),
            key: tar.key.clone(),
            e_tag: None,
            location,
        };
        let body = source.open(first.clone()).await.inspect_err(|error| {
            // Another agent may have given it another name.
            if error.kind() == Kind::BackupNotFound {
                source.location.changed(&entry.metadata.backup_id);
            }
        })?;
        if body.object_size != tar.size {
            source.location.changed(&entry.metadata.backup_id);
            let detail = format!(
                "Could not read \"{}\": it has {} bytes now, not {}",
                tar.key, body.object_size, tar.size
            );
            return Err(Error::new(Kind::StorageError, detail)
                .with_hint("Refresh the list of backups and try again."));
        }
        let (size, e_tag) = (body.object_size, body.e_tag.clone());
        source.e_tag.clone_from(&e_tag);
        let whole = range == (0..size);
        let wanted = entry.metadata.sha256().filter(|_| whole);
        let check = wanted.map(|wanted| Check {
            hash: Context::new(&SHA256),
            wanted: wanted.to_owned(),
        });
        let (location, bytes) = (source.location.id(), range.end - range.start);
        debug!(
            location,
            size_bytes = size,
            start = range.start,
            bytes,
            "reading \"{}\"",
            tar.key
        );
        let running = VecDeque::from([source.clone().read(first, Some(body))]);
        let reader = Reader {
            source,
            waiting,
            running,
        };
        let (backup_id, start) = (entry.metadata.backup_id.clone(), Instant::now());
        Ok(Self {
            size,
            e_tag,
            range,
            reader,
            check,
            backup_id,
            start,
        })
    }

    /// The same without a look at its SHA-256: for who compares it by itself, and wants all of the bytes.
    #[must_use]
    pub(super) fn unchecked(self) -> Self {
        Self {
            check: None,
            ..self
        }
    }

    /// The bytes. The stream ends with an error, before its last piece, when they are not what was uploaded.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        stream::try_unfold((self, None), |(mut download, held)| async move {
            // One piece is always held back, so that a wrong hash leaves the stream visibly incomplete.
            let next = download.reader.next().await?;
            let Some(piece) = next else {
                let Some(held) = held else { return Ok(None) };
                download.verify()?;
                download.note_end();
                return Ok(Some((held, (download, None))));
            };
            if let Some(check) = &mut download.check {
                check.hash.update(&piece);
            }
            download
                .reader
                .source
                .location
                .history
                .downloaded(piece.len());
            Ok(Some((held.unwrap_or_default(), (download, Some(piece)))))
        })
        .try_filter(|piece| std::future::ready(!piece.is_empty()))
    }

    fn note_end(&self) {
        let (source, bytes) = (&self.reader.source, self.range.end - self.range.start);
        let duration_ms = self.start.elapsed().as_millis();
        debug!(
            location = source.location.id(),
            bytes, duration_ms, "read \"{}\"", source.key
        );
    }

    fn verify(&mut self) -> Result<()> {
        let Some(Check { hash, wanted }) = self.check.take() else {
            return Ok(());
        };
        let key = &self.reader.source.key;
        if hex(hash.finish()) == wanted {
            debug!(
                location = self.reader.source.location.id(),
                "the SHA-256 of \"{key}\" is right"
            );
            return Ok(());
        }
        let detail = format!(
            "The backup \"{}\" is damaged: the SHA-256 of \"{key}\" is not the one that was uploaded.",
            self.backup_id
        );
        error!("{detail}");
        Err(Error::new(Kind::ChecksumMismatch, detail)
            .with_hint("Restore another backup; this one cannot be trusted."))
    }
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            while self.running.len() < self.source.location.settings.ranges_in_flight() {
                let Some(range) = self.waiting.pop_front() else {
                    break;
                };
                self.running
                    .push_back(self.source.clone().read(range, None));
            }
            let Some(first) = self.running.front_mut() else {
                return Ok(None);
            };
            match first.chunks.recv().await {
                Some(chunk) => return chunk.map(Some),
                None => self.running.pop_front(),
            };
        }
    }
}

impl Source {
    async fn open(&self, range: Range<u64>) -> Result<Body> {
        let patience = self.location.patience();
        let opened = self
            .store
            .open_range(&self.key, range, self.e_tag.as_deref(), patience)
            .await;
        self.location
            .note(opened.map_err(|error| missing(error, &self.key)))
    }

    /// Starts reading a range; `body` is its first answer when there is one already.
    fn read(self, range: Range<u64>, body: Option<Body>) -> Running {
        let (sender, chunks) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            if let Err(error) = self.pump(range, body, &sender).await {
                // Fails only when the client is gone, and then nobody wants to know.
                drop(sender.send(Err(error)));
            }
        });
        Running {
            chunks,
            _task: AbortOnDropHandle::new(task),
        }
    }

    async fn pump(
        &self,
        mut range: Range<u64>,
        mut body: Option<Body>,
        sender: &mpsc::UnboundedSender<Result<Bytes>>,
    ) -> Result<()> {
        let mut backoff = Backoff::new(self.location.patience());
        while !range.is_empty() {
            let mut current = match body.take() {
                Some(body) => body,
                None => self.open(range.clone()).await?,
            };
            let before = range.start;
            let ended = self.forward(&mut current, &mut range, sender).await;
            if range.start > before {
                backoff = Backoff::new(self.location.patience());
            }
            match ended {
                // An answer that keeps ending early would go on for ever.
                Ok(()) if range.start == before => return Err(self.wrong_length()),
                Ok(()) => {}
                // Having waited is no success yet.
                Err(error) => self
                    .location
                    .note_error(backoff.pause(error).await.map_err(Error::from))?,
            }
        }
        Ok(())
    }

    /// Hands on what the body has, and moves the start of `range` along.
    async fn forward(
        &self,
        body: &mut Body,
        range: &mut Range<u64>,
        sender: &mpsc::UnboundedSender<Result<Bytes>>,
    ) -> Result<(), StoreError> {
        while let Some(chunk) = body.stream.try_next().await? {
            let length = chunk.len() as u64;
            if length > range.end - range.start {
                return Err(StoreError::new(
                    Outcome::Refused,
                    self.wrong_length().to_string(),
                ));
            }
            range.start += length;
            // Fails only when the client is gone; this task is about to be aborted.
            drop(sender.send(Ok(chunk)));
        }
        Ok(())
    }

    fn wrong_length(&self) -> Error {
        let detail = format!(
            "Could not read \"{}\": the provider sent another number of bytes than asked for",
            self.key
        );
        Error::new(Kind::StorageError, detail)
    }
}

fn missing(error: StoreError, key: &Key) -> Error {
    match error.outcome {
        Outcome::NotFound => Error::new(
            Kind::BackupNotFound,
            format!("The tar \"{key}\" is gone from the bucket."),
        ),
        _ => error.into(),
    }
}

/// A range in pieces of `part` bytes.
pub(super) fn split(range: Range<u64>, part: u64) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    let step = usize::try_from(part).unwrap_or(usize::MAX);
    range
        .step_by(step)
        .map(move |start| start..end.min(start + part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_split_without_gaps() {
        assert_eq!(split(0..0, 8).count(), 0);
        assert_eq!(split(3..20, 8).collect::<Vec<_>>(), [3..11, 11..19, 19..20]);
    }
}
