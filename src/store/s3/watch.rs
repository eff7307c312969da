//! Bodies in flight: in slices, within the limit, watched for silence.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::failure::Failure;
use super::traffic::Counters;
use crate::store::backend::Payload;

/// Size of a slice of a request body: small enough to see progress.
const SLICE_BYTES: usize = 256 * 1024;

/// Factor of the idle timeout by which silence may exceed it while sent bytes wait in buffers.
const MOST_MORE: u32 = 9;

/// Time of the last progress of a request.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    start: Instant,
    last: watch::Sender<Instant>,
}

impl Activity {
    pub(super) fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            last: watch::Sender::new(start),
        }
    }

    fn mark(&self) {
        self.last.send_replace(Instant::now());
    }

    /// Waits until the connection took no byte for `limit`. On a slow line, sent bytes wait in buffers: so the silence may
    /// be longer by the time that the line took for all bytes before.
    pub(super) async fn silent_for(&self, limit: Duration) {
        loop {
            let last = *self.last.borrow();
            let busy = last - self.start;
            let end = last + limit + busy.min(limit * MOST_MORE);
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// Body of a request, which marks each slice that the connection takes.
pub(super) fn outgoing(payload: &Payload, activity: Activity, counters: Counters) -> reqwest::Body {
    let slices = stream::unfold(payload.clone(), move |mut rest| {
        let (activity, counters) = (activity.clone(), counters.clone());
        async move {
            activity.mark();
            if rest.bytes.is_empty() {
                return None;
            }
            let length = rest.bytes.len();
            let slice = rest.limit.slice(SLICE_BYTES).min(length);
            rest.limit.wait(slice).await;
            activity.mark();
            counters.sent(slice);
            Some((Ok::<_, Infallible>(rest.bytes.split_to(slice)), rest))
        }
    });
    reqwest::Body::wrap_stream(slices)
}

/// Body of a response, which fails when no byte arrives for `idle`. The time runs only while the caller waits for it.
pub(super) fn incoming(
    body: reqwest::Body,
    idle: Duration,
    counters: Counters,
) -> BoxStream<'static, Result<Bytes, Failure>> {
    stream::try_unfold(body, move |mut body| {
        let counters = counters.clone();
        async move {
            loop {
                let Ok(frame) = timeout(idle, body.frame()).await else {
                    return Err(Failure::Silent(idle));
                };
                let Some(frame) = frame else { return Ok(None) };
                let frame = frame.map_err(|error| Failure::Connection(error.without_url()))?;
                if let Ok(bytes) = frame.into_data() {
                    counters.received(bytes.len());
                    return Ok(Some((bytes, body)));
                }
            }
        }
    })
    .boxed()
}

/// Reads a body that should be small.
pub(super) async fn read_up_to(
    max: usize,
    mut body: impl Stream<Item = Result<Bytes, Failure>> + Unpin,
) -> Result<Bytes, Failure> {
    let mut text = BytesMut::new();
    while let Some(piece) = body.next().await {
        text.extend_from_slice(&piece?);
        if text.len() > max {
            return Err(Failure::TooLarge(max / 1024));
        }
    }
    Ok(text.freeze())
}
