//! Events, as `GET /v1/events` streams them.

use serde::Serialize;
use utoipa::ToSchema;

use super::download::BrokenDownload;
use super::location::LocationStatus;
use super::upload::UploadStatus;

/// One event.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schema(as = AgentEvent)]
pub enum Event {
    /// First event of every stream.
    Hello {
        /// New at each start of the agent.
        instance_id: String,
    },
    /// An upload made progress or changed its state.
    Upload(Box<UploadStatus>),
    /// A download broke off. Its connection is closed after this event.
    Download(Box<BrokenDownload>),
    /// A location's status changed.
    Location {
        /// The new status.
        location: Box<LocationStatus>,
    },
    /// A location's backups changed.
    Backups {
        /// Id of the location.
        location: String,
    },
    /// The subscriber was too slow.
    Lost {
        /// Number of events it missed.
        events: u64,
    },
    /// Keeps the connection alive.
    Ping,
}
