//! The HTTP client under every S3 request: one attempt, watched for silence, its refusal read where it arrives.
//!
//! There is no total time-out, so a slow uplink may take as long as it needs; what counts is that bytes still move.
//! A refusal (any status but 2xx) becomes an [`Answer`] inside the error, because the provider's code and headers are
//! out of reach further up. Retries live in [`super::retry`]; here a read that is silent is asked for once more at most.

pub(super) mod answer;
mod resolve;
mod traffic;
mod watch;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use object_store::client::{
    HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use reqwest::Certificate;
use tokio::time::sleep;
use tracing::debug;

pub(super) use answer::Answer;
use answer::Asked;
pub(super) use resolve::{NoSuchHost, addresses};
pub use traffic::Traffic;
use traffic::{Attempt, Counting};
use watch::{Activity, WatchedRequest, WatchedResponse, silence};

use super::e_tag::ETags;
use super::error::{find, innermost};
use super::key::{Key, Role};
use super::limit::Limit;
use super::pace::Pace;
use crate::config::{Secret, Wire};
use crate::logging::scrub::HIDDEN;

/// How long a connection may take to come up.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be silent: no byte taken while sending, none arriving while reading.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// So many times as long a server may be silent while it copies up to 5 GiB, or puts parts together; not all of them send
/// white space meanwhile.
const COPY_IDLE_FACTOR: u32 = 10;

/// The largest answer that is not an object's content: a page of a listing, with its keys escaped.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Idle connections are closed before the shortest keep-alive of a common proxy (60 s) makes them half-dead.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// A peer that acknowledges nothing for this long is gone, whatever its last word was: a line that changed its address
/// says none. Linux then gives the connection up by itself.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// After so much silence a read is asked for once more, on a new connection: the first may be half-dead, and somebody waits
/// in front of a screen. Whichever answers first counts.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How often an idle connection is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// One client, with its own pool of connections.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Arc<RwLock<Pooled>>,
    wire: Wire,
    has_proxy: bool,
    idle: Duration,
    shared: Shared,
}

/// A client with its number.
#[derive(Debug, Clone)]
struct Pooled {
    client: reqwest::Client,
    number: u64,
}

/// What goes on when a location gets other settings: transfers that are under way have it too.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    upload: Limit,
    download: Limit,
    /// What no answer may repeat: a provider says which key it does not know, and people swap the two.
    secrets: Arc<RwLock<Vec<Secret>>>,
    /// The location's id, for the log.
    location: Arc<str>,
    counting: Counting,
    pace: Pace,
    e_tags: ETags,
    was_s3: Arc<AtomicBool>,
}

impl Shared {
    pub(super) fn of(location: &str) -> Self {
        Self {
            location: location.into(),
            ..Self::default()
        }
    }

    /// What the requests came to so far.
    pub(super) fn traffic(&self) -> Traffic {
        self.counting.now()
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(super) fn e_tags(&self) -> &ETags {
        &self.e_tags
    }

    /// Whether an S3 server has answered.
    pub(super) fn was_s3(&self) -> bool {
        self.was_s3.load(Ordering::Relaxed)
    }

    /// An S3 server has answered: what says otherwise from now on is between here and there.
    pub(super) fn note_s3(&self) {
        self.was_s3.store(true, Ordering::Relaxed);
    }

    /// Takes the limits of these settings, and keeps these secrets too.
    pub(super) fn update(&self, wire: &Wire, secrets: Vec<Secret>) {
        self.upload.set(wire.upload_limit);
        self.download.set(wire.download_limit);
        let mut known = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets
            .into_iter()
            .filter(|secret| !secret.expose().is_empty())
        {
            if !known.contains(&secret) {
                known.push(secret);
            }
        }
    }
}

impl Http {
    pub(super) fn new(wire: &Wire, shared: Shared) -> Result<Self, reqwest::Error> {
        let client = Arc::new(RwLock::new(Pooled {
            client: client(wire)?,
            number: 0,
        }));
        let (wire, has_proxy, idle) = (
            wire.clone(),
            wire.proxy.is_some(),
            wire.idle.unwrap_or(IDLE_TIMEOUT),
        );
        Ok(Self {
            client,
            wire,
            has_proxy,
            idle,
            shared,
        })
    }

