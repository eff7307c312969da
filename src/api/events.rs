//! `GET /v1/events`: one JSON object a line, until the client leaves or the agent stops.

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

use super::ndjson;
use crate::agent::model::Event;
use crate::logging::Level;
use crate::logging::record::Record;
use crate::logging::relay::{Listener, Told};

/// Both sides notice a dead connection by this, and a client takes it for the time to make good what failed.
const PING_EVERY: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
pub(crate) struct EventsQuery {
    /// Log records of this level and above come along.
    log: Option<Level>,
}

/// `GET /v1/events`
pub(crate) async fn stream(
    State(state): State<super::State>,
    Query(query): Query<EventsQuery>,
) -> Response {
    let lines = stream::unfold(Lines::of(state, query.log), |mut lines| async move {
        let line = lines.next().await?;
        Some((line, lines))
    });
    ndjson::response(lines)
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum LogLine {
    Log(Record),
    LogLost { records: u64 },
}

/// What one reader gets.
struct Lines {
    /// How everything stands at the beginning.
    first: VecDeque<Event>,
    events: Receiver<Event>,
    log: Option<Listener>,
    pings: Interval,
    draining: CancellationToken,
}

impl Lines {
    fn of(state: super::State, log: Option<Level>) -> Self {
        let log = log.map(|level| state.log.relay.listen(level));
        // Subscribed before the first lines are put together: nothing that happens after them is missed.
        let events = state.agent.events().subscribe();
        let mut first = VecDeque::from([Event::Hello {
            instance_id: state.agent.instance_id.clone(),
        }]);
        first.extend(
            state
                .agent
                .uploads_under_way()
                .into_iter()
                .map(|upload| Event::Upload(upload.into())),
        );
        first.extend(
            state
                .agent
                .locations()
                .into_iter()
                .map(|location| Event::Location {
                    location: location.into(),
                }),
        );
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
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
            return Some(ndjson::line(&event));
        }
        let event = tokio::select! {
            // In this order, so that nothing waits for a log record.
            biased;
            () = self.draining.cancelled() => return None,
            event = self.events.recv() => match event {
                Ok(event) => event,
                Err(RecvError::Lagged(events)) => Event::Lost { events },
                Err(RecvError::Closed) => return None,
            },
            _ = self.pings.tick() => Event::Ping,
            told = told(&mut self.log) => return Some(ndjson::line(&told)),
        };
        Some(ndjson::line(&event))
    }
}

async fn told(log: &mut Option<Listener>) -> LogLine {
    match log {
        Some(listener) => match listener.next().await {
            Told::Record(record) => LogLine::Log(Arc::unwrap_or_clone(record)),
            Told::Lost(records) => LogLine::LogLost { records },
        },
        None => std::future::pending().await,
    }
}
