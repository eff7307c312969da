//! Status of an upload, as events and handles show it; outages of its storage included.

use std::future::pending;
use std::sync::Arc;

use chrono::{Datelike, TimeDelta, Utc};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::agent::location::Location;
use crate::agent::location::waiting::SHOWN_AFTER;
use crate::agent::model::{Event, Failure, UploadState, UploadStatus};
use crate::error::{Error, Kind};
use crate::store::{Error as StoreError, Key, Watch};
use crate::units::rfc3339;

/// News of an upload's storage.
#[derive(Debug)]
pub(super) enum Outage {
    /// A request failed or is silent, since then, and will be retried.
    Waiting(Box<Error>, Instant),
    /// A retried request succeeded.
    Over,
}

/// Reports outages of an upload's storage to its task.
#[derive(Debug)]
pub(super) struct Outages(mpsc::UnboundedSender<Outage>);

/// Progress of an upload. Only its task changes it.
#[derive(Debug)]
pub(super) struct Progress {
    location: Arc<Location>,
    status: watch::Sender<UploadStatus>,
    wait: Option<Wait>,
}

/// An outage.
#[derive(Debug)]
struct Wait {
    begun: Instant,
    /// The last error, with the time of the first one.
    failure: Failure,
    error: Box<Error>,
    /// When the upload gives up, RFC 3339; none if that is after the year 9999.
    until: Option<String>,
}

impl Outages {
    /// A watch for the storage, and where its news arrive.
    pub(super) fn channel() -> (Arc<Self>, mpsc::UnboundedReceiver<Outage>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self(sender)), receiver)
    }
}

// Sending fails only after the upload has ended.
impl Watch for Outages {
    fn waits(&self, error: &StoreError, since: Instant) {
        let error = Box::new(error.replica().into());
        drop(self.0.send(Outage::Waiting(error, since)));
    }

    fn goes_on(&self) {
        drop(self.0.send(Outage::Over));
    }
}

