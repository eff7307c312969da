//! Transport: one HTTP attempt on a pooled connection, watched for silence.
//!
//! There is no total timeout: a slow uplink may take as long as it needs while bytes move.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;
use tracing::debug;
use url::Url;

use super::answer::Answer;
use super::failure::{Failure, Unusable};
use super::proxy::Way;
use super::request::Request;
use super::resolve::SystemResolver;
use super::traffic::{Counters, Traffic};
use super::trust;
use super::watch::{Activity, incoming, outgoing, read_up_to};
use crate::config::Wire;
use crate::error::innermost;

/// Timeout for opening a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle timeout: no byte taken while sending, none arriving while reading.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Factor of the idle timeout while a server copies up to 5 GiB or joins parts; not every server sends white space then.
const LATE_IDLE_FACTOR: u32 = 10;

/// Largest error document that is read, and largest answer that may be one.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Idle connections close before the shortest keep-alive of a common proxy (60 s) makes them half-dead.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Time without an acknowledgement after which the kernel closes a connection: a line with a new address says no goodbye.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// Interval of keep-alive probes on an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Client with its own pool of connections; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    pool: Result<Arc<Mutex<Pool>>, Unusable>,
    wire: Wire,
    pub(super) way: Way,
    /// Port that connections are opened to, unless a proxy opens them.
    port: Option<u16>,
    pub(super) idle: Duration,
    counters: Counters,
    /// The location's id, for the log.
    location: Arc<str>,
}

#[derive(Debug, Clone)]
struct Pool {
    client: reqwest::Client,
    generation: u64,
}

/// An answer whose body is still to come.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: BoxStream<'static, Result<Bytes, Failure>>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn time(&self, name: &str) -> Option<DateTime<Utc>> {
        let time = DateTime::parse_from_rfc2822(self.header(name)?).ok()?;
        Some(time.to_utc())
    }

    /// Reads a document of at most `max` bytes.
    pub(super) async fn read(self, max: usize) -> Result<Bytes, Failure> {
        read_up_to(max, self.body).await
    }
}

impl Transport {
    /// Opens no connection. With settings that cannot be used, each request fails.
    pub(super) fn new(wire: &Wire, endpoint: &Url, location: Arc<str>, counters: Counters) -> Self {
        let way = Way::to(endpoint, wire);
        let port = endpoint.port_or_known_default();
        let port = port.filter(|_| way.as_ref().is_ok_and(|way| way.proxy().is_none()));
        let pool = match &way {
            Ok(way) => client(wire, way, port).map(|client| Pool {
                client,
                generation: 0,
            }),
            Err(bad) => Err(bad.clone().into()),
        };
        Self {
            pool: pool.map(|pool| Arc::new(Mutex::new(pool))),
            wire: wire.clone(),
            way: way.unwrap_or_default(),
            port,
            idle: wire.idle.unwrap_or(IDLE_TIMEOUT),
            counters,
            location,
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.counters.now()
    }

    /// Sends `request` to `url`. `is_hedge` sends it on a new connection. A refusal passes `scrub` before it is logged.
    pub(super) async fn send(
        &self,
        request: &Request,
        url: Url,
        is_hedge: bool,
        scrub: impl FnOnce(Answer) -> Answer,
    ) -> Result<Reply, Failure> {
        let start = Instant::now();
        let path = percent_decode_str(url.path())
            .decode_utf8_lossy()
            .into_owned();
        let result = self.attempt(request, url, is_hedge).await;
        let result = result.map_err(|failure| match failure {
            Failure::Refused(answer) => Failure::Refused(Box::new(scrub(*answer))),
            other => other,
        });
        let status = result.as_ref().map(|reply| reply.status);
        self.counters
            .note(&self.location, request, &path, start, status);
        result
    }

    async fn attempt(&self, request: &Request, url: Url, is_hedge: bool) -> Result<Reply, Failure> {
        let factor = if request.may_fail_late {
            LATE_IDLE_FACTOR
        } else {
            1
        };
        let idle = self.idle * factor;
        let known = self.pool.as_ref();
        let known = known.map_err(|unusable| Failure::Unusable(unusable.clone()))?;
        let mut pool = known.lock().clone();
        if is_hedge {
            self.renew(pool.generation);
            pool = known.lock().clone();
        }
        let activity = Activity::new();
        let prepared = self.prepared(request, url.clone(), &activity);
        let has_proxy = self.way.proxy().is_some();
        let answered = tokio::select! {
            answered = pool.client.execute(prepared) => answered.map_err(|error| Failure::of(error, has_proxy)),
            () = activity.silent_for(idle) => Err(Failure::Silent(idle)),
        };
        let response =
            answered.inspect_err(|error| self.renew_if_silent(error, pool.generation))?;
        let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        let transport = self.clone();
        let body = incoming(body, idle, self.counters.clone())
            .inspect_err(move |error| transport.renew_if_silent(error, pool.generation))
            .boxed();
        let reply = Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        };
        if !parts.status.is_success() {
            Err(refusal(request, reply, &url).await)
        } else if request.may_fail_late {
            late(request, reply).await
        } else {
            Ok(reply)
        }
    }

