//! What happens, for everybody who listens. A slow listener loses events and is told how many.

use serde::Serialize;
use tokio::sync::broadcast;

use super::location::Status;
use crate::error::{Error, Kind};

/// Events that a listener may be behind before it loses some.
const BACKLOG: usize = 256;

/// How an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadState {
    /// Bytes arrive and are stored.
    Receiving,
    /// All bytes are stored, the backup is being put in place.
    Storing,
    /// The backup exists.
    Complete,
    /// It failed. What is stored may wait for the next attempt.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// An upload as events and the list of uploads show it.
#[derive(Debug, Clone, Serialize)]
pub struct UploadStatus {
    /// The upload.
    pub upload_id: String,
    /// Id of its location.
    pub location: String,
    /// The backup that is uploaded.
    pub backup_id: String,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: UploadState,
    /// When it was announced, RFC 3339.
    pub started_at: String,
    /// Bytes in the bucket.
    pub stored_bytes: u64,
    /// Bytes announced.
    pub total_bytes: u64,
    /// Bytes that an earlier attempt had stored when this one began.
    pub resumed_bytes: u64,
    /// Whether this is another stream than the earlier attempt's, so that what differs is stored anew.
    pub differs: bool,
    /// What storage it waits for, and since when.
    pub waiting: Option<Report>,
    /// Why it failed.
    pub error: Option<Report>,
}

/// One event. `docs/protocol.md` describes the shapes.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// The first event of every stream.
    Hello {
        /// New at each start of the agent.
        instance_id: String,
    },
    /// An upload went on.
    Upload(Box<UploadStatus>),
    /// A location's status changed.
    Location {
        /// The location as it is now.
        location: Box<Status>,
    },
    /// A location's backups changed.
    Backups {
        /// Id of the location.
        location: String,
    },
    /// The listener was too slow.
    Lost {
        /// Events it did not get.
        events: u64,
    },
    /// Nothing, to show that the connection lives.
    Ping,
}

/// An error as events and statuses show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The code from the table.
    pub code: &'static str,
    /// What exactly; the same as the code where there is nothing finer.
    pub reason: &'static str,
    /// What happened.
    pub detail: String,
    /// What to change.
    pub hint: String,
    /// The provider's own code.
    pub provider_code: Option<String>,
    /// When it first happened, RFC 3339; only in a location's status and for what waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

impl Report {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        Kind::ALL
            .iter()
            .any(|kind| kind.code() == self.code && kind.facts().retryable)
    }
}

impl From<&Error> for Report {
    fn from(error: &Error) -> Self {
        Self {
            code: error.kind().code(),
            reason: error.reason(),
            detail: error.detail().to_owned(),
            hint: error.hint().to_owned(),
            provider_code: error.provider_code().map(str::to_owned),
            since: None,
        }
    }
}

/// Where events go in.
#[derive(Debug, Clone)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Events {
    /// Tells everybody who listens now.
    pub fn send(&self, event: Event) {
        // Fails only when nobody listens.
        drop(self.0.send(event));
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Starts listening.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
