//! Connections: accepting, serving, and breaking them.

use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use futures_util::TryStreamExt;
use http::header::{CONTENT_LENGTH, DATE};
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::Body;
use s3s::service::S3Service;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::Shared;
use crate::lab::quirks::between::{Between, Passes};
use crate::lab::quirks::failing::{Failing, Failure};
use crate::lab::quirks::front::{Counts, Refusal, Turn, refusal};
use crate::lab::quirks::tls::Identity;
use crate::lab::quirks::{Quirk, Quirks};

/// Delay of a surprise close: the client has read the answer by then.
const SURPRISE: Duration = Duration::from_millis(20);

/// Duration of a part on a busy server.
const TAKES_ITS_TIME: Duration = Duration::from_secs(2);

/// Header that asks for encryption, and confirms it.
const ENCRYPTION: &str = "x-amz-server-side-encryption";

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>, identity: Option<Identity>) {
    let acceptor = identity.map(|identity| identity.acceptor);
    loop {
        let (client, _) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
        tokio::spawn(async move {
            let _at_work = Arc::clone(&shared.at_work);
            if let Some(stream) = secured(client, acceptor).await {
                serve(stream, shared).await;
            }
        });
    }
}

async fn secured(
    client: TcpStream,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
) -> Option<Box<dyn Stream>> {
    match acceptor {
        Some(acceptor) => acceptor
            .accept(client)
            .await
            .ok()
            .map(|stream| Box::new(stream) as Box<dyn Stream>),
        None => Some(Box::new(client)),
    }
}

/// Serves one connection until either side closes it.
async fn serve(stream: Box<dyn Stream>, shared: Arc<Shared>) {
    let (answered, closes) = (
        Arc::new(Notify::new()),
        shared.quirks.has(&Quirk::ClosesAfterAnswer),
    );
    let service = service_fn(|request| {
        let (shared, answered) = (Arc::clone(&shared), Arc::clone(&answered));
        async move {
            let answer = shared.answer(request).await;
            answered.notify_one();
            answer
        }
    });
    let mut connection =
        pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let surprise = async {
        answered.notified().await;
        sleep(SURPRISE).await;
    };
    tokio::select! {
        // Disconnected clients are ignored.
        _ = connection.as_mut() => return,
        () = surprise, if closes => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}

/// Closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the server hangs up")]
struct HangsUp;

/// The first half of an answer; without a body, the connection breaks instead.
async fn cut(answer: Response<Body>) -> Result<Response<Body>, HangsUp> {
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| HangsUp)?.to_bytes();
    if body.is_empty() {
        return Err(HangsUp);
    }
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let half = Ok(body.slice(..body.len() / 2));
    let pieces = futures_util::stream::iter([half, Err(std::io::Error::other(HangsUp))]);
    Ok(Response::from_parts(
        parts,
        Body::http_body(StreamBody::new(pieces.map_ok(Frame::data))),
    ))
}

