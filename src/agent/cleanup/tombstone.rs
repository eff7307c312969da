//! Applies tombstones and discards interrupted uploads.

use std::sync::Arc;

use futures_util::{FutureExt, TryFutureExt};
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::agent::catalog::MAX_METADATA_BYTES;
use crate::agent::folder::{ClaimKind, is_settled};
use crate::agent::journal::{Header, Interrupted, Tombstone};
use crate::agent::location::Location;
use crate::backup::StoredBackup;
use crate::store::{Error, Key, Multipart, Object, Outcome, Patience};
use crate::units::sha256;

/// A metadata object.
pub(super) struct Described {
    /// The backup that it describes; none if it cannot be parsed.
    pub(super) backup_id: Option<String>,
    pub(super) sha256: String,
}

/// Reads a metadata object; none if it does not exist.
pub(super) async fn described(
    location: &Location,
    metadata: &Key,
    patience: Patience,
) -> Result<Option<Described>, Error> {
    match location
        .store
        .read(metadata, MAX_METADATA_BYTES, patience)
        .await
    {
        Ok(json) => Ok(Some(Described {
            backup_id: StoredBackup::parse(&json)
                .ok()
                .map(|stored| stored.backup.backup_id),
            sha256: sha256(&json),
        })),
        Err(error) if error.outcome == Outcome::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes the objects of a failed upload of `size` bytes and returns whether they are gone. A tar of another size may
/// belong to another agent; the sweep deletes it once it has aged.
pub(in crate::agent) async fn erase_failed(
    location: &Location,
    tar: &Key,
    tombstone: &Tombstone,
    size: u64,
) -> bool {
    let is_ours = |found: &Object| found.size == size || is_settled(found);
    apply(location, tar, tombstone, location.patience(), is_ours)
        .await
        .unwrap_or_else(|error| {
            warn!("could not delete \"{tar}\"; the sweep will retry: {error}");
            false
        })
}

/// Discards an interrupted upload or finishes a deletion in the background, then removes its journal. If that fails, the
/// journal stays for the next sweep.
pub(in crate::agent) fn abandon(
    location: &Arc<Location>,
    upload: Interrupted,
    tasks: &TaskTracker,
) {
    let location = Arc::clone(location);
    tasks.spawn(async move {
        let Interrupted {
            header,
            journal,
            tombstone,
            ..
        } = upload;
        if let Some(multipart) = unfinished(&location, &header)
            && !abort_parts(&location, &multipart, &header.key).await
        {
            return journal.discarded().await;
        }
        let Some(tombstone) = tombstone else {
            return journal.end().await;
        };
        let key = Key::new(&header.key);
        // No upload of this agent may choose the name meanwhile. An upload that has claimed it keeps it.
        let Some(claim) = location.folder.try_claim(&key, ClaimKind::Deletion) else {
            return;
        };
        let gone = apply(&location, &key, &tombstone, location.patience(), is_settled).await;
        drop(claim);
        match gone {
            Ok(true) => journal.end().await,
            Ok(false) => {}
            Err(error) => warn!("could not delete \"{key}\"; the sweep will retry: {error}"),
        }
    });
}

/// Aborts a multipart upload and returns whether its parts are gone.
pub(in crate::agent) async fn abort_parts(
    location: &Location,
    multipart: &Multipart,
    key: &str,
) -> bool {
    let aborted = multipart.abort(location.patience()).await;
    aborted
        .inspect_err(|error| {
            warn!("could not abort the parts of \"{key}\"; the sweep will retry: {error}");
        })
        .is_ok()
}

/// The multipart upload of a journal.
pub(in crate::agent) fn unfinished(location: &Location, header: &Header) -> Option<Multipart> {
    Multipart::resume(
        &location.store,
        &Key::new(&header.key),
        header.upload_id.as_ref()?,
    )
}

/// Deletes the objects of a tombstone and returns whether it is finished. It is not if the tar has an unknown version and
/// `may_delete` refuses it.
pub(super) async fn apply(
    location: &Location,
    tar: &Key,
    tombstone: &Tombstone,
    patience: Patience,
    may_delete: impl Fn(&Object) -> bool,
) -> Result<bool, Error> {
    let Some(metadata) = tar.metadata_of_tar() else {
        return Ok(true);
    };
    let (ours, version) = match tombstone {
        Tombstone::Failed { metadata, version } => (metadata.as_deref(), version.as_deref()),
        Tombstone::Deleted { version } => (None, Some(&**version)),
    };
    if !retract_metadata(location, &metadata, ours, patience).await? {
        // A backup has this name now.
        return Ok(true);
    }
    let store = &location.store;
    let Some(found) = store.object_or_listed_if_any(tar, patience).await? else {
        return Ok(true);
    };
    match version {
        Some(version) if !is_same_version(version, &found.version) => return Ok(true),
        None if !may_delete(&found) => return Ok(false),
        _ => {}
    }
    delete_tar(location, &found, patience).await?;
    location.outdated();
    Ok(true)
}

/// Deletes a tar without metadata as it was found. Another agent may choose its name as soon as the storage has deleted it.
pub(super) async fn delete_tar(
    location: &Location,
    found: &Object,
    patience: Patience,
) -> Result<(), Error> {
    let is_ours = || is_still(location, found).boxed();
    location
        .store
        .delete_while(&found.key, patience, is_ours)
        .await
}

/// Whether a tar is as it was found, still without metadata: equal bytes have an equal version.
async fn is_still(location: &Location, found: &Object) -> Result<bool, Error> {
    let (store, patience) = (&location.store, Patience::NONE);
    if let Some(metadata) = found.key.metadata_of_tar()
        && store.object_if_any(&metadata, patience).await?.is_some()
    {
        return Ok(false);
    }
    let now = store.object_or_listed_if_any(&found.key, patience).await?;
    Ok(now.is_some_and(|now| is_same_version(&found.version, &now.version)))
}

/// Deletes a metadata object with this SHA-256.
pub(super) async fn delete_metadata(
    location: &Location,
    metadata: &Key,
    sha256: &str,
    patience: Patience,
) -> Result<(), Error> {
    let is_ours = || {
        let now = described(location, metadata, Patience::NONE);
        now.map_ok(|now| now.is_some_and(|now| now.sha256 == sha256))
            .boxed()
    };
    location
        .store
        .delete_while(metadata, patience, is_ours)
        .await
}

/// Deletes a metadata object if its SHA-256 is `ours`, and returns whether none is left.
pub(in crate::agent) async fn retract_metadata(
    location: &Location,
    metadata: &Key,
    ours: Option<&str>,
    patience: Patience,
) -> Result<bool, Error> {
    match described(location, metadata, patience).await? {
        None => Ok(true),
        Some(Described { sha256, .. }) if ours == Some(&*sha256) => {
            delete_metadata(location, metadata, &sha256, patience).await?;
            location.outdated();
            Ok(true)
        }
        Some(_) => Ok(false),
    }
}

/// Servers quote one object's `ETag` in some answers and not in others, and proxies make some weak.
fn is_same_version(one: &str, other: &str) -> bool {
    let tag = |version: &str| {
        version
            .trim_start_matches("W/")
            .trim_matches('"')
            .to_owned()
    };
    tag(one) == tag(other)
}
