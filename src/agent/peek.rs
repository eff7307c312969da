//! Reads the contents of a tar in the bucket by ranged reads of its headers, without downloading it.

use std::ops::Range;

use bytes::Bytes;

use super::location::Location;
use crate::archive::{self, Archive, Contents, FoundArchives, Walker};
use crate::error::{Error, Kind, Result};
use crate::store::{Error as StoreError, Key, Outcome, Patience};

/// Size of one read: a header with its neighbours, and most manifests.
const READ_BYTES: u64 = 32 * 1024;

/// Maximum number of reads, 32 MiB in total. A backup has one entry per add-on and folder.
const MAX_READS: u32 = 1000;

/// Result of reading a tar's headers.
#[derive(Debug)]
pub(super) struct Peek {
    /// Bytes that were read.
    pub(super) read_bytes: u64,
    /// The contents, or what is wrong with the tar.
    pub(super) contents: std::result::Result<Contents, archive::Error>,
}

/// Walks the headers of a tar of `size` bytes to its end, and returns its contents.
///
/// # Errors
/// Those of a ranged read; [`Kind::BackupNotFound`] if the tar is missing.
pub(super) async fn peek_contents(location: &Location, key: &Key, size: u64) -> Result<Peek> {
    let Walked {
        outcome,
        read_bytes,
        ..
    } = walk(location, key, size, Walker::is_at_end).await?;
    Ok(Peek {
        read_bytes,
        contents: outcome.and_then(Walker::finish),
    })
}

/// Walks the headers until `is_enough`, or to the tar's end, and returns the archives, or what is wrong with the tar; also
/// the `ETag` of the version that was read.
///
/// # Errors
/// As [`peek_contents`].
pub(super) async fn peek_archives(
    location: &Location,
    key: &Key,
    size: u64,
    is_enough: impl Fn(&[Archive]) -> bool,
) -> Result<(
    std::result::Result<FoundArchives, archive::Error>,
    Option<String>,
)> {
    let is_enough =
        |walker: &Walker| walker.is_at_end() || walker.archives().map_or(true, &is_enough);
    let Walked { outcome, e_tag, .. } = walk(location, key, size, is_enough).await?;
    Ok((outcome.and_then(|walker| walker.found()), e_tag))
}

/// Result of a walk.
struct Walked {
    outcome: std::result::Result<Walker, archive::Error>,
    /// Bytes that were read.
    read_bytes: u64,
    e_tag: Option<String>,
}

/// Walks the headers until `is_enough`.
async fn walk(
    location: &Location,
    key: &Key,
    size: u64,
    is_enough: impl Fn(&Walker) -> bool,
) -> Result<Walked> {
    let mut walker = Walker::default();
    let (mut at, mut read_bytes) = (0, 0);
    let mut e_tag = None;
    let mut outcome = Err(archive::Error::TooManyEntries(MAX_READS));
    for _ in 0..MAX_READS {
        if is_enough(&walker) || at >= size {
            outcome = Ok(walker);
            break;
        }
        let range = at..size.min(at + READ_BYTES);
        at = range.end;
        let bytes = read(location, key, range, &mut e_tag).await?;
        read_bytes += bytes.len() as u64;
        let result = walker.push(&bytes).and_then(|()| {
            at = at.saturating_add(walker.skippable());
            walker.skip()
        });
        if let Err(error) = result {
            outcome = Err(error);
            break;
        }
    }
    Ok(Walked {
        outcome,
        read_bytes,
        e_tag,
    })
}

/// Reads one range, of the same version of the tar as the first one.
pub(super) async fn read(
    location: &Location,
    key: &Key,
    range: Range<u64>,
    e_tag: &mut Option<String>,
) -> Result<Bytes> {
    let read = location
        .store
        .read_range(key, range, e_tag.as_deref(), Patience::INTERACTIVE)
        .await
        .map_err(|error| read_error(key, error));
    let (bytes, version) = location.note_error(read)?;
    if e_tag.is_none() {
        *e_tag = version;
    }
    Ok(bytes)
}

/// Error of reading a tar, which may have been deleted since the scan.
pub(super) fn read_error(key: &Key, error: StoreError) -> Error {
    if error.outcome != Outcome::NotFound {
        return error.into();
    }
    let detail = format!("The tar \"{key}\" is gone from the bucket.");
    Error::new(Kind::BackupNotFound, detail)
}
