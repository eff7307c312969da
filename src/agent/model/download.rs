//! Downloads that broke off.

use serde::Serialize;
use utoipa::ToSchema;

use super::failure::Failure;

/// A download that broke off after its answer had begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BrokenDownload {
    /// Id of the download, as in its answer's `S3-Backup-Agent-Download` header.
    pub download_id: String,
    /// Id of the location.
    pub location: String,
    /// Id of the backup.
    pub backup_id: String,
    /// When it broke off, RFC 3339.
    #[schema(format = DateTime, pattern = "Z$")]
    pub failed_at: String,
    /// Why.
    pub error: Failure,
}
