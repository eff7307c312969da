//! Adopts one tar: writes the metadata that its upload would have written.

use std::sync::Arc;

use chrono::Utc;
use tracing::info;

use super::Described;
use super::refusal::Refusal;
use crate::agent::catalog::refuse_oversized;
use crate::agent::cleanup::retract_metadata;
use crate::agent::folder::{ClaimKind, is_settled};
use crate::agent::location::Location;
use crate::backup::{AgentBackup, AgentMetadata, FORMAT, Inventory, StoredBackup, parse_date};
use crate::error::{Error, Kind, Result};
use crate::store::{ContentType, Key, Object, Outcome, Patience};
use crate::units::{rfc3339_millis, sha256};

/// Longest backup id in a tar, in bytes; Home Assistant's have eight.
const MAX_ID_BYTES: usize = 128;

/// Refuses a backup that Home Assistant could not handle. The metadata is validated elsewhere.
///
/// Home Assistant parses the date of every backup to find those to delete; one invalid date fails that for all. Source: `homeassistant/components/backup/config.py`, `raise_on_error`.
pub(super) fn refuse_unusable(backup: &AgentBackup) -> Result<(), Refusal> {
    let id = &backup.backup_id;
    let is_id = !id.is_empty()
        && id.len() <= MAX_ID_BYTES
        && !id.chars().any(|c| c.is_control() || c == '/');
    refuse_oversized(backup).map_err(|error| Refusal::NotABackup(error.to_string()))?;
    let wrong = match (is_id, parse_date(&backup.date)) {
        (true, Some(_)) => return Ok(()),
        (false, _) => "its backup.json has no usable slug",
        (true, None) => "the date in its backup.json cannot be read",
    };
    Err(Refusal::NotABackup(wrong.to_owned()))
}

/// Writes the metadata, if the tar still exists and still has none.
pub(super) async fn adopt(
    location: &Arc<Location>,
    tar: &Object,
    described: Described,
) -> Result<AgentBackup, Refusal> {
    let Described { backup, inventory } = described;
    // Excludes deletions of this backup, as a commit does.
    let changing = location.folder.changing(&backup.backup_id);
    let _changing = changing.read().await;
    let metadata = tar
        .key
        .metadata_of_tar()
        .ok_or_else(|| Error::new(Kind::Internal, "The tar is none."))?;
    // The scan is older than the reads of the tars before this one.
    let claim = is_settled(tar).then(|| location.folder.try_claim(&tar.key, ClaimKind::Adoption));
    let Some(_claim) = claim.flatten() else {
        return Err(Refusal::under_way(tar));
    };
    if size(location, &tar.key).await? != Some(tar.size) {
        return Err(gone(tar));
    }
    if size(location, &metadata).await?.is_some() {
        let detail = format!("\"{}\" got metadata in the meantime.", tar.key);
        return Err(Refusal::HasMetadata(detail));
    }
    let json = describe(&backup, tar, inventory)
        .to_object()
        .map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    let ours = sha256(&json);
    let written = location
        .store
        .write(
            &metadata,
            json.into(),
            ContentType::Json,
            Patience::INTERACTIVE,
        )
        .await;
    // It may exist although the answer was lost.
    location.note_write(written.inspect_err(|_| location.outdated()))?;
    // If this request fails, the metadata stays: a tar without metadata is the greater harm.
    if let Ok(now) = size(location, &tar.key).await
        && now != Some(tar.size)
    {
        // Another agent deleted or replaced the tar in a race.
        let retracted =
            retract_metadata(location, &metadata, Some(&ours), Patience::INTERACTIVE).await;
        location.note(retracted)?;
        return Err(gone(tar));
    }
    info!(
        size_bytes = tar.size,
        backup_id = backup.backup_id,
        "adopted \"{}\" in {}",
        tar.key,
        location.store.description()
    );
    location.changed(&backup.backup_id);
    Ok(backup)
}

fn gone(tar: &Object) -> Refusal {
    let detail = format!("\"{}\" was replaced or deleted in the meantime.", tar.key);
    Error::new(Kind::BackupNotFound, detail).into()
}

async fn size(location: &Location, key: &Key) -> Result<Option<u64>> {
    match location.store.size(key, Patience::INTERACTIVE).await {
        Err(error) if error.outcome == Outcome::NotFound => Ok(None),
        found => location.note(found.map(Some)),
    }
}

fn describe(backup: &AgentBackup, tar: &Object, inventory: Option<Box<Inventory>>) -> StoredBackup {
    let agent = AgentMetadata {
        format: FORMAT,
        size: tar.size,
        sha256: None,
        crc32: None,
        part_size: None,
        // The time of the upload, not of the adoption.
        uploaded_at: rfc3339_millis(tar.modified.unwrap_or_else(Utc::now)),
        duration_ms: None,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        inventory,
    };
    StoredBackup {
        backup: backup.clone(),
        agent: Some(agent),
    }
}
