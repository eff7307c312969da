//! Looks into a tar in the bucket without downloading it: its headers by ranged reads, what lies between them left out.

use std::ops::Range;

use bytes::Bytes;

use super::location::Location;
use crate::archive::{self, Manifest, Walker};
use crate::error::{Error, Kind, Result};
use crate::store::{Key, Outcome, Patience};

/// Bytes of one read: a header with the headers around it, and most manifests.
const READ_BYTES: u64 = 32 * 1024;

/// Reads of one tar, 32 MiB together. A backup has an entry for each add-on and folder; what has more is none.
const MAX_READS: u32 = 1000;

/// What a look came to.
#[derive(Debug)]
pub(super) struct Look {
    /// Bytes that were read.
    pub(super) read_bytes: u64,
    /// What the tar says of itself.
    pub(super) found: std::result::Result<Manifest, archive::Error>,
}

/// Walks a tar of `size` bytes from its first header to its end, and gives its manifest when it is complete.
///
/// # Errors
/// What a read can come to; [`Kind::BackupNotFound`] when the tar is not there. What is wrong with the tar itself is in
/// the answer.
pub(super) async fn look_into(location: &Location, key: &Key, size: u64) -> Result<Look> {
    let (mut walker, mut at, mut e_tag) = (Walker::default(), 0, None);
    let mut look = Look {
        read_bytes: 0,
        found: Err(archive::Error::TooManyEntries(MAX_READS)),
    };
    for _ in 0..MAX_READS {
        if walker.is_at_end() || at >= size {
            look.found = walker.finish();
            return Ok(look);
        }
        let range = at..size.min(at + READ_BYTES);
        let bytes = read(location, key, range.clone(), &mut e_tag).await?;
        look.read_bytes += bytes.len() as u64;
        if let Err(error) = walker.push(&bytes) {
            look.found = Err(error);
            return Ok(look);
        }
        at = range.end.saturating_add(walker.skippable());
        if let Err(error) = walker.skip() {
            look.found = Err(error);
            return Ok(look);
        }
    }
    Ok(look)
}

/// One range, of the object that the first range was of.
async fn read(
    location: &Location,
    key: &Key,
    range: Range<u64>,
    e_tag: &mut Option<String>,
) -> Result<Bytes> {
    let body = location
        .store
        .read_range(key, range, e_tag.as_deref(), Patience::INTERACTIVE);
    let read = body.await.map_err(|error| match error.outcome {
        Outcome::NotFound => Error::new(
            Kind::BackupNotFound,
            format!("The tar \"{key}\" is gone from the bucket."),
        ),
        _ => error.into(),
    });
    let (bytes, now) = location.note_error(read)?;
    if e_tag.is_none() {
        *e_tag = now;
    }
    Ok(bytes)
}
