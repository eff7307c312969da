//! An upload in progress on the page.

use chrono::{DateTime, Utc};

use super::check::ErrorView;
use super::location::LocationView;
use super::words::Words;
use crate::agent::model::{UploadState, UploadStatus};

/// An upload.
#[derive(Debug)]
pub(super) struct UploadView {
    pub(super) upload: UploadStatus,
    pub(super) location_name: String,
    pub(super) percent: u64,
    /// Bytes per second since it started, once some are stored.
    pub(super) speed: Option<u64>,
    /// Seconds left at this speed.
    pub(super) left: Option<u64>,
    /// Why it waits.
    pub(super) waiting: Option<ErrorView>,
}

impl UploadView {
    pub(super) fn of(
        words: &Words,
        upload: UploadStatus,
        locations: &[LocationView<'_>],
        now: DateTime<Utc>,
    ) -> Self {
        let location = locations
            .iter()
            .find(|location| location.status.id == upload.location);
        let location_name = location.map_or_else(
            || upload.location.clone(),
            |location| location.status.name.clone(),
        );
        let percent = (upload.stored_bytes * 100)
            .checked_div(upload.total_bytes)
            .unwrap_or_default()
            .min(100);
        let speed = speed(&upload, now);
        let rest = upload.total_bytes.saturating_sub(upload.stored_bytes);
        Self {
            location_name,
            percent,
            speed,
            left: speed.map(|speed| rest.div_ceil(speed)),
            waiting: upload
                .waiting
                .as_ref()
                .map(|error| ErrorView::of(words, error)),
            upload,
        }
    }

    /// Since when it waits, RFC 3339.
    pub(super) fn waiting_since(&self) -> Option<&str> {
        self.upload.waiting.as_ref()?.since.as_deref()
    }

    /// When it gives up waiting, RFC 3339.
    pub(super) fn waiting_until(&self) -> Option<&str> {
        self.upload.waiting_until.as_deref()
    }

    pub(super) fn is_storing(&self) -> bool {
        self.upload.state == UploadState::Storing
    }
}

/// Average speed of this attempt in bytes per second; never 0.
fn speed(upload: &UploadStatus, now: DateTime<Utc>) -> Option<u64> {
    let started = DateTime::parse_from_rfc3339(&upload.started_at).ok()?;
    let seconds = u64::try_from((now - started.to_utc()).num_seconds()).ok()?;
    let sent = upload.stored_bytes.saturating_sub(upload.resumed_bytes);
    let is_moving = upload.waiting.is_none() && upload.state == UploadState::Receiving;
    sent.checked_div(seconds)
        .filter(|speed| *speed > 0 && is_moving)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(stored_bytes: u64, resumed_bytes: u64) -> UploadStatus {
        UploadStatus {
            upload_id: "u".into(),
            location: "garage".into(),
            backup_id: "a".into(),
            name: "Nightly".into(),
            key: "backups/a.tar".into(),
            state: UploadState::Receiving,
            started_at: "2026-11-30T12:00:00Z".into(),
            stored_bytes,
            total_bytes: 10_000,
            resumed_bytes,
            differs: false,
            waiting: None,
            waiting_until: None,
            error: None,
        }
    }

    #[test]
    fn speed_counts_what_this_attempt_stored() {
        let later = "2026-11-30T12:00:10Z".parse().unwrap();
        assert_eq!(speed(&upload(5000, 4000), later), Some(100));
        assert_eq!(speed(&upload(4000, 4000), later), None);
        assert_eq!(
            speed(&upload(4000, 0), "2026-11-30T12:00:00Z".parse().unwrap()),
            None
        );
        assert_eq!(
            speed(&upload(4000, 0), "2026-11-30T11:00:00Z".parse().unwrap()),
            None
        );
    }

    #[test]
    fn time_left_follows_the_speed() {
        let words = super::super::words::Languages::read().unwrap();
        let words = words.of(&axum::http::HeaderMap::new());
        let view = UploadView::of(
            words,
            upload(5000, 4000),
            &[],
            "2026-11-30T12:00:10Z".parse().unwrap(),
        );
        assert_eq!((view.percent, view.left), (50, Some(50)));
    }
}
