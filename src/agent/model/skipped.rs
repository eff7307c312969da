//! Objects that a list skips.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why an object is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipCode {
    /// Metadata without a tar.
    TarMissing,
    /// Orphaned tar, which `recover` can adopt.
    MetadataMissing,
    /// Tar without metadata that is no backup of Home Assistant.
    NotABackup,
    /// Metadata without a valid id, name, date or size, that is unreadable, or that does not match its tar.
    InvalidMetadata,
    /// Another object has the same backup id.
    Duplicate,
    /// Key that no client library can request.
    UnreachableKey,
}

impl SkipCode {
    /// Every code, for translations.
    pub const ALL: [Self; 6] = [
        Self::TarMissing,
        Self::MetadataMissing,
        Self::NotABackup,
        Self::InvalidMetadata,
        Self::Duplicate,
        Self::UnreachableKey,
    ];
}

/// A skipped object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Skipped {
    /// Its key.
    pub key: String,
    /// Why, as a code.
    pub code: SkipCode,
    /// Why, as a sentence.
    pub reason: String,
}

impl Skipped {
    pub(in crate::agent) fn new(
        key: impl Into<String>,
        code: SkipCode,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            key: key.into(),
            code,
            reason: reason.into(),
        }
    }
}

/// Number of skipped objects by code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct SkipCounts {
    /// Metadata without a tar.
    pub tar_missing: usize,
    /// Tars without metadata that may be backups.
    pub metadata_missing: usize,
    /// Tars without metadata that are no backups.
    pub not_a_backup: usize,
    /// Unusable metadata.
    pub invalid_metadata: usize,
    /// Duplicates of a backup.
    pub duplicate: usize,
    /// Keys that cannot be requested.
    pub unreachable_key: usize,
}

impl SkipCounts {
    /// Counts skipped objects.
    #[must_use]
    pub fn of(skipped: &[Skipped]) -> Self {
        let mut counts = Self::default();
        for skipped in skipped {
            *match skipped.code {
                SkipCode::TarMissing => &mut counts.tar_missing,
                SkipCode::MetadataMissing => &mut counts.metadata_missing,
                SkipCode::NotABackup => &mut counts.not_a_backup,
                SkipCode::InvalidMetadata => &mut counts.invalid_metadata,
                SkipCode::Duplicate => &mut counts.duplicate,
                SkipCode::UnreachableKey => &mut counts.unreachable_key,
            } += 1;
        }
        counts
    }
}