impl Progress {
    pub(super) fn new(location: Arc<Location>, status: UploadStatus) -> Self {
        Self {
            location,
            status: watch::Sender::new(status),
            wait: None,
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<UploadStatus> {
        self.status.subscribe()
    }

    /// Id of the upload.
    pub(super) fn upload_id(&self) -> String {
        self.status.borrow().upload_id.clone()
    }

    /// Notes the upload's key, and what an earlier attempt stored.
    pub(super) fn named(&self, key: &Key, resumed_bytes: u64) {
        self.status.send_modify(|status| {
            status.key = key.to_string();
            status.resumed_bytes = resumed_bytes;
        });
    }

    /// Counts stored bytes.
    pub(super) fn stored(&mut self, bytes: u64) {
        if bytes > 0 {
            self.tell(|status| status.stored_bytes += bytes);
        }
    }

    /// Notes that the content differs from the earlier attempt's.
    pub(super) fn differs(&mut self) {
        let status = self.status.borrow();
        if status.differs {
            return;
        }
        info!(
            upload_id = status.upload_id,
            "the content of \"{}\" differs from the earlier attempt's: changed parts are stored again",
            status.key
        );
        drop(status);
        self.tell(|status| status.differs = true);
    }

    /// Notes what the upload does now.
    pub(super) fn enter(&mut self, state: UploadState) {
        self.tell(|status| status.state = state);
    }

    /// Notes that the backup exists.
    pub(super) fn complete(&mut self, size: u64) {
        self.status.send_modify(|status| status.stored_bytes = size);
        self.end(UploadState::Complete, None);
    }

    /// Notes that the upload ends with an error, and logs it.
    pub(super) fn fail(&mut self, error: &Error) {
        {
            let status = self.status.borrow();
            warn!(
                upload_id = status.upload_id,
                code = error.kind().code(),
                "the upload of \"{}\" ended: {error}",
                status.key
            );
        }
        let state = match error.kind() {
            Kind::Cancelled => UploadState::Cancelled,
            _ => UploadState::Failed,
        };
        self.end(state, Some(error.into()));
    }

    /// Notes the upload's end.
    pub(super) fn end(&mut self, state: UploadState, error: Option<Failure>) {
        self.wait = None;
        let stored_bytes = self.status.borrow().stored_bytes;
        self.location.history().uploaded(state, stored_bytes);
        self.tell(|status| {
            status.state = state;
            status.error = error;
            status.show_wait(None, None);
        });
    }

    /// Notes an outage, and shows one that lasts.
    pub(super) fn outage(&mut self, outage: Outage) {
        match outage {
            Outage::Waiting(error, since) => self.waits(error, since),
            Outage::Over => {
                let was_shown = self.is_shown();
                self.wait = None;
                if was_shown {
                    debug!("the upload of \"{}\" continues", self.status.borrow().key);
                    self.location.note_success();
                    self.tell(|status| status.show_wait(None, None));
                }
            }
        }
    }

    /// Waits until an outage has lasted long enough to be shown; without one, forever. Cancel safe.
    pub(super) async fn outage_lasts(&self) {
        match &self.wait {
            Some(wait) if !self.is_shown() => sleep_until(wait.begun + SHOWN_AFTER).await,
            _ => pending().await,
        }
    }

    /// Shows an outage.
    pub(super) fn show_outage(&mut self) {
        let Some(wait) = &self.wait else { return };
        // The location logs the outage.
        debug!(
            "the upload of \"{}\" waits for its storage: {}",
            self.status.borrow().key,
            wait.error
        );
        self.location.note_waiting(&wait.error);
        let (failure, until) = (wait.failure.clone(), wait.until.clone());
        self.tell(|status| status.show_wait(Some(failure), until));
    }

    fn is_shown(&self) -> bool {
        self.status.borrow().waiting.is_some()
    }

    fn waits(&mut self, error: Box<Error>, begun: Instant) {
        let mut failure = Failure::from(&*error);
        let outage = self.location.settings.outage;
        let wait = self.wait.get_or_insert_with(|| {
            let since = Utc::now() - begun.elapsed();
            Wait {
                begun,
                failure: Failure {
                    since: Some(rfc3339(since)),
                    ..failure.clone()
                },
                error: error.clone(),
                until: TimeDelta::from_std(outage)
                    .ok()
                    .and_then(|outage| since.checked_add_signed(outage))
                    .filter(|until| until.year() < 10_000)
                    .map(rfc3339),
            }
        });
        failure.since.clone_from(&wait.failure.since);
        wait.failure = failure.clone();
        wait.error = error;
        if self.is_shown() {
            self.status
                .send_modify(|status| status.waiting = Some(failure));
        }
    }

    fn tell(&self, change: impl FnOnce(&mut UploadStatus)) {
        self.status.send_modify(change);
        let status = self.status.borrow().clone();
        self.location.events().send(Event::Upload(Box::new(status)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::events::Events;
    use crate::agent::folder::Folder;
    use crate::config;
    use crate::error::Kind;

    fn progress(outage_seconds: u64, events: Events) -> Progress {
        let settings = serde_json::json!({
            "id": "disk", "provider": "minio", "endpoint": "http://127.0.0.1:9", "bucket": "backups",
            "access_key_id": "an-access-key", "secret_access_key": "a-secret-access-key",
            "outage_seconds": outage_seconds,
        });
        let (settings, _) = config::Location::from_json(&settings).unwrap();
        let folder = Folder::new(&settings, Vec::new());
        let location = Arc::new(Location::open(settings, folder, events));
        let status = UploadStatus {
            upload_id: "u1".into(),
            location: "disk".into(),
            backup_id: "a1".into(),
            name: "Nightly".into(),
            key: "a.tar".into(),
            state: UploadState::Receiving,
            started_at: String::new(),
            stored_bytes: 0,
            total_bytes: 1,
            resumed_bytes: 0,
            differs: false,
            waiting: None,
            waiting_until: None,
            error: None,
        };
        Progress::new(location, status)
    }

    fn away() -> Outage {
        let error = Error::new(Kind::StorageUnreachable, "away");
        Outage::Waiting(Box::new(error), Instant::now())
    }

    #[tokio::test]
    async fn endless_patience_has_no_end_to_show() {
        for seconds in [i64::MAX.cast_unsigned(), 1_000_000_000_000, 300_000_000_000] {
            let mut progress = progress(seconds, Events::default());
            progress.outage(away());
            progress.show_outage();
            let status = progress.subscribe().borrow().clone();
            assert!(status.waiting.is_some());
            assert_eq!(status.waiting_until, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn outage_is_shown_only_when_it_lasts() {
        let events = Events::default();
        let mut events_seen = events.subscribe();
        let mut progress = progress(900, events);
        let status = progress.subscribe();
        progress.outage(away());
        progress.outage(Outage::Over);
        progress.outage(away());
        assert!(events_seen.try_recv().is_err());
        assert!(status.borrow().waiting.is_none());
        let shown_after = Instant::now() + SHOWN_AFTER;
        progress.outage_lasts().await;
        assert_eq!(Instant::now(), shown_after);
        progress.show_outage();
        let shown = status.borrow().waiting.clone().unwrap();
        assert!(
            shown.code == "storage_unreachable" && shown.since.is_some(),
            "{shown:?}"
        );
        let at = |time: &Option<String>| {
            let time = time.as_deref().unwrap();
            chrono::DateTime::parse_from_rfc3339(time).unwrap()
        };
        let limit = at(&status.borrow().waiting_until) - at(&shown.since);
        assert!((899..=901).contains(&limit.num_seconds()), "{limit}");
        let events_of_upload = |events: &mut tokio::sync::broadcast::Receiver<Event>| {
            std::iter::from_fn(|| events.try_recv().ok())
                .filter(|event| matches!(event, Event::Upload(_)))
                .count()
        };
        assert_eq!(events_of_upload(&mut events_seen), 1);
        progress.outage(away());
        assert_eq!(events_of_upload(&mut events_seen), 0);
        progress.outage(Outage::Over);
        assert!(status.borrow().waiting.is_none());
        assert_eq!(events_of_upload(&mut events_seen), 1);
    }
}