    fn pooled(&self) -> Pooled {
        self.client
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Begins with new connections, when this was the pool that went silent: its others may be as dead, and each would
    /// cost one more time-out to find out.
    fn renew(&self, silent: &Pooled) {
        let mut pooled = self.client.write().unwrap_or_else(PoisonError::into_inner);
        if pooled.number == silent.number
            && let Ok(client) = client(&self.wire)
        {
            debug!(
                location = &*self.shared.location,
                "a connection went silent: beginning with new ones"
            );
            *pooled = Pooled {
                client,
                number: silent.number + 1,
            };
        }
    }

    pub(super) fn into_client(self) -> HttpClient {
        HttpClient::new(self)
    }
}

fn client(wire: &Wire) -> Result<reqwest::Client, reqwest::Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("s3-backup-agent/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Arc::new(resolve::SystemResolver))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_user_timeout(GONE_AFTER);
    if let Some(pem) = &wire.ca_certificate {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem.as_bytes())?);
    }
    if let Some(proxy) = &wire.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.expose())?);
    }
    builder.build()
}

#[async_trait]
impl HttpService for Http {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let attempt = Attempt::of(&request);
        let answer = self.attempt(request).await;
        attempt.ended(&self.shared.location, &self.shared.counting, &answer);
        answer
    }
}

impl Http {
    async fn attempt(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (may_fail_late, is_content) = (may_fail_late(&request), reads_content(&request));
        let idle = if may_fail_late {
            self.idle * COPY_IDLE_FACTOR
        } else {
            self.idle
        };
        let (upload, download) = self.limits(&request);
        let (activity, asked) = (Activity::new(), Asked::by(&request));
        let (outgoing, pooled) = (self.outgoing(request, &activity, upload)?, self.pooled());
        let response = tokio::select! {
            response = self.answer(outgoing, &pooled) => response.map_err(|error| self.failed(error)),
            () = activity.silent_for(idle) => Err(silence(idle)),
        };
        let response = response.inspect_err(|error| {
            if watch::is_silence(error) {
                self.renew(&pooled);
            }
        })?;
        let (parts, body) = http::Response::from(response).into_parts();
        let pool = self.clone();
        let body = WatchedResponse::new(body, idle, download, self.shared.counting.clone())
            .when_silent(move || pool.renew(&pooled));
        let body = if is_content {
            body
        } else {
            body.up_to(MAX_ANSWER_BYTES)
        };
        if !parts.status.is_success() {
            return Err(self.noted(answer::read(&parts, body, &asked).await).into());
        }
        if may_fail_late {
            return answer::late(parts, body).await.map_err(|late| match late {
                answer::Late::Refused(answer) => self.noted(answer).into(),
                answer::Late::Broken(error) => error,
            });
        }
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }

    /// The answer to a request, or to the same one asked again.
    async fn answer(
        &self,
        request: reqwest::Request,
        pooled: &Pooled,
    ) -> reqwest::Result<reqwest::Response> {
        let again = request
            .try_clone()
            .filter(|_| matches!(*request.method(), Method::GET | Method::HEAD));
        let mut first = pin!(pooled.client.execute(request));
        let Some(again) = again else {
            return first.await;
        };
        tokio::select! {
            response = &mut first => return response,
            () = sleep(ASKED_AGAIN_AFTER) => self.renew(pooled),
        }
        let mut second = pin!(self.pooled().client.execute(again));
        // One that fails says nothing of the other.
        tokio::select! {
            response = &mut first => if response.is_ok() { response } else { second.await },
            response = &mut second => if response.is_ok() { response } else { first.await },
        }
    }

    /// The limits are for backups; a list or a backup's metadata never waits behind one.
    fn limits(&self, request: &HttpRequest) -> (Limit, Limit) {
        if Key::new(request.uri().path()).role() == Role::Tar {
            (self.shared.upload.clone(), self.shared.download.clone())
        } else {
            (Limit::default(), Limit::default())
        }
    }

