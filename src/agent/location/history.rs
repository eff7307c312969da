//! What came of a location's work since the agent started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::agent::check::Checked;
use crate::agent::events::UploadState;
use crate::units::rfc3339;

/// Counters, and the last check.
#[derive(Debug, Default)]
pub(in crate::agent) struct History {
    complete: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    uploaded_bytes: AtomicU64,
    downloaded_bytes: AtomicU64,
    deleted: AtomicU64,
    check: Mutex<Option<(DateTime<Utc>, Checked)>>,
    sweep: Mutex<Option<LastSweep>>,
}

/// Counters since the agent started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Uploads that made a backup.
    pub uploads_complete: u64,
    /// Uploads that failed.
    pub uploads_failed: u64,
    /// Uploads that were cancelled.
    pub uploads_cancelled: u64,
    /// Bytes of the backups that were made.
    pub uploaded_bytes: u64,
    /// Bytes of backups that were handed out.
    pub downloaded_bytes: u64,
    /// Backups that were deleted.
    pub deleted: u64,
}

/// A check that was made.
#[derive(Debug, Clone, Serialize)]
pub struct LastCheck {
    /// When it ended, RFC 3339.
    pub checked_at: String,
    /// What it found.
    #[serde(flatten)]
    pub checked: Checked,
}

/// A look for what uploads left that never ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastSweep {
    /// When it was looked, RFC 3339.
    pub swept_at: String,
    /// Uploads that have not ended, those under way included; none where the storage does not tell.
    pub unfinished: Option<usize>,
    /// How many of them were dead and were removed.
    pub removed: usize,
    /// Why not all that should be removed is.
    pub error: Option<String>,
}

impl History {
    /// An upload came to this state with so many bytes stored.
    pub(in crate::agent) fn uploaded(&self, state: UploadState, bytes: u64) {
        match state {
            UploadState::Receiving | UploadState::Storing => return,
            UploadState::Complete => {
                self.uploaded_bytes.fetch_add(bytes, Ordering::Relaxed);
                &self.complete
            }
            UploadState::Failed => &self.failed,
            UploadState::Cancelled => &self.cancelled,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::agent) fn downloaded(&self, bytes: usize) {
        self.downloaded_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(in crate::agent) fn deleted(&self) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::agent) fn checked(&self, checked: &Checked) {
        *self.check.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Utc::now(), checked.clone()));
    }

    pub(in crate::agent) fn last_check(&self) -> Option<LastCheck> {
        let check = self.check.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, checked) = check.clone()?;
        Some(LastCheck {
            checked_at: rfc3339(at),
            checked,
        })
    }

    pub(in crate::agent) fn swept(
        &self,
        unfinished: Option<usize>,
        removed: usize,
        error: Option<String>,
    ) {
        let swept_at = rfc3339(Utc::now());
        let sweep = LastSweep {
            swept_at,
            unfinished,
            removed,
            error,
        };
        *self.sweep.lock().unwrap_or_else(PoisonError::into_inner) = Some(sweep);
    }

    pub(in crate::agent) fn last_sweep(&self) -> Option<LastSweep> {
        self.sweep
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(in crate::agent) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            uploads_complete: load(&self.complete),
            uploads_failed: load(&self.failed),
            uploads_cancelled: load(&self.cancelled),
            uploaded_bytes: load(&self.uploaded_bytes),
            downloaded_bytes: load(&self.downloaded_bytes),
            deleted: load(&self.deleted),
        }
    }
}
