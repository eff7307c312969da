//! Opens the tar of a stored backup: its archives by their headers, and its bytes as a reader for blocking code.

pub mod key;

use std::io::{self, Read};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::catalog::Entry;
use super::download::Download;
use super::location::Location;
use super::peek::peek_archives;
use crate::archive::{self, Archive};
use crate::error::{Error, Kind, Result};
use crate::units::MIB;

/// Pieces between the download and its reader.
const PIECES: usize = 8;

/// Bytes of the first window, and of the largest one.
const FIRST_WINDOW: u64 = MIB;
const LAST_WINDOW: u64 = 64 * MIB;

/// Which bytes of a tar are read.
#[derive(Debug, Clone)]
pub enum Reading {
    /// All; the SHA-256 is compared before the last ones are released.
    Whole,
    /// This range.
    Range(Range<u64>),
    /// This range, in windows that double: a reader that ends early costs at most as much again.
    Windows(Range<u64>),
}

/// Returns the archives in a backup's tar, by ranged reads of its headers.
///
/// # Errors
/// Those of a ranged read; [`Kind::InvalidMetadata`] when the tar is damaged.
pub async fn archives(location: Arc<Location>, entry: Entry) -> Result<Vec<Archive>> {
    let tar = &entry.tar;
    let found = peek_archives(&location, &tar.key, tar.size, |_| false).await?;
    found.map_err(|error| damaged(&entry, &error))
}

/// Error of a tar that cannot be read.
fn damaged(entry: &Entry, error: &archive::Error) -> Error {
    let detail = format!("\"{}\" cannot be opened: {error}.", entry.tar.key);
    Error::new(Kind::InvalidMetadata, detail)
}

/// Opens a backup's tar. The reader blocks, so it must not run on the runtime's own thread; it ends when the handle is
/// dropped. Its errors are those of a download.
pub fn reader(
    location: Arc<Location>,
    entry: Entry,
    reading: Reading,
) -> (RemoteReader, AbortOnDropHandle<()>) {
    let (sender, pieces) = mpsc::channel(PIECES);
    let task = tokio::spawn(async move {
        let sent = send(&sender, location, &entry, reading).await;
        // Fails only after the reader was dropped.
        drop(sender.send(sent.map(|()| None)).await);
    });
    let reader = RemoteReader {
        pieces,
        piece: Bytes::new(),
        is_at_end: false,
    };
    (reader, AbortOnDropHandle::new(task))
}

/// Sender of pieces to a reader, and of none at the end.
type Sender = mpsc::Sender<Result<Option<Bytes>>>;

async fn send(
    sender: &Sender,
    location: Arc<Location>,
    entry: &Entry,
    reading: Reading,
) -> Result<()> {
    let (mut range, mut window) = match reading {
        Reading::Whole => {
            let download = Download::open(location, entry, None).await?;
            return forward(sender, download.into_stream()).await;
        }
        Reading::Range(range) => (range, u64::MAX),
        Reading::Windows(range) => (range, FIRST_WINDOW),
    };
    let mut e_tag = None;
    while !range.is_empty() && !sender.is_closed() {
        let end = range.end.min(range.start.saturating_add(window));
        let download = Download::open(Arc::clone(&location), entry, Some(range.start..end));
        let download = download.await?;
        if e_tag.get_or_insert_with(|| download.e_tag.clone()) != &download.e_tag {
            let detail = format!("\"{}\" was replaced while it was read.", entry.tar.key);
            return Err(Error::new(Kind::StorageError, detail).with_hint("Try again."));
        }
        forward(sender, download.into_stream()).await?;
        range.start = end;
        window = window.saturating_mul(2).min(LAST_WINDOW.max(window));
    }
    Ok(())
}

async fn forward(sender: &Sender, pieces: impl Stream<Item = Result<Bytes>>) -> Result<()> {
    let mut pieces = pin!(pieces);
    while let Some(piece) = pieces.next().await {
        if sender.send(Ok(Some(piece?))).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Reader of a download. Its errors hold an [`Error`].
#[derive(Debug)]
pub struct RemoteReader {
    pieces: mpsc::Receiver<Result<Option<Bytes>>>,
    piece: Bytes,
    is_at_end: bool,
}

impl Read for RemoteReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.is_at_end && !buffer.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(Some(piece))) => self.piece = piece,
                Some(Ok(None)) => self.is_at_end = true,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
