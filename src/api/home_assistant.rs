//! `schedule`: whether Home Assistant is connected, and what it says about its next backup.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::DateTime;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::SetOnce;
use utoipa::ToSchema;

use super::Problem;
use super::body::read_json;
use super::openapi::Problems;
use crate::error::{Error, Kind};

/// What the agent knows about Home Assistant.
#[derive(Debug, Default)]
pub struct HomeAssistant {
    /// Number of open event streams of the API.
    streams: AtomicUsize,
    first_connection: Arc<SetOnce<()>>,
    schedule: Mutex<Option<Schedule>>,
}

/// Home Assistant's schedule of automatic backups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    /// When the next automatic backup is due, RFC 3339; null if none is scheduled.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, format = DateTime)]
    pub(crate) next_backup: Option<String>,
    /// Ids of the users who are administrators. Through Supervisor's ingress, only they may download and delete backups.
    #[serde(default)]
    pub(crate) administrators: Vec<String>,
}

/// The same for a bug report.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HomeAssistant)]
pub(super) struct HomeAssistantReport {
    /// Whether it follows the agent's events.
    connected: bool,
    /// What it told last, if anything.
    schedule: Option<Schedule>,
}

/// An open event stream.
#[derive(Debug)]
pub(super) struct Connection(Arc<HomeAssistant>);

impl HomeAssistant {
    /// Counts an event stream until it is dropped.
    pub(super) fn connect(self: &Arc<Self>) -> Connection {
        self.streams.fetch_add(1, Ordering::Relaxed);
        // Fails only if it is set already.
        drop(self.first_connection.set(()));
        Connection(Arc::clone(self))
    }

    /// Set when it connects for the first time.
    #[must_use]
    pub fn first_connection(&self) -> Arc<SetOnce<()>> {
        Arc::clone(&self.first_connection)
    }

    /// Whether it is connected now.
    pub(crate) fn is_connected(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > 0
    }

    /// Whether it was connected since the agent started.
    pub(crate) fn was_connected(&self) -> bool {
        self.first_connection.initialized()
    }

    pub(super) fn report(&self) -> HomeAssistantReport {
        HomeAssistantReport {
            connected: self.is_connected(),
            schedule: self.schedule(),
        }
    }

    /// Whether it told that this user is an administrator.
    pub(crate) fn is_administrator(&self, user_id: &str) -> bool {
        let schedule = self.schedule.lock();
        let told = schedule.as_ref().map(|schedule| &schedule.administrators);
        told.is_some_and(|ids| ids.iter().any(|id| id == user_id))
    }

    /// Its schedule, if it told it.
    pub(crate) fn schedule(&self) -> Option<Schedule> {
        self.schedule.lock().clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tell the schedule
///
/// The agent's page shows when the next automatic backup is due. Home Assistant sends this when it connects, and after each
/// change of its schedule. It lasts until the agent ends.
#[utoipa::path(
    put, path = "/v1/schedule", operation_id = "putSchedule", tag = "agent",
    request_body = Schedule,
    responses((status = 204, description = "Noted."), Problems<400>),
)]
pub(super) async fn put(
    State(state): State<super::State>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let schedule: Schedule = read_json(body).await?;
    if let Some(time) = &schedule.next_backup {
        let refused = |error| {
            Error::new(
                Kind::InvalidRequest,
                format!("`next_backup` is no time: {error}."),
            )
        };
        DateTime::parse_from_rfc3339(time).map_err(refused)?;
    }
    *state.home_assistant.schedule.lock() = Some(schedule);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_lasts_as_long_as_a_stream() {
        let home_assistant = Arc::new(HomeAssistant::default());
        assert!(!home_assistant.was_connected());
        let first = home_assistant.connect();
        let second = home_assistant.connect();
        drop(first);
        assert!(home_assistant.is_connected());
        drop(second);
        assert!(!home_assistant.is_connected());
        assert!(home_assistant.was_connected());
    }
}
