//! Adopts orphans: reads the manifest of a tar without metadata, and writes its metadata. Tars are never changed or deleted.

mod adopt;
mod refusal;

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::catalog::Listing;
use super::location::Location;
use super::model::{FailedRecovery, Recovered, Recovery};
use super::peek::peek_manifest;
use super::uploads::Uploads;
use crate::backup::AgentBackup;
use crate::error::{Error, Kind, Result};
use crate::store::{Object, Patience};
use refusal::Refusal;

/// Tars whose headers are read concurrently.
const READS_IN_FLIGHT: usize = 4;

/// Adopts the named tars, or all orphans. With `dry_run` nothing is written.
///
/// # Errors
/// Errors of a scan. Errors of one tar are in the result.
pub(super) async fn recover(
    location: &Arc<Location>,
    keys: Option<Vec<String>>,
    dry_run: bool,
    uploads: &Uploads,
) -> Result<Recovery> {
    let _recovering = location.folder.recovering.lock().await;
    let listing = location.note(location.scan(Patience::INTERACTIVE).await)?;
    let (candidates, failed) = candidates(location, &listing, keys);
    let mut recovery = Recovery {
        recovered: Vec::new(),
        failed,
    };
    let mut reads = stream::iter(candidates)
        .map(|tar| async move {
            let described = describe(location, &tar, uploads).await;
            (tar, described)
        })
        .buffered(READS_IN_FLIGHT);
    let mut adopted = HashSet::new();
    while let Some((tar, described)) = reads.next().await {
        let settled = match described {
            Ok(backup)
                if listing.find(&backup.backup_id).is_some()
                    || adopted.contains(&backup.backup_id) =>
            {
                Err(duplicate(&backup, location))
            }
            Ok(backup) if uploads.is_active(location, &backup.backup_id) => {
                let id = &backup.backup_id;
                Err(Refusal::UnderWay(format!(
                    "The backup \"{id}\" is being uploaded."
                )))
            }
            Ok(backup) if dry_run => Ok(backup),
            Ok(backup) => adopt::adopt(location, &tar, backup).await,
            Err(refusal) => Err(refusal),
        };
        match settled {
            Ok(backup) => {
                adopted.insert(backup.backup_id.clone());
                recovery.recovered.push(Recovered {
                    key: tar.key.to_string(),
                    backup_id: backup.backup_id,
                    name: backup.name,
                    size_bytes: tar.size,
                });
            }
            Err(refusal) => recovery.failed.push(refusal.of(tar.key.as_str())),
        }
    }
    Ok(recovery)
}

/// Reads from a tar what Home Assistant's manager would know of the backup.
async fn describe(
    location: &Location,
    tar: &Object,
    uploads: &Uploads,
) -> Result<AgentBackup, Refusal> {
    uploads.refuse_when_stopping()?;
    let peek = peek_manifest(location, &tar.key, tar.size).await?;
    let backup = peek
        .manifest
        .and_then(|manifest| manifest.into_agent_backup(tar.size))
        .map_err(|error| {
            let detail = format!("\"{}\" cannot be adopted: {error}.", tar.key);
            Error::new(Kind::InvalidMetadata, detail)
        })?;
    adopt::refuse_unusable(&backup, tar)?;
    Ok(backup)
}

fn duplicate(backup: &AgentBackup, location: &Location) -> Refusal {
    Refusal::Duplicate(format!(
        "The backup \"{}\" is in {} already.",
        backup.backup_id,
        location.store.description()
    ))
}

/// Returns the tars to adopt, newest first, and the requested keys that are none.
fn candidates(
    location: &Location,
    listing: &Listing,
    keys: Option<Vec<String>>,
) -> (Vec<Object>, Vec<FailedRecovery>) {
    let (mut candidates, mut failed) = (Vec::new(), Vec::new());
    match keys {
        None => candidates.extend(
            listing
                .orphans
                .iter()
                .filter(|tar| location.folder.is_orphan(tar))
                .cloned(),
        ),
        Some(keys) => {
            let mut seen = HashSet::new();
            for key in keys.into_iter().filter(|key| seen.insert(key.clone())) {
                match named(location, listing, &key) {
                    Ok(tar) => candidates.push(tar),
                    Err(refusal) => failed.push(refusal.of(&key)),
                }
            }
        }
    }
    candidates.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.key.cmp(&b.key)));
    (candidates, failed)
}

fn named(location: &Location, listing: &Listing, key: &str) -> Result<Object, Refusal> {
    if let Some(tar) = listing.orphans.iter().find(|tar| tar.key.as_str() == key) {
        return if location.folder.is_orphan(tar) {
            Ok(tar.clone())
        } else {
            Err(Refusal::under_way(key))
        };
    }
    if listing
        .entries
        .iter()
        .any(|entry| entry.tar.key.as_str() == key)
    {
        return Err(Refusal::HasMetadata(format!(
            "\"{key}\" is a listed backup."
        )));
    }
    if let Some(metadata) = listing.metadata_of(key) {
        return Err(Refusal::HasMetadata(format!(
            "\"{key}\" has metadata, \"{metadata}\", which cannot be used: remove that object first."
        )));
    }
    let detail = format!(
        "There is no tar \"{key}\" in {}, or it is in another folder.",
        location.store.description()
    );
    Err(Error::new(Kind::BackupNotFound, detail).into())
}
