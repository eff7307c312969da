//! Bodies on their way: slice by slice, within the limit, watched for silence.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::client::{HttpError, HttpErrorKind, HttpRequestBody};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::from_reqwest;
use super::traffic::Counting;
use crate::store::error::find;
use crate::store::limit::Limit;

/// Request bodies are handed over in slices of this size, so that progress can be seen.
const SLICE_BYTES: usize = 256 * 1024;

/// So many times the limit a silence may last beyond it, while what was taken is in buffers.
const MOST_MORE: u32 = 9;

#[derive(Debug, thiserror::Error)]
#[error("the connection was silent for {} s", .0.as_secs())]
struct Silence(Duration);

#[derive(Debug, thiserror::Error)]
#[error("the answer has more bytes than any server needs for it")]
struct TooLarge;

fn too_large() -> HttpError {
    HttpError::new(HttpErrorKind::Decode, TooLarge)
}

pub(super) fn silence(idle: Duration) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, Silence(idle))
}

/// Whether a connection that was up fell silent: no byte moved, or the kernel heard nothing of the other side any more.
pub(super) fn is_silence(error: &HttpError) -> bool {
    let is_given_up = || {
        let io = find::<io::Error>(error).map(io::Error::kind);
        error.kind() == HttpErrorKind::Interrupted && io == Some(io::ErrorKind::TimedOut)
    };
    find::<Silence>(error).is_some() || is_given_up()
}

/// When bytes last moved on a request.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    start: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            last_ms: Arc::default(),
        }
    }

    fn mark(&self) {
        let elapsed = self.start.elapsed().as_millis();
        self.last_ms.store(
            u64::try_from(elapsed).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// Waits until no byte was taken for so long. On a slow line those that were taken wait in buffers, so that it may be
    /// longer: by the time that the line took for all before them.
    pub(super) async fn silent_for(&self, limit: Duration) {
        loop {
            let busy = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let (last, limit) = (self.start + busy, limit + busy.min(limit * MOST_MORE));
            if last.elapsed() >= limit {
                return;
            }
            sleep_until(last + limit).await;
        }
    }
}

/// A place in a limit's queue.
struct Turn {
    limit: Limit,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Turn {
    fn new(limit: Limit) -> Self {
        Self {
            limit,
            waiting: None,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        Poll::Ready(())
    }

    /// Takes the turn of the next bytes; they are waited for before the ones after them.
    fn take(&mut self, bytes: usize) {
        self.waiting = self
            .limit
            .turn(bytes)
            .map(|turn| Box::pin(sleep_until(turn)));
    }
}

/// A request body that marks when a slice of it is taken.
pub(super) struct WatchedRequest {
    body: HttpRequestBody,
    rest: Bytes,
    activity: Activity,
    turn: Turn,
    counting: Counting,
}

impl WatchedRequest {
    pub(super) fn new(
        body: HttpRequestBody,
        activity: Activity,
        limit: Limit,
        counting: Counting,
    ) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            activity,
            turn: Turn::new(limit),
            counting,
        }
    }
}

impl Body for WatchedRequest {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.activity.mark();
        ready!(self.turn.poll(context));
        self.activity.mark();
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        let take = self.rest.len().min(self.turn.limit.slice(SLICE_BYTES));
        self.turn.take(take);
        self.counting.sent(take);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(take)))))
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let body = self.body.size_hint().exact().unwrap_or_default();
        SizeHint::with_exact(body.saturating_add(rest))
    }
}

/// A response body that fails when nothing arrives for too long.
pub(super) struct WatchedResponse {
    body: reqwest::Body,
    rest: Bytes,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    turn: Turn,
    counting: Counting,
    /// Bytes that may still come, where there is a limit.
    room: Option<usize>,
    when_silent: Option<WhenSilent>,
}

/// What is done once when a connection falls silent.
type WhenSilent = Box<dyn FnOnce() + Send + Sync>;

impl WatchedResponse {
    pub(super) fn new(
        body: reqwest::Body,
        idle: Duration,
        limit: Limit,
        counting: Counting,
    ) -> Self {
        let (rest, deadline, turn) = (Bytes::new(), Box::pin(sleep(idle)), Turn::new(limit));
        Self {
            body,
            rest,
            idle,
            deadline,
            turn,
            counting,
            room: None,
            when_silent: None,
        }
    }

    /// The same, ending in an error when it has more bytes than this.
    pub(super) fn up_to(self, max: usize) -> Self {
        Self {
            room: Some(max),
            ..self
        }
    }

    fn take_room(&mut self) -> Result<(), HttpError> {
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(self.rest.len()).ok_or_else(too_large)?;
        }
        Ok(())
    }

    /// The same with something to do when it falls silent.
    pub(super) fn when_silent(self, act: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self {
            when_silent: Some(Box::new(act)),
            ..self
        }
    }

    fn extend_deadline(&mut self) {
        let deadline = Instant::now() + self.idle;
        self.deadline.as_mut().reset(deadline);
    }
}

impl Body for WatchedResponse {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if self.turn.waiting.is_some() {
            ready!(self.turn.poll(context));
            // It was not the server that was silent.
            self.extend_deadline();
        }
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.extend_deadline();
                    self.rest = frame.into_data().unwrap_or_default();
                    self.take_room()?;
                }
                Poll::Ready(end) => {
                    return Poll::Ready(end.map(|frame| frame.map_err(from_reqwest)));
                }
                Poll::Pending => {
                    ready!(self.deadline.as_mut().poll(context));
                    if let Some(act) = self.when_silent.take() {
                        act();
                    }
                    return Poll::Ready(Some(Err(silence(self.idle))));
                }
            }
        }
        // A large frame passes in pieces, so that others have their turn in between.
        let take = self.rest.len().min(self.turn.limit.slice(usize::MAX));
        self.turn.take(take);
        self.counting.received(take);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(take)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        self.body
            .size_hint()
            .exact()
            .map_or_else(SizeHint::new, |body| {
                SizeHint::with_exact(body.saturating_add(rest))
            })
    }
}
