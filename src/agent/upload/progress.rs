//! Status of an upload, as events and handles show it; outages of its storage included.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::agent::location::Location;
use crate::agent::model::{Event, Failure, UploadState, UploadStatus};
use crate::error::Error;
use crate::store::{Error as StoreError, Watch};
use crate::units::rfc3339;

/// An outage is shown once it lasts this long: a single failed attempt is normal.
const SHOWN_AFTER: Duration = Duration::from_secs(5);

/// News of an upload's storage.
#[derive(Debug)]
pub(super) enum Outage {
    /// A request failed and will be retried.
    Waiting(Box<Error>),
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
    key: String,
    status: watch::Sender<UploadStatus>,
    wait: Option<Wait>,
}

/// An outage.
#[derive(Debug)]
struct Wait {
    begun: Instant,
    since: String,
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
    fn waits(&self, error: &StoreError) {
        drop(
            self.0
                .send(Outage::Waiting(Box::new(error.replica().into()))),
        );
    }

    fn goes_on(&self) {
        drop(self.0.send(Outage::Over));
    }
}

impl Progress {
    pub(super) fn new(location: Arc<Location>, key: String, status: UploadStatus) -> Self {
        Self {
            location,
            key,
            status: watch::Sender::new(status),
            wait: None,
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<UploadStatus> {
        self.status.subscribe()
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
            self.key
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

    /// Notes the upload's end.
    pub(super) fn end(&mut self, state: UploadState, error: Option<Failure>) {
        self.wait = None;
        let stored_bytes = self.status.borrow().stored_bytes;
        self.location.history().uploaded(state, stored_bytes);
        self.tell(|status| {
            status.state = state;
            status.error = error;
            status.waiting = None;
        });
    }

    /// Notes an outage, and shows one that lasts.
    pub(super) fn outage(&mut self, outage: Outage) {
        match outage {
            Outage::Waiting(error) => self.waits(&error),
            Outage::Over => {
                let was_shown = self.status.borrow().waiting.is_some();
                self.wait = None;
                if was_shown {
                    info!("the upload of \"{}\" continues", self.key);
                    self.location.note_success();
                    self.tell(|status| status.waiting = None);
                }
            }
        }
    }

    fn waits(&mut self, error: &Error) {
        let wait = self.wait.get_or_insert_with(|| Wait {
            begun: Instant::now(),
            since: rfc3339(Utc::now()),
        });
        if wait.begun.elapsed() < SHOWN_AFTER {
            return;
        }
        let report = Failure {
            since: Some(wait.since.clone()),
            ..Failure::from(error)
        };
        if self.status.borrow().waiting.is_some() {
            self.status
                .send_modify(|status| status.waiting = Some(report));
            return;
        }
        warn!(
            "the upload of \"{}\" waits for its storage: {error}",
            self.key
        );
        self.location.note_failure(error);
        self.tell(|status| status.waiting = Some(report));
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

    #[tokio::test(start_paused = true)]
    async fn outage_is_shown_only_when_it_lasts() {
        let settings = serde_json::json!({
            "id": "disk", "provider": "minio", "endpoint": "http://127.0.0.1:9", "bucket": "backups",
            "access_key_id": "an-access-key", "secret_access_key": "a-secret-access-key",
        });
        let (settings, _) = config::Location::from_json(&settings).unwrap();
        let events = Events::default();
        let mut events_seen = events.subscribe();
        let folder = Folder::new(&settings);
        let location = Arc::new(Location::open(settings, folder, events).unwrap());
        let status = UploadStatus {
            upload_id: "u1".into(),
            location: "disk".into(),
            backup_id: "a1".into(),
            name: "Nightly".into(),
            state: UploadState::Receiving,
            started_at: String::new(),
            stored_bytes: 0,
            total_bytes: 1,
            resumed_bytes: 0,
            differs: false,
            waiting: None,
            error: None,
        };
        let mut progress = Progress::new(location, "a.tar".into(), status);
        let status = progress.subscribe();
        let away = || {
            let error = Error::new(Kind::StorageUnreachable, "away");
            Outage::Waiting(Box::new(error))
        };
        progress.outage(away());
        progress.outage(Outage::Over);
        progress.outage(away());
        assert!(events_seen.try_recv().is_err());
        tokio::time::sleep(SHOWN_AFTER).await;
        assert!(status.borrow().waiting.is_none());
        progress.outage(away());
        let shown = status.borrow().waiting.clone().unwrap();
        assert!(
            shown.code == "storage_unreachable" && shown.since.is_some(),
            "{shown:?}"
        );
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
