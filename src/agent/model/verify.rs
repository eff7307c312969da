//! Result of verifying backups.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::failure::Failure;

/// How thoroughly a backup is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifyMode {
    /// Reads the metadata and the tar's headers.
    Quick,
    /// Reads the whole tar.
    Full,
}

/// What is wrong with a backup, or with what the server says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingCode {
    /// The tar is missing.
    TarMissing,
    /// The metadata was deleted since the list was taken.
    MetadataMissing,
    /// Home Assistant would reject the metadata.
    InvalidMetadata,
    /// The metadata was changed, though Home Assistant accepts it.
    MetadataDamaged,
    /// The tar's size differs from the metadata's.
    SizeMismatch,
    /// The bytes differ from those that were uploaded.
    ChecksumMismatch,
    /// The tar is truncated, corrupted, or not a backup.
    InvalidTar,
    /// The tar holds another backup.
    OtherBackup,
    /// The tar's manifest differs from the metadata.
    MetadataDiffers,
    /// An earlier full verification found the tar damaged, and this quick one cannot refute it.
    FoundDamaged,
    /// The server has a wrong checksum of the tar, whose bytes are those that were uploaded; only a note.
    ServerChecksumWrong,
    /// The backup lacks archives that its manifest names, or has some that a restore cannot read; only a note.
    Incomplete,
}

impl FindingCode {
    /// Every code, for translations.
    pub const ALL: [Self; 12] = [
        Self::TarMissing,
        Self::MetadataMissing,
        Self::InvalidMetadata,
        Self::MetadataDamaged,
        Self::SizeMismatch,
        Self::ChecksumMismatch,
        Self::InvalidTar,
        Self::OtherBackup,
        Self::MetadataDiffers,
        Self::FoundDamaged,
        Self::ServerChecksumWrong,
        Self::Incomplete,
    ];

    /// Whether the backup no longer exists.
    #[must_use]
    pub const fn is_missing(self) -> bool {
        matches!(self, Self::TarMissing | Self::MetadataMissing)
    }
}

/// One problem of a backup, or one note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// Its code.
    pub code: FindingCode,
    /// The problem as a sentence.
    pub detail: String,
}

/// Result of verifying one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = VerifyResult)]
pub struct VerifyReport {
    /// Whether there is no problem.
    pub ok: bool,
    /// How thoroughly it was verified.
    pub mode: VerifyMode,
    /// Version of the tar that was verified, which lists have, too.
    #[serde(skip)]
    pub version: String,
    /// Size of the tar in bytes; 0 if it is missing.
    pub size_bytes: u64,
    /// Bytes of the tar that were read.
    pub read_bytes: u64,
    /// SHA-256 of the tar, if all of it was read.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: Option<String>,
    /// The problems.
    pub problems: Vec<Finding>,
    /// What is wrong, but not with the tar: it is as it was uploaded.
    pub notes: Vec<Finding>,
}

/// Last verification of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastVerified {
    /// When it ended, RFC 3339.
    pub at: String,
    /// How thoroughly it was verified.
    pub mode: VerifyMode,
    /// Whether a problem was found.
    pub is_damaged: bool,
}

impl VerifyReport {
    /// Adds a problem.
    pub fn add(&mut self, code: FindingCode, detail: impl Into<String>) {
        let detail = detail.into();
        self.ok = false;
        self.problems.push(Finding { code, detail });
    }
}

/// Progress of verifying one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum VerifyStep {
    /// Part of the tar is read.
    Progress {
        /// Bytes read.
        read_bytes: u64,
        /// Bytes to read.
        total_bytes: u64,
    },
    /// Last step.
    Result(VerifyReport),
}

/// Result of verifying the backups of a location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Verification)]
pub struct VerificationStatus {
    /// When the last scheduled run ended, RFC 3339.
    #[schema(format = DateTime, pattern = "Z$")]
    pub verified_at: Option<String>,
    /// When the next run is due; none without a schedule.
    #[schema(format = DateTime, pattern = "Z$")]
    pub next_at: Option<String>,
    /// How thoroughly the last run verified.
    pub mode: Option<VerifyMode>,
    /// Number of backups in the last run.
    pub backups: usize,
    /// Bytes read in the last run.
    pub read_bytes: u64,
    /// Existing backups that a schedule or a request found damaged.
    pub damaged: Vec<String>,
    /// Existing backups that the last attempt could not read.
    pub unread: Vec<String>,
    /// Why the last run failed, or could not read one of the backups.
    pub error: Option<Failure>,
}
