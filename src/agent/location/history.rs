//! Record of a location's work since the agent started.

use chrono::Utc;

use crate::agent::model::{BrokenDownload, CheckReport, Counts, LastCheck, LastSweep, UploadState};
use crate::units::rfc3339;

/// Counters, the last check and the last sweep.
#[derive(Debug, Default)]
pub(in crate::agent) struct History {
    pub(in crate::agent) counts: Counts,
    pub(in crate::agent) last_check: Option<LastCheck>,
    pub(in crate::agent) last_sweep: Option<LastSweep>,
    pub(in crate::agent) last_broken_download: Option<BrokenDownload>,
}

impl History {
    /// Counts an upload that reached this state with `bytes` stored.
    pub(in crate::agent) fn uploaded(&mut self, state: UploadState, bytes: u64) {
        match state {
            UploadState::Receiving | UploadState::Storing => {}
            UploadState::Complete => {
                self.counts.uploads_complete += 1;
                self.counts.uploaded_bytes += bytes;
            }
            UploadState::Failed => self.counts.uploads_failed += 1,
            UploadState::Cancelled => self.counts.uploads_cancelled += 1,
        }
    }

    pub(in crate::agent) fn checked(&mut self, report: CheckReport) {
        self.last_check = Some(LastCheck {
            checked_at: rfc3339(Utc::now()),
            report,
        });
    }

    pub(in crate::agent) fn swept(
        &mut self,
        unfinished: Option<usize>,
        removed: usize,
        error: Option<String>,
    ) {
        self.last_sweep = Some(LastSweep {
            swept_at: rfc3339(Utc::now()),
            unfinished,
            removed,
            error,
        });
    }
}
