//! One scan of a folder: lists its objects, and reads the metadata that the last list does not have.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::entry::{Entry, MAX_METADATA_BYTES, Metadata};
use super::listing::Listing;
use super::sorted::Sorted;
use crate::agent::folder::Folder;
use crate::agent::model::SkipCode;
use crate::agent::verify::record::Record;
use crate::error::{Error, Reason, Result};
use crate::store::{Error as StoreError, Key, Object, Outcome, Patience, Store};

/// Metadata objects that are read concurrently.
const READS_IN_FLIGHT: usize = 32;

/// Size of a tar without entries: two empty blocks.
const MIN_TAR_BYTES: u64 = 1024;

/// Total size of the metadata in a list: enough for tens of thousands of backups.
const MAX_LIST_BYTES: usize = 128 * 1024 * 1024;

/// Scans the folder of a location.
pub(super) async fn scan(
    store: &Store,
    folder: &Folder,
    known: Option<&Listing>,
    patience: Patience,
) -> Result<Listing> {
    let (mut listing, orphans) = list(store, folder.keys.folder(), known, patience).await?;
    let record = folder.record();
    for tar in orphans.iter().filter(|tar| folder.is_orphan(tar)) {
        let (code, reason) = if let Some(why) = why_not_a_backup(&record, tar) {
            (SkipCode::NotABackup, format!("it is no backup: {why}"))
        } else {
            let reason = "it has no metadata; recover adopts it";
            (SkipCode::MetadataMissing, reason.to_owned())
        };
        listing.skip(&tar.key, code, reason);
    }
    listing.orphans = orphans;
    warn_of_new(store, &listing, known);
    Ok(listing)
}

/// Why this tar is known to be no backup: it was read once, or is too small for any tar.
pub(in crate::agent) fn why_not_a_backup<'a>(record: &'a Record, tar: &Object) -> Option<&'a str> {
    if tar.size < MIN_TAR_BYTES {
        return Some("it is too small for a tar");
    }
    record.why_not_a_backup(tar)
}

/// Scans a folder of the flat layout, where a tar without metadata may be anything.
///
/// # Errors
/// When the storage cannot be listed.
pub(in crate::agent) async fn scan_flat(
    store: &Store,
    folder: &str,
    patience: Patience,
) -> Result<Listing> {
    let (listing, _) = list(store, folder, None, patience).await?;
    warn_of_new(store, &listing, None);
    Ok(listing)
}

/// Returns the list, and the tars without metadata.
async fn list(
    store: &Store,
    folder: &str,
    known: Option<&Listing>,
    patience: Patience,
) -> Result<(Listing, Vec<Object>)> {
    let start = Instant::now();
    let mut objects = store.list(folder, patience).await?;
    objects
        .objects
        .retain(|object| !object.key.is_in_location_below(folder));
    let Sorted {
        pairs,
        orphans,
        skipped,
    } = Sorted::from(objects);
    let mut listing = Listing::new(skipped, start);
    read_metadata(store, &mut listing, pairs, known, patience).await?;
    listing.skip_duplicates();
    debug!(
        folder,
        backups = listing.entries.len(),
        skipped = listing.skipped.len(),
        duration_ms = start.elapsed().as_millis(),
        "listed {}",
        store.description()
    );
    Ok((listing, orphans))
}

async fn read_metadata(
    store: &Store,
    listing: &mut Listing,
    pairs: Vec<(Object, Object)>,
    known: Option<&Listing>,
    patience: Patience,
) -> Result<(), StoreError> {
    let known: HashMap<&Key, &Arc<Metadata>> = known
        .into_iter()
        .flat_map(Listing::all)
        .map(|entry| (&entry.key, &entry.metadata))
        .collect();
    let mut reads = stream::iter(pairs)
        .map(|(object, tar)| {
            let known = known
                .get(&object.key)
                .filter(|metadata| metadata.version == object.version)
                .map(|metadata| Arc::clone(metadata));
            async move {
                let metadata = match known {
                    Some(metadata) => Ok(metadata),
                    None => read_one(store, &object, patience).await?,
                };
                Ok::<_, StoreError>((object.key, tar, metadata))
            }
        })
        .buffered(READS_IN_FLIGHT);
    let (mut unread, mut locked) = (None, None);
    let mut free_bytes = MAX_LIST_BYTES;
    while let Some((key, tar, metadata)) = reads.try_next().await? {
        let metadata = metadata.and_then(|metadata| {
            free_bytes = free_bytes
                .checked_sub(metadata.json.get().len())
                .ok_or_else(list_is_full)?;
            Ok(metadata)
        });
        let metadata = metadata.map_err(|error| {
            let reason = error.to_string();
            if !concerns_object(error.outcome) {
                unread = Some(error);
            } else if error.reason == Some(Reason::EncryptionKeyNeeded) {
                locked = Some(error);
            }
            reason
        });
        listing.add(key, tar, metadata);
    }
    // One object that the server fails on does not hide the others. A server that fails on all of them is broken.
    match unread {
        Some(error) if listing.entries.is_empty() => Err(error),
        unread => {
            // A backup may be among those whose metadata needs another key: it is not called missing.
            listing.unread = unread.or(locked).map(Error::from);
            Ok(())
        }
    }
}

/// The outer error fails the scan, because the storage is away; the inner one skips this object.
async fn read_one(
    store: &Store,
    object: &Object,
    patience: Patience,
) -> Result<Result<Arc<Metadata>, StoreError>, StoreError> {
    let read = store.read(&object.key, MAX_METADATA_BYTES, patience).await;
    match read {
        Ok(json) => Ok(Metadata::parse(&json, &object.version).map(Arc::new)),
        Err(error) if concerns_object(error.outcome) || may_concern_object(error.outcome) => {
            Ok(Err(error))
        }
        Err(error) => Err(error),
    }
}

/// Whether the object itself is the cause, and not access to it.
const fn concerns_object(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::NotFound | Outcome::Changed | Outcome::Refused
    )
}

const fn may_concern_object(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Forbidden | Outcome::ServerError | Outcome::NotS3
    )
}

fn list_is_full() -> StoreError {
    let mib = MAX_LIST_BYTES / 1024 / 1024;
    let message = format!("the metadata before it has {mib} MiB already");
    StoreError::new(Outcome::Refused, message)
}

/// Logs each skipped or damaged object once.
fn warn_of_new(store: &Store, listing: &Listing, known: Option<&Listing>) {
    let known_skipped = known.map_or(&[][..], |known| &known.skipped);
    for skipped in &listing.skipped {
        if !known_skipped.contains(skipped) {
            warn!(
                key = skipped.key,
                "left out of the list of {}: {}",
                store.description(),
                skipped.reason
            );
        }
    }
    let is_known = |entry: &Entry| {
        let mut known = known.into_iter().flat_map(Listing::all);
        known.any(|other| Arc::ptr_eq(&other.metadata, &entry.metadata))
    };
    for entry in listing.all() {
        if let Some(damage) = &entry.metadata.damage
            && !is_known(entry)
        {
            warn!(
                key = entry.key.as_str(),
                "the metadata of a backup in {} is damaged: {damage}; it is listed as it is",
                store.description()
            );
        }
    }
}
