//! The HTTP client under every S3 request: one attempt, watched for silence, its refusal read where it arrives.
//!
//! There is no total time-out, so a slow uplink may take as long as it needs; what counts is that bytes still move.
//! A refusal (any status but 2xx) becomes an [`Answer`] inside the error, because the provider's code and headers are
//! out of reach further up. Retries live in [`super::retry`] and nowhere else.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use serde::Deserialize;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::error::Answer;
use crate::config::Secret;

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be silent: no byte taken while sending, none arriving while reading.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Idle connections are closed before the shortest keep-alive of a common proxy (60 s) makes them half-dead.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Request bodies are handed over in slices of this size, so that progress can be seen.
const SLICE_BYTES: usize = 256 * 1024;

/// The largest error document that is read.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Makes the client for object_store, and for requests that object_store has no call for.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    client: reqwest::Client,
    idle: Duration,
    secrets: Arc<[Secret]>,
}

impl Connector {
    /// `secrets` are what no answer may repeat: a provider says which key it does not know, and people swap the two.
    pub(super) fn new(secrets: Vec<Secret>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("s3-backup-agent/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tcp_keepalive(Duration::from_secs(15))
            .build()?;
        Ok(Self { client, idle: IDLE_TIMEOUT, secrets: secrets.into() })
    }

    pub(super) fn client(&self) -> HttpClient {
        HttpClient::new(Transport(self.clone()))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.client())
    }
}

#[derive(Debug)]
struct Transport(Connector);

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.0.attempt(request).await
    }
}

impl Connector {
    async fn attempt(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let completes_upload = completes_upload(&request);
        let activity = Activity::new();
        let outgoing = outgoing(request, &activity)?;
        let response = tokio::select! {
            response = self.client.execute(outgoing) => response.map_err(from_reqwest)?,
            () = activity.silent_for(self.idle) => return Err(silence(self.idle)),
        };
        let idle = self.idle;
        let (parts, body) = http::Response::from(response).into_parts();
        let body = WatchedResponse { body, idle, deadline: Box::pin(sleep(idle)) };
        if !parts.status.is_success() {
            return Err(refused(self.scrubbed(read_answer(&parts, body).await)));
        }
        if completes_upload {
            return completed(parts, body).await;
        }
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

impl Connector {
    fn scrubbed(&self, mut answer: Answer) -> Answer {
        for secret in self.secrets.iter().filter(|secret| !secret.expose().is_empty()) {
            answer.message = answer.message.replace(secret.expose(), "***");
        }
        answer
    }
}

fn outgoing(request: HttpRequest, activity: &Activity) -> Result<reqwest::Request, HttpError> {
    let (parts, body) = request.into_parts();
    let url = parts.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, Invalid(error)))?;
    let mut outgoing = reqwest::Request::new(parts.method, url);
    *outgoing.headers_mut() = parts.headers;
    if body.content_length() > 0 {
        let watched = WatchedRequest { body, rest: Bytes::new(), activity: activity.clone() };
        *outgoing.body_mut() = Some(reqwest::Body::wrap(watched));
    }
    Ok(outgoing)
}

#[derive(Debug, thiserror::Error)]
#[error("the address is not a valid URL: {0}")]
struct Invalid(url::ParseError);

#[derive(Debug, thiserror::Error)]
#[error("the connection was silent for {} s", .0.as_secs())]
struct Silence(Duration);

fn silence(idle: Duration) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, Silence(idle))
}

fn refused(answer: Answer) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, answer)
}

/// A POST with an upload id completes a multipart upload, which may fail although its status is 200.
///
/// Source: "Processing of a Complete Multipart Upload request could take several minutes to finalize" in Amazon's
/// API reference of `CompleteMultipartUpload`.
fn completes_upload(request: &HttpRequest) -> bool {
    request.method() == http::Method::POST && request.uri().query().is_some_and(|query| query.contains("uploadId="))
}

async fn completed(parts: http::response::Parts, body: WatchedResponse) -> Result<HttpResponse, HttpError> {
    let text = body.collect().await?.to_bytes();
    match parse_error(&text) {
        Some(answer) => Err(refused(Answer { status: 500, ..answer })),
        None => Ok(HttpResponse::from_parts(parts, text.into())),
    }
}

async fn read_answer(parts: &http::response::Parts, mut body: WatchedResponse) -> Answer {
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        text.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if text.len() > MAX_ERROR_BYTES {
            break;
        }
    }
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let said = parse_error(&text).unwrap_or_default();
    Answer {
        status: parts.status.as_u16(),
        request_id: said.request_id.or_else(|| header("x-amz-request-id")),
        region: said.region.or_else(|| header("x-amz-bucket-region")),
        ..said
    }
}

/// Reads an S3 error document.
fn parse_error(text: &[u8]) -> Option<Answer> {
    #[derive(Deserialize)]
    #[serde(rename = "Error", rename_all = "PascalCase")]
    struct Document {
        code: String,
        #[serde(default)]
        message: String,
        request_id: Option<String>,
        region: Option<String>,
    }
    let text = std::str::from_utf8(text).ok().filter(|text| text.contains("<Error"))?;
    let document: Document = quick_xml::de::from_str(text).ok()?;
    Some(Answer {
        status: 0,
        code: document.code,
        message: document.message,
        request_id: document.request_id,
        region: document.region.filter(|region| !region.is_empty()),
    })
}

fn from_reqwest(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_builder() {
        HttpErrorKind::Unknown
    } else {
        HttpErrorKind::Interrupted
    };
    // The address is in the message already, and its query holds the upload id.
    HttpError::new(kind, error.without_url())
}

/// When bytes last moved on a request.
#[derive(Debug, Clone)]
struct Activity {
    start: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Activity {
    fn new() -> Self {
        Self { start: Instant::now(), last_ms: Arc::default() }
    }

    fn mark(&self) {
        let elapsed = self.start.elapsed().as_millis();
        self.last_ms.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    async fn silent_for(&self, limit: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            if last.elapsed() >= limit {
                return;
            }
            sleep_until(last + limit).await;
        }
    }
}

/// A request body that marks when a slice of it is taken.
struct WatchedRequest {
    body: HttpRequestBody,
    rest: Bytes,
    activity: Activity,
}

impl Body for WatchedRequest {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.activity.mark();
        if self.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        let take = self.rest.len().min(SLICE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(take)))))
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let body = self.body.size_hint().exact().unwrap_or_default();
        SizeHint::with_exact(body.saturating_add(rest))
    }
}

/// A response body that fails when nothing arrives for too long.
struct WatchedResponse {
    body: reqwest::Body,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl Body for WatchedResponse {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                let deadline = Instant::now() + self.idle;
                self.deadline.as_mut().reset(deadline);
                Poll::Ready(frame.map(|frame| frame.map_err(from_reqwest)))
            }
            Poll::Pending => self.deadline.as_mut().poll(context).map(|()| Some(Err(silence(self.idle)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
