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
use crate::archive::{self, Archive, FoundArchives, securetar};
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

/// Returns the archives in a backup's tar, by ranged reads of its headers until `is_enough`; also the `ETag` of the tar.
///
/// # Errors
/// Those of a ranged read; [`Kind::InvalidMetadata`] when the tar is damaged.
pub async fn archives(
    location: Arc<Location>,
    entry: Entry,
    is_enough: impl Fn(&[Archive]) -> bool,
) -> Result<(FoundArchives, Option<String>)> {
    let tar = &entry.tar;
    let (found, e_tag) = peek_archives(&location, &tar.key, tar.size, is_enough).await?;
    let found = found.map_err(|error| damaged(&entry, error))?;
    Ok((found, e_tag))
}

/// Error of a tar that cannot be opened. Its source says whether another version of SecureTar is the reason.
#[must_use]
pub fn cannot_open(name: &str, why: &str, source: archive::Error) -> Error {
    let detail = format!("\"{name}\" cannot be opened: {why}.");
    Error::new(Kind::InvalidMetadata, detail).with_source(source)
}

fn damaged(entry: &Entry, error: archive::Error) -> Error {
    cannot_open(entry.tar.key.as_str(), &error.to_string(), error.root())
}

/// Whether the agent cannot read a backup that may be undamaged.
#[must_use]
pub fn is_unsupported(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    matches!(
        source.and_then(|source| source.downcast_ref::<archive::Error>()),
        Some(archive::Error::SecureTar(
            securetar::Error::Unknown | securetar::Error::UnknownVersion(_)
        ))
    )
}

/// Opens a backup's tar, of the version with this `ETag` if there is one. The reader blocks, so it must not run on the
/// runtime's own thread; it ends when the handle is dropped. Its errors are those of a download.
pub fn reader(
    location: Arc<Location>,
    entry: Entry,
    reading: Reading,
    e_tag: Option<String>,
) -> (RemoteReader, AbortOnDropHandle<()>) {
    let (sender, pieces) = mpsc::channel(PIECES);
    let task = tokio::spawn(async move {
        let mut version = Version(e_tag);
        let sent = send(&sender, location, &entry, reading, &mut version).await;
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
    version: &mut Version,
) -> Result<()> {
    let (mut range, mut window) = match reading {
        Reading::Whole => {
            let download = Download::open(location, entry, None).await?;
            version.check(entry, &download)?;
            return forward(sender, download.into_stream()).await;
        }
        Reading::Range(range) => (range, u64::MAX),
        Reading::Windows(range) => (range, FIRST_WINDOW),
    };
    while !range.is_empty() && !sender.is_closed() {
        let end = range.end.min(range.start.saturating_add(window));
        let download = Download::open(Arc::clone(&location), entry, Some(range.start..end));
        let download = download.await?;
        version.check(entry, &download)?;
        forward(sender, download.into_stream()).await?;
        range.start = end;
        window = window.saturating_mul(2).min(LAST_WINDOW.max(window));
    }
    Ok(())
}

/// `ETag` of the version that is read, once it is known.
struct Version(Option<String>);

impl Version {
    fn check(&mut self, entry: &Entry, download: &Download) -> Result<()> {
        if self.0.is_none() {
            self.0.clone_from(&download.e_tag);
        }
        if self.0 == download.e_tag {
            return Ok(());
        }
        let detail = format!("\"{}\" was replaced while it was read.", entry.tar.key);
        Err(Error::new(Kind::StorageError, detail).with_hint("Try again."))
    }
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