impl Shared {
    pub(super) fn new(quirks: Quirks, service: S3Service) -> Self {
        let (counts, requests, quirks_shown) =
            (Counts::default(), Mutex::default(), AtomicUsize::new(0));
        let (failing, busy) = (Failing::default(), AtomicUsize::new(0));
        let between = Between::default();
        let (at_work, hanging) = (Arc::default(), Arc::default());
        Self {
            quirks,
            service,
            counts,
            failing,
            between,
            requests,
            quirks_shown,
            busy,
            at_work,
            hanging,
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, HangsUp> {
        let (mut parts, body) = request.into_parts();
        self.requests.lock().unwrap().push(parts.clone());
        let length = parts.headers.get(CONTENT_LENGTH);
        let length = length.map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        let back = Between::back(&parts, &self.quirks);
        let on_the_way = match self.between.passes(&mut parts, length, &self.quirks) {
            Passes::On => None,
            Passes::Answered(answer) => Some(answer),
            Passes::Broken => return self.hang_up(),
        };
        let turn = self.counts.turn(&parts, &self.quirks);
        if turn == Turn::HangUpBefore {
            return self.hang_up();
        }
        let failure = self.failing.next();
        let skew = match failure {
            Some(Failure::Skewed(hours)) => chrono::TimeDelta::hours(hours),
            _ => self.quirks.clock_offset(),
        };
        match failure {
            Some(Failure::CutBefore) => return Err(HangsUp),
            Some(Failure::HangsBefore) => return self.hang().await,
            _ => {}
        }
        let before = self.takes(&parts);
        let encrypted = self.quirks.has(&Quirk::DemandsEncryption);
        let encryption = encrypted.then(|| parts.headers.get(ENCRYPTION).cloned());
        // Read completely, so that the client has sent everything before it reads a
        // refusal.
        let body = body.collect().await.map_err(|_| HangsUp)?.to_bytes();
        if let Some(answer) = on_the_way {
            self.quirks_shown.fetch_add(1, Ordering::SeqCst);
            return Ok(answer);
        }
        let is_too_busy = self.has_taken(before).await;
        let is_to_slow_down = turn == Turn::SlowDown || is_too_busy;
        let refused = match failure {
            Some(Failure::Unavailable) => Some(Refusal::unavailable()),
            Some(Failure::Denied) => Some(Refusal::denied()),
            _ if is_to_slow_down => Some(Refusal::slow_down()),
            _ => refusal(&parts, &self.quirks, Utc::now() + skew),
        };
        let mut answer = match refused {
            Some(refusal) => {
                self.quirks_shown.fetch_add(1, Ordering::SeqCst);
                refusal.answer()
            }
            None => {
                self.carry_out(Request::from_parts(parts, Body::from(body)))
                    .await?
            }
        };
        answer = self.between.answers(answer, back, &self.quirks).await;
        if turn == Turn::HangUpAfter {
            return self.hang_up();
        }
        match failure {
            Some(Failure::CutAfter) => return Err(HangsUp),
            Some(Failure::HangsAfter) => return self.hang().await,
            Some(Failure::FailsAfter) => answer = Refusal::internal_error().answer(),
            Some(Failure::CutAnswer) => answer = cut(answer).await?,
            _ => {}
        }
        if let Some(encryption) = encryption.flatten() {
            answer.headers_mut().insert(ENCRYPTION, encryption);
        }
        let now = Utc::now() + skew;
        let date = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        answer
            .headers_mut()
            .insert(DATE, HeaderValue::try_from(date).unwrap());
        Ok(answer)
    }

    /// Runs to its end even after the client disconnects.
    async fn carry_out(&self, request: Request<Body>) -> Result<Response<Body>, HangsUp> {
        let (service, at_work) = (self.service.clone(), Arc::clone(&self.at_work));
        let carried_out = tokio::spawn(async move {
            let answer = service.call(request).await;
            drop(at_work);
            answer
        });
        carried_out.await.unwrap().map_err(|_| HangsUp)
    }

    /// Starts a part and returns the number of parts in flight; `None` if the server is never
    /// busy.
    fn takes(&self, request: &Parts) -> Option<usize> {
        let is_part = request
            .uri
            .query()
            .is_some_and(|query| query.contains("partNumber="));
        let counts = is_part && self.busy_above().is_some();
        counts.then(|| self.busy.fetch_add(1, Ordering::SeqCst))
    }

    /// Ends a part and returns whether it exceeded the limit.
    async fn has_taken(&self, before: Option<usize>) -> bool {
        let (Some(before), Some(most)) = (before, self.busy_above()) else {
            return false;
        };
        sleep(TAKES_ITS_TIME).await;
        self.busy.fetch_sub(1, Ordering::SeqCst);
        before >= most
    }

    fn busy_above(&self) -> Option<usize> {
        self.quirks.find(|quirk| match quirk {
            Quirk::BusyAbove(most) => Some(*most),
            _ => None,
        })
    }

    async fn hang(&self) -> Result<Response<Body>, HangsUp> {
        let _hanging = Arc::clone(&self.hanging);
        pending().await
    }

    fn hang_up(&self) -> Result<Response<Body>, HangsUp> {
        self.quirks_shown.fetch_add(1, Ordering::SeqCst);
        Err(HangsUp)
    }
}
