//! What is decided before the first byte: the name of a backup's objects, and the size of its parts.

use crate::agent::listing::MAX_METADATA_BYTES;
use crate::agent::location::Location;
use crate::backup::{AgentBackup, StoredBackup};
use crate::config::location::MAX_PART_SIZE;
use crate::error::{Error, Kind, Result};
use crate::store::{Outcome, Patience, Stem};

/// S3's own limit. Source: "Amazon S3 multipart upload limits" in Amazon's user guide.
const MAX_PARTS: u64 = 10_000;

/// Names that are tried for a backup before it is given up.
const MAX_STEMS: usize = 20;

/// A stem that nothing has, and the stem of an earlier copy of this very backup.
///
/// A key is never written over: not another backup's, not this backup's earlier copy before the new one is complete,
/// and not a tar without metadata, which may be a backup that waits to be adopted.
pub(super) async fn choose_stem(
    location: &Location,
    backup: &AgentBackup,
    filename: &str,
    taken: &[String],
) -> Result<(Stem, Option<Stem>)> {
    let first = Stem::from_filename(filename);
    let mut replaced = None;
    for attempt in 0..MAX_STEMS {
        let stem = first.attempt(attempt, &backup.backup_id);
        let (tar, metadata) = (location.keys.tar(&stem), location.keys.metadata(&stem));
        if taken.iter().any(|key| key == tar.as_str()) || location.is_removing(&tar) {
            continue;
        }
        match location.store.read(&metadata, MAX_METADATA_BYTES, Patience::INTERACTIVE).await {
            Ok(json) => {
                let stored = StoredBackup::parse(&json).ok();
                if stored.is_some_and(|stored| stored.backup.backup_id == backup.backup_id) {
                    replaced.get_or_insert(stem);
                }
            }
            Err(error) if error.outcome != Outcome::NotFound => return Err(error.into()),
            Err(_) => match location.store.size(&tar, Patience::INTERACTIVE).await {
                Err(error) if error.outcome == Outcome::NotFound => return Ok((stem, replaced)),
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            },
        }
    }
    let detail = format!("All names for the backup \"{}\" are taken in {}.", backup.backup_id, location.store.place());
    Err(Error::new(Kind::StorageError, detail).with_hint("Remove copies of it that are no longer needed."))
}

/// The smallest part size that keeps a backup within the number of parts, with room for one that turns out larger.
pub(super) fn part_size(wanted: u64, size: u64) -> Result<u64> {
    let needed = size.saturating_add(size / 16).div_ceil(MAX_PARTS).next_multiple_of(1024 * 1024);
    if needed > MAX_PART_SIZE {
        return Err(Error::new(Kind::InvalidRequest, format!("{size} bytes are more than S3 stores as one object.")));
    }
    Ok(wanted.max(needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_no_upload_needs_more_than_ten_thousand() {
        const MIB: u64 = 1 << 20;
        assert_eq!(part_size(8 * MIB, 1 << 30).unwrap(), 8 * MIB);
        assert_eq!(part_size(8 * MIB, 0).unwrap(), 8 * MIB);
        let terabyte = 1 << 40;
        assert!(terabyte / part_size(8 * MIB, terabyte).unwrap() < MAX_PARTS);
        for absurd in [1 << 50, u64::MAX] {
            assert_eq!(part_size(8 * MIB, absurd).unwrap_err().kind(), Kind::InvalidRequest);
        }
    }
}
