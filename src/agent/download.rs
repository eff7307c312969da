//! Downloads a backup: concurrent ranges, handed on in order, verified before the last piece is released.
//!
//! Each range is read by its own task into a queue that holds at most that range, so memory is bounded by the number of
//! ranges times their size. A range whose body breaks resumes where it stopped. From a server that ignores ranges, the tar
//! is read as one range, and the queue is bounded as before.

mod room;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use chrono::Utc;
use futures_util::{Stream, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error};

use room::Room;

use super::catalog::Entry;
use super::location::Location;
use super::model::{BrokenDownload, Event};
use super::peek::read_error;
use crate::error::{Error, Kind, Result};
use crate::store::{Backoff, Body, Error as StoreError, Key, Outcome, Store};
use crate::units::{hex, rfc3339};

/// A download in progress.
pub struct Download {
    /// Size of the whole tar in bytes.
    pub size: u64,
    /// `ETag` of the tar.
    pub e_tag: Option<String>,
    /// The bytes that are sent.
    pub range: Range<u64>,
    reader: Reader,
    check: Option<Check>,
    backup_id: String,
    start: Instant,
}

/// The tar, for tasks that outlive the call.
#[derive(Clone)]
struct Source {
    store: Store,
    location: Arc<Location>,
    key: Key,
    /// Refuses another version of the tar.
    e_tag: Option<String>,
}

/// Ranges in flight, in order.
struct Reader {
    source: Source,
    waiting: VecDeque<Range<u64>>,
    running: VecDeque<Running>,
}

/// Sending end of a range's queue.
struct Queue {
    sender: mpsc::UnboundedSender<Result<Bytes>>,
    room: Room,
}

struct Running {
    chunks: mpsc::UnboundedReceiver<Result<Bytes>>,
    room: Room,
    // Aborts when the client disconnects.
    _task: AbortOnDropHandle<()>,
}

/// The hash so far, and the expected one.
struct Check {
    hash: Context,
    expected: String,
}

impl Check {
    /// The check of a download of this range: only the whole tar has a known hash.
    fn of(entry: &Entry, range: &Range<u64>) -> Option<Self> {
        let is_whole = *range == (0..entry.tar.size);
        let expected = entry.metadata.sha256().filter(|_| is_whole)?;
        Some(Self {
            hash: Context::new(&SHA256),
            expected: expected.to_owned(),
        })
    }
}

impl Download {
    /// Opens a backup, or a range of it. The first request is made here, so that its error can be answered.
    ///
    /// Requests are retried by the store only, for as long as the location's `outage_seconds`. A body that breaks is
    /// resumed within a second budget of the same length, which starts anew with each byte that arrives. So this call ends
    /// within `outage_seconds`, and a stream without progress within twice that.
    ///
    /// # Errors
    /// Those of a ranged read, [`Kind::BackupNotFound`] if the tar was deleted or renamed since the scan;
    /// [`Kind::InvalidRequest`] for a range beyond the tar.
    pub async fn open(
        location: Arc<Location>,
        entry: &Entry,
        range: Option<Range<u64>>,
    ) -> Result<Self> {
        let tar = &entry.tar;
        let range = range.unwrap_or(0..tar.size);
        if range.end > tar.size {
            let detail = format!("The range ends after the tar's {} bytes.", tar.size);
            return Err(Error::new(Kind::InvalidRequest, detail));
        }
        let mut waiting: VecDeque<_> = split(range.clone(), location.settings.part_size).collect();
        let first = waiting.pop_front().unwrap_or(0..0);
        let mut source = Source {
            store: location.patient_store(),
            key: tar.key.clone(),
            e_tag: None,
            location,
        };
        let body = source.open_first(entry, first.clone()).await?;
        source.e_tag.clone_from(&body.e_tag);
        let (first, body) = if body.ignores_range {
            waiting.clear();
            (range.clone(), None)
        } else {
            (first, Some(body))
        };
        debug!(
            location = source.location.id(),
            size_bytes = tar.size,
            start = range.start,
            bytes = range.end - range.start,
            "reading \"{}\"",
            tar.key
        );
        Ok(Self {
            size: tar.size,
            e_tag: source.e_tag.clone(),
            check: Check::of(entry, &range),
            range,
            reader: Reader {
                running: VecDeque::from([source.clone().read(first, body)]),
                source,
                waiting,
            },
            backup_id: entry.metadata.backup_id.clone(),
            start: Instant::now(),
        })
    }

    /// The same without comparing the SHA-256, for a caller that does so and needs all bytes.
    #[must_use]
    pub(super) fn unchecked(self) -> Self {
        Self {
            check: None,
            ..self
        }
    }

