//! An upload that waits for storage that is away: shown while it lasts, and in how the location stands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Upload;
use crate::agent::model::Failure;
use crate::error::Error;
use crate::store::{Error as StoreError, Watch};
use crate::units::rfc3339;

/// One attempt that fails is nobody's business: what lasts this long is.
const SHOWN_AFTER: Duration = Duration::from_secs(5);

/// Since when, and what for.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Option<Wait>>);

#[derive(Debug)]
struct Wait {
    begun: Instant,
    since: String,
    report: Failure,
    is_shown: bool,
}

/// What tells an upload of its storage's troubles.
#[derive(Debug)]
pub(super) struct Watcher(Weak<Upload>);

impl Waiting {
    /// What is shown of it.
    pub(super) fn shown(&self) -> Option<Failure> {
        self.lock()
            .as_ref()
            .filter(|wait| wait.is_shown)
            .map(|wait| wait.report.clone())
    }

    /// It waits no longer; says whether that was shown.
    pub(super) fn end(&self) -> bool {
        self.lock().take().is_some_and(|wait| wait.is_shown)
    }

    /// Notes one more attempt that failed; says whether it is to be shown from now on.
    fn note(&self, report: Failure) -> bool {
        let mut wait = self.lock();
        let wait = wait.get_or_insert_with(|| Wait {
            begun: Instant::now(),
            since: rfc3339(Utc::now()),
            report: report.clone(),
            is_shown: false,
        });
        wait.report = Failure {
            since: Some(wait.since.clone()),
            ..report
        };
        let is_new = !wait.is_shown && wait.begun.elapsed() >= SHOWN_AFTER;
        wait.is_shown |= is_new;
        is_new
    }

    fn lock(&self) -> MutexGuard<'_, Option<Wait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    pub(super) fn of(upload: &Weak<Upload>) -> Arc<Self> {
        Arc::new(Self(upload.clone()))
    }
}

impl Watch for Watcher {
    fn waits(&self, error: &StoreError) {
        let Some(upload) = self.0.upgrade() else {
            return;
        };
        let error = Error::from(error.replica());
        // What is already over waits for nothing, though its parts are still being removed.
        if !upload.is_under_way() || !upload.waiting.note(Failure::from(&error)) {
            return;
        }
        warn!(
            upload_id = upload.id,
            "the upload of \"{}\" waits for its storage: {error}",
            upload.key()
        );
        drop(upload.location.note::<()>(Err(error)));
        upload.tell_again();
    }

    fn goes_on(&self) {
        let Some(upload) = self.0.upgrade() else {
            return;
        };
        if upload.waiting.end() {
            info!(
                upload_id = upload.id,
                "the upload of \"{}\" goes on",
                upload.key()
            );
            drop(upload.location.note(Ok(())));
            upload.tell_again();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[tokio::test(start_paused = true)]
    async fn a_moment_is_not_shown_and_what_lasts_is() {
        let (waiting, report) = (
            Waiting::default(),
            Failure::from(&Error::new(Kind::StorageUnreachable, "away")),
        );
        assert!(!waiting.note(report.clone()) && !waiting.end());
        assert!(!waiting.note(report.clone()));
        tokio::time::sleep(SHOWN_AFTER).await;
        assert!(waiting.shown().is_none());
        assert!(waiting.note(report.clone()) && !waiting.note(report));
        let shown = waiting.shown().unwrap();
        assert!(
            shown.code == "storage_unreachable" && shown.since.is_some(),
            "{shown:?}"
        );
        assert!(waiting.end() && waiting.shown().is_none());
    }
}
