//! Result of adopting tars without metadata.

use serde::Serialize;
use utoipa::ToSchema;

/// Result of a recovery.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Recovery {
    /// Tars that are backups now, or would be in a dry run. Those outside the folder were copied into it.
    pub recovered: Vec<Recovered>,
    /// Tars that were not adopted.
    pub failed: Vec<FailedRecovery>,
    /// Number of other tars without metadata that may belong to an upload in progress: they are younger than an hour, or
    /// being uploaded. 0 when tars were named.
    pub too_young: usize,
}

/// A tar that was adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Recovered {
    /// Key of the tar that was found.
    pub key: String,
    /// Id of the backup.
    #[schema(min_length = 1)]
    pub backup_id: String,
    /// Name of the backup.
    pub name: String,
    /// Size of the tar in bytes.
    pub size_bytes: u64,
}

/// A tar that was not adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = NotRecovered)]
pub struct FailedRecovery {
    /// Key of the tar, as requested.
    pub key: String,
    /// `duplicate`, `under_way`, `has_metadata`, or the code of an error.
    pub code: &'static str,
    /// Why, as a sentence.
    pub detail: String,
}
