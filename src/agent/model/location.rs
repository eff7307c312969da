//! Status and figures of a location.

use serde::Serialize;
use utoipa::ToSchema;

use super::failure::Failure;
use super::skipped::SkipCounts;
use super::verify::VerificationStatus;

/// A location as the protocol shows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Location)]
pub struct LocationStatus {
    /// Its id.
    #[schema(min_length = 1)]
    pub id: String,
    /// Its name.
    pub name: String,
    /// The provider's name.
    pub provider: String,
    /// URL of the S3 API, or of the directory.
    pub endpoint: String,
    /// The region; none for a directory.
    pub region: Option<String>,
    /// The bucket; none for a directory.
    pub bucket: Option<String>,
    /// Prefix of the folder.
    pub prefix: String,
    /// Address of its folder, the same for every location with this folder.
    pub folder: String,
    /// Other ids that a location with this folder has or had, here or on another machine.
    pub other_ids: Vec<String>,
    /// Whether the bucket keeps versions: deleted backups stay in it, and cost. Unknown before the first upload in parts.
    pub keeps_versions: Option<bool>,
    /// `configuration`, `registered` or `embedded`.
    #[schema(pattern = "^(configuration|registered|embedded)$")]
    pub source: &'static str,
    /// `unknown` before the first request, then `ok` or `error`.
    #[schema(pattern = "^(unknown|ok|error)$")]
    pub status: &'static str,
    /// The current error.
    pub error: Option<Failure>,
    /// When the storage last answered a request, or failed to, RFC 3339; to ten minutes.
    #[schema(format = DateTime, pattern = "Z$")]
    pub asked_at: Option<String>,
    /// Figures of the last list.
    #[serde(flatten)]
    pub numbers: Numbers,
    /// Result of verifying its backups.
    pub verification: Option<VerificationStatus>,
    /// When a backup was verified last, by a schedule or on request, RFC 3339.
    #[schema(format = DateTime, pattern = "Z$")]
    pub verified_at: Option<String>,
}

/// Figures of the last list; all null before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Numbers {
    /// Number of backups.
    pub backups: Option<usize>,
    /// Total size of their tars in bytes.
    pub size_bytes: Option<u64>,
    /// The newest backup that an agent uploaded.
    pub last_upload: Option<LastUpload>,
    /// Number of skipped objects.
    pub skipped: Option<SkipCounts>,
    /// Ids of backups that lack something by their inventory, the last uploaded first; at most 100.
    pub incomplete: Option<Vec<String>>,
}

/// A completed upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastUpload {
    /// Id of the backup.
    pub backup_id: String,
    /// When it was complete, RFC 3339.
    #[schema(format = DateTime, pattern = "Z$")]
    pub uploaded_at: String,
    /// Size of the tar in bytes.
    pub size_bytes: u64,
    /// Duration in milliseconds, if recorded.
    pub duration_ms: Option<u64>,
}

/// Counters since the agent started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// Uploads that completed.
    pub uploads_complete: u64,
    /// Uploads that failed.
    pub uploads_failed: u64,
    /// Uploads that were cancelled.
    pub uploads_cancelled: u64,
    /// Bytes of completed uploads.
    pub uploaded_bytes: u64,
    /// Bytes of backups that were downloaded.
    pub downloaded_bytes: u64,
    /// Backups that were deleted.
    pub deleted: u64,
}

/// The last sweep for unfinished uploads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastSweep {
    /// When it ended, RFC 3339.
    #[schema(format = DateTime, pattern = "Z$")]
    pub swept_at: String,
    /// Unfinished uploads, including those in progress; none if the storage does not list them.
    pub unfinished: Option<usize>,
    /// Number of expired uploads that were removed.
    pub removed: usize,
    /// Error of the last removal that failed.
    pub error: Option<String>,
}
