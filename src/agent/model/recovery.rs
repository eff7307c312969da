//! Result of adopting tars without metadata.

use serde::Serialize;

/// Result of a recovery.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Tars that are backups now, or would be in a dry run.
    pub recovered: Vec<Recovered>,
    /// Tars that were not adopted.
    pub failed: Vec<FailedRecovery>,
}

/// A tar that was adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Key of the tar.
    pub key: String,
    /// Id of the backup.
    pub backup_id: String,
    /// Name of the backup.
    pub name: String,
    /// Size of the tar in bytes.
    pub size_bytes: u64,
}

/// A tar that was not adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedRecovery {
    /// Key of the tar, as requested.
    pub key: String,
    /// Code, one of those in `docs/protocol.md`.
    pub code: &'static str,
    /// Why, as a sentence.
    pub detail: String,
}
