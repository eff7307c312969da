//! `events`: one JSON object per line, until the client disconnects or the agent shuts down.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::home_assistant::Connection;
use super::ndjson;
use super::openapi::Problems;
use crate::agent::model::Event;
use crate::logging::Level;
use crate::logging::record::Record;
use crate::logging::relay::{Listener, Told};

/// Interval of pings: both sides notice a dead connection by them, and clients use them to retry what failed.
const PING_INTERVAL: Duration = Duration::from_secs(15);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Adds log records of this level and above as `log` events. While the stream is open, the agent logs at this level at
    /// least.
    log: Option<Level>,
}

/// One line of the stream.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Event)]
enum Line {
    Event(Event),
    Log(LogLine),
}

/// A log record, or a gap in them.
#[derive(Serialize, ToSchema)]
#[schema(as = LogEvent)]
#[serde(tag = "type", rename_all = "snake_case")]
enum LogLine {
    /// A log record; secrets in it are replaced by `***`.
    Log(Record),
    /// More records came than this reader gets: 500 at once, then 100 per second. Sent once a second at most.
    LogLost {
        /// Number of records left out here.
        records: u64,
    },
}

/// Stream of events
///
/// One event per line, without end. The first line is `hello`; then come an `upload` for each running upload and a `location`
/// for each location, and then events as they happen.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "getEvents", tag = "agent",
    params(EventsQuery),
    responses(
        (status = 200, description = "Lines, one event each.", body = Line, content_type = "application/x-ndjson"),
        Problems<400>, Problems<503>,
    ),
)]
pub(super) async fn stream(
    State(state): State<super::State>,
    Query(query): Query<EventsQuery>,
) -> Response {
    let connection = state.home_assistant.connect();
    let lines = Lines::of(state, query.log);
    respond(lines, Some(connection))
}

/// The same stream for the page, which is not Home Assistant.
pub(crate) async fn watch(
    State(state): State<super::State>,
    Query(query): Query<EventsQuery>,
) -> Response {
    respond(Lines::of(state, query.log), None)
}

/// Answers with the lines, and keeps the connection for as long.
fn respond(lines: Lines, connection: Option<Connection>) -> Response {
    let lines = stream::unfold((lines, connection), |(mut lines, connection)| async move {
        let line = lines.next().await?;
        Some((line, (lines, connection)))
    });
    ndjson::response(lines)
}

/// The lines of one reader.
struct Lines {
    /// The state at the start.
    first: VecDeque<Event>,
    events: Receiver<Event>,
    log: Option<Listener>,
    pings: Interval,
    draining: CancellationToken,
}

impl Lines {
    fn of(state: super::State, log: Option<Level>) -> Self {
        let agent = &state.agent;
        let log = log.map(|level| state.log.relay.listen(level));
        // Subscribed before the first lines are built, so that no event falls in between.
        let events = agent.events().subscribe();
        let hello = Event::Hello {
            instance_id: agent.instance_id.clone(),
        };
        let uploads = agent.uploads().into_iter();
        let locations = agent.locations().into_iter();
        let first = std::iter::once(hello)
            .chain(uploads.map(|upload| Event::Upload(upload.into())))
            .chain(locations.map(|location| Event::Location {
                location: location.into(),
            }))
            .collect();
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            first,
            events,
            log,
            pings,
            draining: state.draining,
        }
    }

    async fn next(&mut self) -> Option<serde_json::Result<Bytes>> {
        if let Some(event) = self.first.pop_front() {
            return Some(ndjson::line(&Line::Event(event)));
        }
        let line = tokio::select! {
            // In this order, so that log records never delay events.
            biased;
            () = self.draining.cancelled() => return None,
            event = self.events.recv() => Line::Event(match event {
                Ok(event) => event,
                Err(RecvError::Lagged(events)) => Event::Lost { events },
                Err(RecvError::Closed) => return None,
            }),
            _ = self.pings.tick() => Line::Event(Event::Ping),
            line = next_record(&mut self.log) => Line::Log(line),
        };
        Some(ndjson::line(&line))
    }
}

async fn next_record(log: &mut Option<Listener>) -> LogLine {
    match log {
        Some(listener) => match listener.next().await {
            Told::Record(record) => LogLine::Log(Arc::unwrap_or_clone(record)),
            Told::Lost(records) => LogLine::LogLost { records },
        },
        None => std::future::pending().await,
    }
}
