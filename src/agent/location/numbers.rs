//! What the last list says of a location, in numbers.

use chrono::DateTime;
use serde::Serialize;

use crate::agent::listing::{Entry, Listing, SkipCounts};

/// All null before the first list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Numbers {
    /// Number of backups.
    pub backups: Option<usize>,
    /// Size of them all in bytes.
    pub size_bytes: Option<u64>,
    /// The newest of those that this program uploaded.
    pub last_upload: Option<LastUpload>,
    /// What the list left out.
    pub skipped: Option<SkipCounts>,
}

/// An upload that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastUpload {
    /// The backup.
    pub backup_id: String,
    /// When it was complete, RFC 3339.
    pub uploaded_at: String,
    /// Its size.
    pub size_bytes: u64,
    /// How long it took, where that was noted.
    pub duration_ms: Option<u64>,
}

impl Numbers {
    pub(super) fn of(listing: Option<&Listing>) -> Self {
        let Some(listing) = listing else {
            return Self::default();
        };
        let uploads = listing
            .entries
            .iter()
            .filter_map(|entry| Some((uploaded_at(entry)?, entry)));
        Self {
            backups: Some(listing.entries.len()),
            size_bytes: Some(listing.entries.iter().map(|entry| entry.tar.size).sum()),
            last_upload: uploads
                .max_by_key(|(at, _)| *at)
                .and_then(|(_, entry)| LastUpload::of(entry)),
            skipped: Some(SkipCounts::of(&listing.skipped)),
        }
    }
}

impl LastUpload {
    fn of(entry: &Entry) -> Option<Self> {
        let stored = entry.metadata.stored.as_ref()?;
        Some(Self {
            backup_id: entry.metadata.backup_id.clone(),
            uploaded_at: stored.uploaded_at.clone(),
            size_bytes: entry.tar.size,
            duration_ms: stored.duration_ms,
        })
    }
}

/// Another tool may have rewritten the metadata; what is no time is left out.
fn uploaded_at(entry: &Entry) -> Option<DateTime<chrono::FixedOffset>> {
    DateTime::parse_from_rfc3339(&entry.metadata.stored.as_ref()?.uploaded_at).ok()
}