    fn prepared(&self, request: &Request, url: Url, activity: &Activity) -> reqwest::Request {
        let mut prepared = reqwest::Request::new(request.method.clone(), url);
        *prepared.headers_mut() = request.headers.clone();
        let length = request.payload.bytes.len();
        if length > 0 {
            let body = outgoing(&request.payload, activity.clone(), self.counters.clone());
            *prepared.body_mut() = Some(body);
            prepared
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        } else if matches!(request.method, http::Method::PUT | http::Method::POST) {
            // Some servers and proxies refuse a copy without a length (411).
            prepared
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        prepared
    }

    fn renew_if_silent(&self, error: &Failure, generation: u64) {
        if error.is_silence() {
            self.renew(generation);
        }
    }

    /// Replaces the pool of this generation: its other connections may be half-dead too, and each would cost a timeout.
    fn renew(&self, generation: u64) {
        let Ok(pool) = &self.pool else {
            return;
        };
        let mut pool = pool.lock();
        if pool.generation == generation
            && let Ok(client) = client(&self.wire, &self.way, self.port)
        {
            debug!(
                location = &*self.location,
                "a connection went silent: opening new ones"
            );
            *pool = Pool {
                client,
                generation: generation + 1,
            };
        }
    }
}

/// Reads a refusal from the first bytes of its body, up to its end or its failure.
async fn refusal(request: &Request, mut reply: Reply, url: &Url) -> Failure {
    let mut text = Vec::new();
    while let Ok(Some(piece)) = reply.body.try_next().await {
        text.extend_from_slice(&piece);
        if text.len() > MAX_ERROR_BYTES {
            break;
        }
    }
    let answer = Answer::read(reply.status, &reply.headers, &text, url);
    Failure::Refused(Box::new(answer.to(request)))
}

/// Reads the whole answer to a request that may fail although the status is 200.
async fn late(request: &Request, reply: Reply) -> Result<Reply, Failure> {
    let text = read_up_to(MAX_ERROR_BYTES, reply.body).await?;
    match Answer::parse(&text) {
        Some(answer) => {
            let answer = Answer {
                status: 500,
                ..answer
            };
            Err(Failure::Refused(Box::new(answer.to(request))))
        }
        None => Ok(Reply {
            body: stream::iter([Ok(text)]).boxed(),
            ..reply
        }),
    }
}

fn client(wire: &Wire, way: &Way, port: Option<u16>) -> Result<reqwest::Client, Unusable> {
    let unusable =
        |error: &(dyn std::error::Error + 'static)| Unusable::Client(innermost(error).into());
    let tls = trust::config(wire, way.tls_name.clone()).map_err(|error| unusable(&*error))?;
    let builder = reqwest::Client::builder()
        .user_agent(concat!("s3-backup-agent/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Arc::new(SystemResolver::new(port)))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_user_timeout(GONE_AFTER)
        .tls_backend_preconfigured(tls);
    let built = way.set(builder).and_then(reqwest::ClientBuilder::build);
    built.map_err(|error| unusable(&error))
}

#[cfg(test)]
pub(super) mod tests;
