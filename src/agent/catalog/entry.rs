//! One backup of a list, and its metadata object.

use std::sync::Arc;

use chrono::{DateTime, FixedOffset};
use serde_json::value::RawValue;

use crate::agent::model::LastUpload;
use crate::backup::{AgentBackup, AgentMetadata, Damage, Inventory, Read, StoredBackup};
use crate::error::{Error, Kind, Result};
use crate::store::{Error as StoreError, Key, Object, Outcome};

/// Largest metadata object that is read, in bytes; real ones have a few KiB.
pub(in crate::agent) const MAX_METADATA_BYTES: u64 = 1024 * 1024;

/// Share of it for the agent's own additions; most of it is the inventory, whose lists are bounded.
const ADDITIONS_BYTES: u64 = 320 * 1024;

/// A metadata object, parsed once. Kept as text: parsed backups take several times the memory.
#[derive(Debug)]
pub struct Metadata {
    /// Id of the backup.
    pub backup_id: String,
    /// The backup as the protocol shows it.
    pub json: Box<RawValue>,
    /// The agent's additions, if an agent uploaded the backup.
    pub stored: Option<AgentMetadata>,
    /// How it differs from what was written. A damaged backup is listed.
    pub damage: Option<Damage>,
    sha256: Option<String>,
    /// Version of the object.
    pub(super) version: String,
}

/// A backup in the bucket.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Key of its metadata.
    pub key: Key,
    /// Its metadata.
    pub metadata: Arc<Metadata>,
    /// Its tar.
    pub tar: Object,
}

impl Entry {
    pub(super) fn as_last_upload(&self) -> Option<LastUpload> {
        let stored = self.metadata.stored.as_ref()?;
        Some(LastUpload {
            backup_id: self.metadata.backup_id.clone(),
            uploaded_at: stored.uploaded_at.clone(),
            size_bytes: self.tar.size,
            duration_ms: stored.duration_ms,
        })
    }
}

impl Metadata {
    /// SHA-256 of the tar, if recorded.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// What the backup lacks, if it lacks anything.
    pub(super) fn faults(&self) -> Option<&Inventory> {
        self.stored.as_ref()?.faults()
    }

    /// Upload time; none if another tool replaced it by something else.
    pub(super) fn uploaded_at(&self) -> Option<DateTime<FixedOffset>> {
        DateTime::parse_from_rfc3339(&self.stored.as_ref()?.uploaded_at).ok()
    }

    pub(super) fn parse(json: &[u8], version: &str) -> Result<Self, StoreError> {
        let invalid = |error: serde_json::Error| {
            let message = format!("it is no metadata of a backup: {error}");
            StoreError::new(Outcome::Refused, message)
        };
        let Read {
            stored,
            sha256,
            damage,
        } = StoredBackup::read(json).map_err(invalid)?;
        Ok(Self {
            json: serde_json::value::to_raw_value(&stored).map_err(invalid)?,
            backup_id: stored.backup.backup_id,
            stored: stored.agent,
            damage,
            sha256,
            version: version.to_owned(),
        })
    }
}

/// Refuses a backup whose metadata would be too large to be listed.
///
/// # Errors
/// [`Kind::InvalidMetadata`].
pub(in crate::agent) fn refuse_oversized(backup: &AgentBackup) -> Result<()> {
    let bytes = serde_json::to_vec(backup).map_or(u64::MAX, |json| json.len() as u64);
    if bytes <= MAX_METADATA_BYTES - ADDITIONS_BYTES {
        return Ok(());
    }
    let most = MAX_METADATA_BYTES / 1024;
    let detail = format!(
        "The backup's metadata has {bytes} bytes, and of more than {most} KiB nothing is listed."
    );
    Err(Error::new(Kind::InvalidMetadata, detail))
}
