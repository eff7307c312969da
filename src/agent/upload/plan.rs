//! What is decided before the first byte: the name of a backup's objects, and the size of its parts.

use crate::agent::catalog::MAX_METADATA_BYTES;
use crate::agent::cleanup::EarlierCopy;
use crate::agent::journal::Interrupted as Left;
use crate::agent::location::Location;
use crate::backup::{AgentBackup, StoredBackup};
use crate::config::settings::PART_SIZE;
use crate::error::{Error, Kind, Result};
use crate::store::{Key, Outcome, Patience, Stem};
use crate::units::sha256;

/// Names that are tried for a backup before it is given up.
const MAX_STEMS: usize = 20;

/// The names that copies of one backup take turns with.
const NAMES_OF_COPIES: usize = 2;

/// A stem that nothing has, and the earlier copies of this very backup.
///
/// A backup that is uploaded again and again goes from its first name to its second and back, so both are looked at.
///
/// A key is never written over: not another backup's, not this backup's earlier copy before the new one is complete,
/// and not a tar without metadata, which may be a backup that waits to be adopted. The exception is the tar that an
/// earlier attempt at this backup `left`, when it was killed just before it would have written the metadata.
pub(super) async fn choose_stem(
    location: &Location,
    backup: &AgentBackup,
    filename: &str,
    taken: &[String],
    left: &[Left],
) -> Result<(Stem, Vec<EarlierCopy>)> {
    let first = Stem::from_filename(filename);
    let (mut free, mut replaced) = (None, Vec::new());
    for attempt in 0..MAX_STEMS {
        let stem = first.attempt(attempt, &backup.backup_id);
        let (tar, metadata) = (location.keys.tar(&stem), location.keys.metadata(&stem));
        if taken.iter().any(|key| key == tar.as_str()) || location.folder.has_deletion(&tar) {
            continue;
        }
        match location
            .store
            .read(&metadata, MAX_METADATA_BYTES, Patience::INTERACTIVE)
            .await
        {
            Ok(json) => {
                let stored = StoredBackup::parse(&json).ok();
                if stored.is_some_and(|stored| stored.backup.backup_id == backup.backup_id) {
                    replaced.push(EarlierCopy {
                        stem,
                        metadata: sha256(&json),
                    });
                }
            }
            // What no list shows is somebody's all the same.
            Err(error)
                if error.outcome == Outcome::Refused && is_too_large(location, &metadata).await => {
            }
            Err(error) if error.outcome != Outcome::NotFound => return Err(error.into()),
            Err(_) if free.is_some() => {}
            Err(_) => match location.store.size(&tar, Patience::INTERACTIVE).await {
                Err(error) if error.outcome == Outcome::NotFound => free = Some(stem),
                Err(error) => return Err(error.into()),
                Ok(_) if left.iter().any(|left| left.header.key == tar.as_str()) => {
                    free = Some(stem);
                }
                Ok(_) => {}
            },
        }
        if attempt >= NAMES_OF_COPIES - 1
            && let Some(stem) = free.take()
        {
            return Ok((stem, replaced));
        }
    }
    let detail = format!(
        "All names for the backup \"{}\" are taken in {}.",
        backup.backup_id,
        location.store.place()
    );
    Err(Error::new(Kind::StorageError, detail)
        .with_hint("Remove copies of it that are no longer needed."))
}

/// Whether an object is larger than any metadata that this agent reads.
async fn is_too_large(location: &Location, metadata: &Key) -> bool {
    let size = location.store.size(metadata, Patience::INTERACTIVE).await;
    size.is_ok_and(|size| size > MAX_METADATA_BYTES)
}

/// The smallest part size that keeps a backup within the number of parts, with room for one that turns out larger.
pub(super) fn part_size(wanted: u64, size: u64, max_parts: u64) -> Result<u64> {
    let needed = size
        .saturating_add(size / 16)
        .div_ceil(max_parts)
        .next_multiple_of(1024 * 1024);
    if needed > PART_SIZE.max {
        let detail = format!(
            "{size} bytes are more than this provider stores as one object, in {max_parts} parts."
        );
        return Err(Error::new(Kind::InvalidRequest, detail));
    }
    Ok(wanted.max(needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_no_upload_needs_more_than_the_provider_takes() {
        const MIB: u64 = 1 << 20;
        for max_parts in [10_000, 1000] {
            let of = |size| part_size(8 * MIB, size, max_parts);
            assert_eq!((of(0).unwrap(), of(1 << 30).unwrap()), (8 * MIB, 8 * MIB));
            let large = 100 << 30;
            assert!(large / of(large).unwrap() < max_parts);
            for absurd in [1 << 50, u64::MAX] {
                assert_eq!(of(absurd).unwrap_err().kind(), Kind::InvalidRequest);
            }
        }
    }
}