    /// Returns the bytes. A SHA-256 mismatch ends the stream with an error before its last piece.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        stream::try_unfold((self, None), |(mut download, held)| async move {
            // One piece is held back, so that a mismatch leaves the stream visibly incomplete.
            let Some(piece) = download.reader.next().await? else {
                let Some(held) = held else { return Ok(None) };
                download.verify()?;
                download.log_end();
                return Ok(Some((held, (download, None))));
            };
            if let Some(check) = &mut download.check {
                check.hash.update(&piece);
            }
            let location = &download.reader.source.location;
            location.history().counts.downloaded_bytes += piece.len() as u64;
            Ok(Some((held.unwrap_or_default(), (download, Some(piece)))))
        })
        .try_filter(|piece| std::future::ready(!piece.is_empty()))
    }

    /// Returns the bytes for a client that gets no more than a closed connection when they break off: the error is logged,
    /// and sent as an event with this id.
    pub fn into_reported_stream(
        self,
        download_id: String,
    ) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let source = &self.reader.source;
        let (location, key) = (Arc::clone(&source.location), source.key.clone());
        let backup_id = self.backup_id.clone();
        self.into_stream().inspect_err(move |error| {
            error!(
                location = location.id(),
                code = error.kind().code(),
                "the download of \"{key}\" broke off: {error}"
            );
            let broken = BrokenDownload {
                download_id: download_id.clone(),
                location: location.id().to_owned(),
                backup_id: backup_id.clone(),
                failed_at: rfc3339(Utc::now()),
                error: error.into(),
            };
            location.history().last_broken_download = Some(broken.clone());
            location.events().send(Event::Download(Box::new(broken)));
        })
    }

    fn log_end(&self) {
        let source = &self.reader.source;
        debug!(
            location = source.location.id(),
            bytes = self.range.end - self.range.start,
            duration_ms = self.start.elapsed().as_millis(),
            "read \"{}\"",
            source.key
        );
    }

    fn verify(&mut self) -> Result<()> {
        let Some(Check { hash, expected }) = self.check.take() else {
            return Ok(());
        };
        let source = &self.reader.source;
        let key = &source.key;
        if hex(hash.finish()) == expected {
            let location = source.location.id();
            debug!(location, "the SHA-256 of \"{key}\" matches");
            return Ok(());
        }
        let detail = format!(
            "The backup \"{}\" is damaged: the SHA-256 of \"{key}\" is not the one that was uploaded.",
            self.backup_id
        );
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
                let read = self.source.clone().read(range, None);
                self.running.push_back(read);
            }
            let Some(first) = self.running.front_mut() else {
                return Ok(None);
            };
            match first.chunks.recv().await {
                Some(chunk) => {
                    let piece = chunk?;
                    first.room.free(&piece);
                    return Ok(Some(piece));
                }
                None => self.running.pop_front(),
            };
        }
    }
}

impl Source {
    /// Opens the first range, and checks that the tar is the listed one.
    async fn open_first(&self, entry: &Entry, range: Range<u64>) -> Result<Body> {
        let body = self.open(range).await.inspect_err(|error| {
            // Another agent may have renamed it.
            if error.kind() == Kind::BackupNotFound {
                self.location.changed(&entry.metadata.backup_id);
            }
        })?;
        let listed_size = entry.tar.size;
        if body.object_size == listed_size {
            return Ok(body);
        }
        self.location.changed(&entry.metadata.backup_id);
        let detail = format!(
            "Could not read \"{}\": it has {} bytes now, not {listed_size}",
            self.key, body.object_size
        );
        Err(Error::new(Kind::StorageError, detail)
            .with_hint("Refresh the list of backups and try again."))
    }

    async fn open(&self, range: Range<u64>) -> Result<Body> {
        let patience = self.location.patience();
        let body = self
            .store
            .open_range(&self.key, range, self.e_tag.as_deref(), patience);
        let body = body.await;
        self.location
            .note(body.map_err(|error| read_error(&self.key, error)))
    }

    /// Starts to read a range; `body` is its first answer if there is one already.
    fn read(self, range: Range<u64>, body: Option<Body>) -> Running {
        let (sender, chunks) = mpsc::unbounded_channel();
        let room = Room::of(self.location.settings.part_size);
        let queue = Queue {
            sender,
            room: room.clone(),
        };
        let task = tokio::spawn(async move {
            if let Err(error) = self.forward_range(range, body, &queue).await {
                // Fails only after the client has disconnected.
                drop(queue.sender.send(Err(error)));
            }
        });
        Running {
            chunks,
            room,
            _task: AbortOnDropHandle::new(task),
        }
    }

    async fn forward_range(
        &self,
        mut range: Range<u64>,
        mut body: Option<Body>,
        queue: &Queue,
    ) -> Result<()> {
        let mut resumes = Backoff::new(self.location.patience());
        while !range.is_empty() {
            let mut current = match body.take() {
                Some(body) => body,
                None => self.open(range.clone()).await?,
            };
            let before = range.start;
            let ended = self.forward_body(&mut current, &mut range, queue).await;
            let has_progress = range.start > before;
            if has_progress {
                resumes = Backoff::new(self.location.patience());
            }
            match ended {
                Ok(()) if has_progress => {}
                // A body that is empty each time would be resumed forever.
                Ok(()) => return Err(self.wrong_length()),
                // A pause is no success yet, so only its error is noted.
                Err(error) => self.location.note_error(resumes.pause(error).await)?,
            }
        }
        Ok(())
    }

    /// Forwards the body, and advances the start of `range` with it.
    async fn forward_body(
        &self,
        body: &mut Body,
        range: &mut Range<u64>,
        queue: &Queue,
    ) -> Result<(), StoreError> {
        while let Some(chunk) = body.stream.try_next().await? {
            let length = chunk.len() as u64;
            if length > range.end - range.start {
                let message = self.wrong_length().to_string();
                return Err(StoreError::new(Outcome::Refused, message));
            }
            range.start += length;
            queue.room.take(&chunk).await;
            // Fails only after the client has disconnected; this task is aborted then.
            drop(queue.sender.send(Ok(chunk)));
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

/// Splits a range into pieces of `part` bytes.
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
    fn range_is_split_without_gaps() {
        assert_eq!(split(0..0, 8).count(), 0);
        assert_eq!(split(3..20, 8).collect::<Vec<_>>(), [3..11, 11..19, 19..20]);
    }
}