    /// Without a proxy between, a connection that does not come up is the endpoint's.
    fn failed(&self, error: reqwest::Error) -> HttpError {
        if self.has_proxy && is_of_proxy(&error) {
            return HttpError::new(HttpErrorKind::Connect, ProxyFailed(error.without_url()));
        }
        from_reqwest(error)
    }

    fn outgoing(
        &self,
        request: HttpRequest,
        activity: &Activity,
        limit: Limit,
    ) -> Result<reqwest::Request, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string().parse();
        let url = url.map_err(|error| HttpError::new(HttpErrorKind::Unknown, Invalid(error)))?;
        let mut outgoing = reqwest::Request::new(parts.method, url);
        *outgoing.headers_mut() = parts.headers;
        if body.content_length() > 0 {
            let watched =
                WatchedRequest::new(body, activity.clone(), limit, self.shared.counting.clone());
            *outgoing.body_mut() = Some(reqwest::Body::wrap(watched));
        }
        Ok(outgoing)
    }

    /// The answer with what is known of who gave it, and without a secret.
    fn noted(&self, answer: Answer) -> Answer {
        if answer.is_s3 && !answer.code.is_empty() {
            self.shared.note_s3();
        }
        self.scrubbed(Answer {
            was_s3: self.shared.was_s3(),
            ..answer
        })
    }

    fn scrubbed(&self, mut answer: Answer) -> Answer {
        for secret in self
            .shared
            .secrets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            let Answer {
                code,
                message,
                request_id,
                region,
                date,
                tls_at,
                ..
            } = &mut answer;
            let texts = [
                Some(code),
                Some(message),
                request_id.as_mut(),
                region.as_mut(),
                date.as_mut(),
                tls_at.as_mut(),
            ];
            for text in texts.into_iter().flatten() {
                *text = text.replace(secret.expose(), HIDDEN);
            }
        }
        answer
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the address is not a valid URL: {0}")]
struct Invalid(url::ParseError);

/// Completing a multipart upload and copying may fail although the status is 200.
///
/// Source: Amazon's API reference: "Processing of a Complete Multipart Upload request could take several minutes to
/// finalize" in `CompleteMultipartUpload`, and "200 OK response can contain either a success or an error" in `CopyObject`.
fn may_fail_late(request: &HttpRequest) -> bool {
    let completes = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("uploadId="));
    (request.method() == http::Method::POST && completes) || copies(request)
}

/// An object's own content may be large; whoever reads it knows how large. Everything else is a document.
fn reads_content(request: &HttpRequest) -> bool {
    request.method() == http::Method::GET && request.uri().query().is_none()
}

fn copies(request: &HttpRequest) -> bool {
    request.headers().contains_key("x-amz-copy-source")
}

/// The proxy cannot be reached, or wants to know who is there.
#[derive(Debug, thiserror::Error)]
#[error("the proxy cannot be used: {0}")]
pub(super) struct ProxyFailed(#[source] reqwest::Error);

/// Whether it was not even the endpoint that a connection through a proxy failed at. What TLS says is the endpoint's, and
/// "unsuccessful" is the proxy's word for an endpoint that it does not reach (hyper-util's `TunnelError`).
fn is_of_proxy(error: &reqwest::Error) -> bool {
    let is_tls = find::<rustls::Error>(error).is_some();
    error.is_connect()
        && !error.is_timeout()
        && !is_tls
        && innermost(error) != "tunnel error: unsuccessful"
}

/// Reads a body that should be small.
pub(super) async fn read_up_to<B>(max: usize, mut body: B) -> Result<Bytes, HttpError>
where
    B: http_body::Body<Data = Bytes, Error = HttpError> + Unpin,
{
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(frame?.data_ref().map_or(&[], |data| data));
        if text.len() > max {
            return Err(HttpError::new(HttpErrorKind::Decode, TooLarge(max / 1024)));
        }
    }
    Ok(text.into())
}

#[derive(Debug, thiserror::Error)]
#[error("the answer is larger than {0} KiB")]
struct TooLarge(usize);

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

#[cfg(test)]
mod tests {
    use object_store::client::HttpRequestBody;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const IDLE: Duration = Duration::from_millis(300);

