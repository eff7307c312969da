//! Adopts orphans: reads the manifest of a tar without metadata, and writes its metadata. Tars are never changed or deleted.
//! A named tar may be anywhere in the bucket; one outside the folder is copied into it.

mod adopt;
mod elsewhere;
mod refusal;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::catalog::{Listing, why_not_a_backup};
use super::location::Location;
use super::model::{FailedRecovery, Recovered, Recovery};
use super::peek::peek_contents;
use super::uploads::Uploads;
use super::verify::Verifier;
use super::verify::record::NotABackup;
use crate::backup::{AgentBackup, Inventory};
use crate::error::Result;
use crate::store::{Object, Patience};
use refusal::Refusal;

/// What the headers of a tar tell.
struct Described {
    backup: AgentBackup,
    inventory: Option<Box<Inventory>>,
}

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
    verifier: &Verifier,
) -> Result<Recovery> {
    let _recovering = location.folder.recovering.lock().await;
    let listing = location.note(location.scan(Patience::INTERACTIVE).await)?;
    let too_young = match &keys {
        Some(_) => 0,
        None => count_young(location, &listing),
    };
    let (candidates, failed) = candidates(location, &listing, keys).await;
    let mut recovery = Recovery {
        recovered: Vec::new(),
        failed,
        too_young,
    };
    let mut reads = stream::iter(candidates)
        .map(|tar| async move {
            let described = describe(location, &tar, uploads).await;
            (tar, described)
        })
        .buffered(READS_IN_FLIGHT);
    let (mut adopted, mut not_backups) = (HashSet::new(), BTreeMap::new());
    while let Some((tar, described)) = reads.next().await {
        let settled = match described {
            Ok(described) => {
                let backup = &described.backup;
                let is_listed = listing.find(&backup.backup_id).is_some()
                    || adopted.contains(&backup.backup_id);
                refuse_in_use(location, uploads, backup, is_listed).map(|()| described)
            }
            Err(refusal) => Err(refusal),
        };
        let settled = match settled {
            Ok(found) if !dry_run && location.folder.holds(&tar.key) => {
                adopt::adopt(location, &tar, found).await
            }
            Ok(found) if !dry_run => elsewhere::take_over(location, uploads, &tar, found).await,
            settled => settled.map(|found| found.backup),
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
            Err(refusal) => {
                if let Refusal::NotABackup(reason) = &refusal {
                    not_backups.insert(tar.key.to_string(), NotABackup::of(&tar, reason));
                }
                recovery.failed.push(refusal.of(tar.key.as_str()));
            }
        }
    }
    if !not_backups.is_empty() {
        let orphans = listing.orphans.iter().map(|tar| tar.key.to_string());
        verifier
            .remember_not_backups(location, not_backups, orphans.collect())
            .await;
    }
    Ok(recovery)
}

/// Number of tars that may be backups, and may belong to an upload.
fn count_young(location: &Location, listing: &Listing) -> usize {
    let record = location.folder.record();
    let is_young =
        |tar: &&Object| !location.folder.is_orphan(tar) && why_not_a_backup(&record, tar).is_none();
    listing.orphans.iter().filter(is_young).count()
}

/// Refuses a backup that is listed or being uploaded.
fn refuse_in_use(
    location: &Location,
    uploads: &Uploads,
    backup: &AgentBackup,
    is_listed: bool,
) -> Result<(), Refusal> {
    let id = &backup.backup_id;
    if is_listed {
        let storage = location.store.description();
        return Err(Refusal::Duplicate(format!(
            "The backup \"{id}\" is in {storage} already."
        )));
    }
    if uploads.is_active(location, id) {
        return Err(Refusal::UnderWay(format!(
            "The backup \"{id}\" is being uploaded."
        )));
    }
    Ok(())
}

/// Reads from a tar what Home Assistant's manager would know of the backup.
async fn describe(
    location: &Location,
    tar: &Object,
    uploads: &Uploads,
) -> Result<Described, Refusal> {
    uploads.refuse_when_stopping()?;
    let peek = peek_contents(location, &tar.key, tar.size).await?;
    let described = peek.contents.and_then(|contents| {
        Ok(Described {
            backup: contents.manifest.into_agent_backup(tar.size)?,
            inventory: contents.inventory,
        })
    });
    let described = described.map_err(|error| Refusal::NotABackup(error.to_string()))?;
    adopt::refuse_unusable(&described.backup)?;
    Ok(described)
}

/// Returns the tars to adopt, newest first, and the requested keys that are none.
async fn candidates(
    location: &Location,
    listing: &Listing,
    keys: Option<Vec<String>>,
) -> (Vec<Object>, Vec<FailedRecovery>) {
    let (mut candidates, mut failed) = (Vec::new(), Vec::new());
    match keys {
        None => {
            let record = location.folder.record();
            let may_be_backup = |tar: &&Object| {
                location.folder.is_orphan(tar) && why_not_a_backup(&record, tar).is_none()
            };
            candidates.extend(listing.orphans.iter().filter(may_be_backup).cloned());
        }
        Some(keys) => {
            let mut seen = HashSet::new();
            for key in keys.into_iter().filter(|key| seen.insert(key.clone())) {
                match named(location, listing, &key).await {
                    Ok(tar) => candidates.push(tar),
                    Err(refusal) => failed.push(refusal.of(&key)),
                }
            }
        }
    }
    candidates.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.key.cmp(&b.key)));
    (candidates, failed)
}

async fn named(location: &Location, listing: &Listing, key: &str) -> Result<Object, Refusal> {
    if let Some(tar) = listing.orphans.iter().find(|tar| tar.key.as_str() == key) {
        return if location.folder.is_orphan(tar) {
            Ok(tar.clone())
        } else {
            Err(Refusal::under_way(tar))
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
    elsewhere::find(location, key).await
}
