//! Status of an upload.

use serde::Serialize;
use utoipa::ToSchema;

use super::failure::Failure;

/// State of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UploadState {
    /// Bytes arrive and are stored.
    Receiving,
    /// All bytes are stored; the backup is being committed.
    Storing,
    /// The backup exists.
    Complete,
    /// It failed. The next attempt may resume with its stored parts.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// An upload in events and in the list of uploads.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UploadStatus {
    /// Id of the upload.
    pub upload_id: String,
    /// Id of its location.
    pub location: String,
    /// Id of the backup.
    pub backup_id: String,
    /// Name of the backup.
    pub name: String,
    /// Key of the tar in the bucket; the first choice as long as the storage is away.
    pub key: String,
    /// Its state.
    pub state: UploadState,
    /// When it was created, RFC 3339.
    #[schema(format = DateTime, pattern = "Z$")]
    pub started_at: String,
    /// Bytes in the bucket.
    pub stored_bytes: u64,
    /// Bytes announced.
    pub total_bytes: u64,
    /// Bytes that an earlier attempt had stored when this one started.
    pub resumed_bytes: u64,
    /// Whether the stream differs from the earlier attempt's, so that differing parts are stored again.
    pub differs: bool,
    /// Storage error that it retries, and since when.
    pub waiting: Option<Failure>,
    /// When it gives up waiting, RFC 3339; none unless it waits.
    #[schema(format = DateTime, pattern = "Z$")]
    pub waiting_until: Option<String>,
    /// Why it failed.
    pub error: Option<Failure>,
}

impl UploadStatus {
    /// Shows why the upload waits, and until when; or that it waits no longer.
    pub(in crate::agent) fn show_wait(&mut self, error: Option<Failure>, until: Option<String>) {
        self.waiting = error;
        self.waiting_until = until;
    }
}
