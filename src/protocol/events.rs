//! `GET /v1/events`: one JSON object a line, until the client leaves or the agent stops.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::agent::events::Event;

/// Both sides notice a dead connection by this.
const PING_EVERY: Duration = Duration::from_secs(15);

/// `GET /v1/events`
pub(super) async fn stream(State(state): State<super::State>) -> Response {
    // Subscribed before the first line goes out: nothing that happens after it is missed.
    let events = state.agent.events().subscribe();
    let hello = Event::Hello { instance_id: state.agent.instance_id.clone() };
    let lines = stream::unfold((Some(hello), events, state.draining), |(first, mut events, draining)| async move {
        let event = match first {
            Some(event) => event,
            None => next(&mut events, &draining).await?,
        };
        Some((line(&event), (None, events, draining)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

async fn next(events: &mut Receiver<Event>, draining: &CancellationToken) -> Option<Event> {
    tokio::select! {
        () = draining.cancelled() => None,
        event = timeout(PING_EVERY, events.recv()) => match event {
            Ok(Ok(event)) => Some(event),
            Ok(Err(RecvError::Lagged(events))) => Some(Event::Lost { events }),
            Ok(Err(RecvError::Closed)) => None,
            Err(_) => Some(Event::Ping),
        },
    }
}

fn line(event: &Event) -> serde_json::Result<Bytes> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line.into())
}
