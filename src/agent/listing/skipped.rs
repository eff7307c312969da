//! What a list leaves out, and why.

use serde::Serialize;

/// Why an object is not in the list, for programs. `docs/protocol.md` lists the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipCode {
    /// Metadata without a tar.
    TarMissing,
    /// A tar without metadata, which `recover` can adopt.
    MetadataMissing,
    /// Metadata that Home Assistant would refuse, that cannot be read, or that is not its tar's.
    InvalidMetadata,
    /// Another object has the same backup id.
    Duplicate,
    /// A key that no client library can ask for.
    UnreachableKey,
}

/// An object that is not in the list, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its key.
    pub key: String,
    /// Why, for programs.
    pub code: SkipCode,
    /// What is wrong with it.
    pub reason: String,
}

impl Skipped {
    pub(super) fn new(key: impl Into<String>, code: SkipCode, reason: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            code,
            reason: reason.into(),
        }
    }
}

/// How many objects a list left out, by their code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SkipCounts {
    /// Metadata without a tar.
    pub tar_missing: usize,
    /// Tars without metadata.
    pub metadata_missing: usize,
    /// Metadata that cannot be used.
    pub invalid_metadata: usize,
    /// Copies of one backup.
    pub duplicate: usize,
    /// Keys that cannot be asked for.
    pub unreachable_key: usize,
}

impl SkipCounts {
    /// Counts what a list left out.
    #[must_use]
    pub fn of(skipped: &[Skipped]) -> Self {
        let mut counts = Self::default();
        for skipped in skipped {
            *match skipped.code {
                SkipCode::TarMissing => &mut counts.tar_missing,
                SkipCode::MetadataMissing => &mut counts.metadata_missing,
                SkipCode::InvalidMetadata => &mut counts.invalid_metadata,
                SkipCode::Duplicate => &mut counts.duplicate,
                SkipCode::UnreachableKey => &mut counts.unreachable_key,
            } += 1;
        }
        counts
    }
}
