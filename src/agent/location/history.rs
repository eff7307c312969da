//! What came of a location's work since the agent started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::agent::model::{CheckReport, Counts, LastCheck, LastSweep, UploadState};
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
    check: Mutex<Option<(DateTime<Utc>, CheckReport)>>,
    sweep: Mutex<Option<LastSweep>>,
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

    pub(in crate::agent) fn checked(&self, checked: &CheckReport) {
        *self.check.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Utc::now(), checked.clone()));
    }

    pub(in crate::agent) fn last_check(&self) -> Option<LastCheck> {
        let check = self.check.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, checked) = check.clone()?;
        Some(LastCheck {
            checked_at: rfc3339(at),
            report: checked,
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