    /// Answers the first request of each connection, or none, and is silent from then on. Nothing is closed.
    async fn falls_silent(answers: bool) -> (Http, HttpRequest) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 4096];
                if answers && stream.read(&mut head).await.unwrap() > 0 {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .await
                        .unwrap();
                }
                kept.push(stream);
            }
        });
        let http = Http {
            idle: IDLE,
            ..Http::new(&Wire::default(), Shared::default()).unwrap()
        };
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = format!("http://{address}/bucket/").parse().unwrap();
        (http, request)
    }

    fn is_silence<T>(result: Result<T, HttpError>) -> bool {
        result.is_err_and(|error| {
            error.kind() == HttpErrorKind::Timeout && innermost(&error).contains("silent")
        })
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_not_waited_for_for_ever() {
        let (http, request) = falls_silent(false).await;
        assert!(is_silence(http.call(request).await));
    }

    /// Its last megabytes are in the kernel's buffers for longer than a silence may last.
    #[tokio::test]
    async fn a_slow_line_is_no_silent_one() {
        const SIZE: usize = 8 << 20;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut piece, mut taken) = (vec![0; 32 * 1024], 0);
            while taken < SIZE {
                taken += stream.read(&mut piece).await.unwrap();
                sleep(Duration::from_millis(15)).await;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
            sleep(Duration::from_mins(1)).await;
        });
        let http = Http {
            idle: Duration::from_millis(800),
            ..Http::new(&Wire::default(), Shared::default()).unwrap()
        };
        let mut request = HttpRequest::new(HttpRequestBody::from(Bytes::from(vec![0; SIZE])));
        *request.method_mut() = http::Method::PUT;
        *request.uri_mut() = format!("http://{address}/bucket/key").parse().unwrap();
        assert_eq!(http.call(request).await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn a_server_that_takes_no_more_of_a_body_is_not_waited_for_for_ever() {
        let (http, mut request) = falls_silent(false).await;
        *request.method_mut() = http::Method::PUT;
        // More than all the buffers on the way hold.
        *request.body_mut() = HttpRequestBody::from(Bytes::from(vec![0; 64 << 20]));
        assert!(is_silence(http.call(request).await));
    }

    #[tokio::test]
    async fn an_answer_that_stops_in_the_middle_is_not_waited_for_for_ever() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                .await
                .unwrap();
            std::future::pending::<()>().await;
        });
        let (http, mut request) = falls_silent(false).await;
        *request.uri_mut() = format!("http://{address}/bucket/").parse().unwrap();
        let answer = http.call(request).await.unwrap();
        assert!(is_silence(read_up_to(100, answer.into_body()).await));
    }

    /// A router that forgot its connections, or a line that came back with another address, closes nothing.
    #[tokio::test]
    async fn half_dead_connections_cost_one_time_out_and_not_one_each() {
        let (http, request) = falls_silent(true).await;
        for answer in
            futures_util::future::join_all((0..4).map(|_| http.call(request.clone()))).await
        {
            assert!(answer.is_ok(), "{answer:?}");
        }
        assert!(
            is_silence(http.call(request.clone()).await),
            "the test would prove nothing"
        );
        let answer = http.call(request).await;
        assert!(
            answer.is_ok(),
            "it asked another connection of the same pool: {answer:?}"
        );
    }

    #[tokio::test]
    async fn a_read_on_a_half_dead_connection_does_not_wait_for_the_time_out() {
        let (http, request) = falls_silent(true).await;
        let http = Http {
            idle: IDLE_TIMEOUT,
            ..http
        };
        for answer in
            futures_util::future::join_all((0..4).map(|_| http.call(request.clone()))).await
        {
            assert!(answer.is_ok(), "{answer:?}");
        }
        let start = std::time::Instant::now();
        assert!(http.call(request).await.is_ok());
        assert!(
            (ASKED_AGAIN_AFTER..IDLE_TIMEOUT).contains(&start.elapsed()),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_to_its_end() {
        let body = || HttpResponseBody::from(vec![b' '; 5000]);
        assert_eq!(read_up_to(5000, body()).await.unwrap().len(), 5000);
        assert!(
            read_up_to(4096, body())
                .await
                .unwrap_err()
                .to_string()
                .contains("larger than 4 KiB")
        );
    }
}
