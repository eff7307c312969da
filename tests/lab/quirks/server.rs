//! The server itself: connections, and a look at what it holds.

use std::fs;
use std::future::pending;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
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
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::failing::{Failing, Failure};
use super::front::{Counts, Refusal, Turn, refusal};
use super::storage::{Keys, Permissions, Storage, Uploads};
use super::tls::Identity;
use super::{Certificate, Quirk, Quirks};
use crate::lab::{Bucket, Location, eventually, guard};

/// How long after an answer a connection is closed by surprise: when the client has read it.
const SURPRISE: Duration = Duration::from_millis(20);

/// How long a busy server takes over a part.
const TAKES_ITS_TIME: Duration = Duration::from_secs(2);

/// A server with one bucket and one key.
pub(crate) struct Imitation {
    pub(crate) bucket: String,
    pub(crate) key_id: String,
    pub(crate) secret: String,
    /// The certification authority's certificate, PEM; empty without TLS.
    pub(crate) authority: String,
    folder: tempfile::TempDir,
    scheme: &'static str,
    host: &'static str,
    port: u16,
    uploads: Uploads,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

struct Shared {
    quirks: Quirks,
    service: S3Service,
    counts: Counts,
    failing: Failing,
    requests: Mutex<Vec<Parts>>,
    quirks_shown: AtomicUsize,
    /// Parts that are being taken.
    busy: AtomicUsize,
    /// Connections that are open, and requests that are worked on.
    at_work: Arc<()>,
    /// Those of them that nothing comes of.
    hanging: Arc<()>,
}

/// Where the bucket stands in a host name: before `.localhost`.
struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'h>(&'h self, host: &'h str) -> s3s::S3Result<VirtualHost<'h>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        Ok(match name.strip_suffix(".localhost") {
            Some(bucket) => VirtualHost::new("localhost").with_bucket(bucket),
            None => VirtualHost::new(host),
        })
    }
}

impl Imitation {
    /// A server with these quirks, without TLS.
    pub(crate) async fn with(quirks: impl IntoIterator<Item = Quirk>) -> Self {
        Self::start(quirks.into_iter().collect(), None).await
    }

    /// A server without quirks, with TLS.
    pub(crate) async fn with_tls(certificate: Certificate) -> Self {
        Self::start(Vec::new(), Some(Identity::new(certificate))).await
    }

    async fn start(quirks: Vec<Quirk>, identity: Option<Identity>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("imitation-")
            .tempdir()
            .unwrap();
        guard::folder(folder.path());
        let (bucket, key_id, secret) = (
            "ha-backups",
            "AKIDIMITATION0000001",
            "the/secret+of-the-imitation0000000000001",
        );
        fs::create_dir(folder.path().join(bucket)).unwrap();
        let (quirks, uploads) = (Quirks(quirks), Uploads::default());
        let storage = Storage::new(folder.path(), quirks.clone(), uploads.clone());
        let service = service(
            storage,
            Keys {
                key_id: key_id.into(),
                secret: secret.into(),
            },
            quirks.clone(),
        );
        let host = if quirks.has(&Quirk::VirtualHostsOnly) {
            "localhost"
        } else {
            "127.0.0.1"
        };
        let shared = Arc::new(Shared::new(quirks, service));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if identity.is_some() { "https" } else { "http" };
        let authority = identity
            .as_ref()
            .map(|identity| identity.authority.clone())
            .unwrap_or_default();
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(
            listener,
            Arc::clone(&shared),
            identity,
        )));
        let [bucket, key_id, secret] = [bucket, key_id, secret].map(str::to_owned);
        Self {
            bucket,
            key_id,
            secret,
            authority,
            folder,
            scheme,
            host,
            port,
            uploads,
            shared,
            _accepting: accepting,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address())
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The location `other` with what nobody can do without: endpoint, bucket and key.
    pub(crate) fn location(&self) -> Location {
        Location {
            id: "other".into(),
            provider: "other".into(),
            endpoint: self.endpoint(),
            region: String::new(),
            bucket: self.bucket.clone(),
            prefix: String::new(),
            key_id: self.key_id.clone(),
            secret: self.secret.clone(),
            part_size: "5 MiB".into(),
            concurrency: 4,
            outage_seconds: 60,
            options: Vec::new(),
        }
        .with("ca_certificate", &self.authority)
    }

    /// Makes `count` requests fail, beginning with number `from` of those that come from now on.
    pub(crate) fn fail(&self, from: usize, count: usize, failure: Failure) {
        self.shared.failing.plan(from, count, failure);
    }

    /// Answers all requests again, and counts them anew.
    pub(crate) fn heal(&self) {
        self.shared.failing.heal();
    }

    /// Number of requests since [`Self::fail`] or [`Self::heal`].
    pub(crate) fn requests_since(&self) -> usize {
        self.shared.failing.seen()
    }

    /// Whether no client is there, and all that one asked for is done, but for what it was to hang at.
    pub(crate) fn is_at_rest(&self) -> bool {
        Arc::strong_count(&self.shared.at_work) == Arc::strong_count(&self.shared.hanging)
    }

    /// Makes all that is there look so much older: objects, unfinished uploads and their parts.
    pub(crate) fn make_older(&self, by: Duration) {
        self.uploads.make_older(by);
        for key in self.keys() {
            let file = fs::File::open(self.folder.path().join(&self.bucket).join(key)).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.set_modified(modified - by).unwrap();
        }
    }

    /// Whether it was made with this quirk.
    pub(crate) fn has(&self, quirk: &Quirk) -> bool {
        self.shared.quirks.has(quirk)
    }

    /// The same as plain signed requests see it.
    pub(crate) fn bucket(&self) -> Bucket {
        Bucket::new(
            &self.endpoint(),
            "garage",
            &self.bucket,
            &self.key_id,
            &self.secret,
        )
    }

    /// How often a quirk broke or refused a request, before any object was looked at.
    pub(crate) fn quirks_shown(&self) -> usize {
        self.shared.quirks_shown.load(Ordering::SeqCst)
    }

    /// Every key, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let bucket = self.folder.path().join(&self.bucket);
        let mut keys = Vec::new();
        add_keys(&bucket, &bucket, &mut keys);
        keys.sort();
        keys
    }

    /// Keys of multipart uploads that were neither completed nor aborted.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        self.uploads.keys()
    }

    /// Reads an object past all quirks.
    pub(crate) fn get(&self, key: &str) -> Bytes {
        self.try_get(key).unwrap()
    }

    /// The same for one that may be gone.
    pub(crate) fn try_get(&self, key: &str) -> Option<Bytes> {
        fs::read(self.folder.path().join(&self.bucket).join(key))
            .ok()
            .map(Bytes::from)
    }

    /// Writes an object past all quirks.
    pub(crate) fn put(&self, key: &str, data: impl AsRef<[u8]>) {
        let path = self.folder.path().join(&self.bucket).join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }

    /// Removes an object past all quirks, if it is there.
    pub(crate) fn remove(&self, key: &str) {
        drop(fs::remove_file(
            self.folder.path().join(&self.bucket).join(key),
        ));
    }

    /// Number of requests so far that `matches`.
    pub(crate) fn count(&self, matches: impl Fn(&Parts) -> bool) -> usize {
        self.shared
            .requests
            .lock()
            .unwrap()
            .iter()
            .filter(|request| matches(request))
            .count()
    }

    /// The bucket comes to hold these keys and no unfinished upload.
    pub(crate) async fn comes_to_hold(&self, keys: &[&str]) {
        let what = format!("the bucket holds {keys:?} and nothing else");
        eventually(&what, async || {
            self.unfinished().is_empty() && self.keys() == keys
        })
        .await;
    }
}

fn add_keys(bucket: &Path, folder: &Path, keys: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            add_keys(bucket, &entry.path(), keys);
        } else {
            keys.push(
                entry
                    .path()
                    .strip_prefix(bucket)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
}

fn service(storage: Storage, keys: Keys, quirks: Quirks) -> S3Service {
    let mut builder = S3ServiceBuilder::new(storage);
    builder.set_auth(keys);
    builder.set_access(Permissions(quirks));
    builder.set_host(Hosts);
    // `front` knows the time.
    let mut config = S3Config::default();
    config.presigned_url_max_skew_time_secs = u32::MAX;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn accept(listener: TcpListener, shared: Arc<Shared>, identity: Option<Identity>) {
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

/// Serves one connection until a side closes it.
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
        // A client that goes away is none of the server's business.
        _ = connection.as_mut() => return,
        () = surprise, if closes => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}

/// Closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the server hangs up")]
struct HangsUp;

/// The first half of an answer; the connection breaks in its place where it has no body.
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
    fn new(quirks: Quirks, service: S3Service) -> Self {
        let (counts, requests, quirks_shown) =
            (Counts::default(), Mutex::default(), AtomicUsize::new(0));
        let (failing, busy) = (Failing::default(), AtomicUsize::new(0));
        let (at_work, hanging) = (Arc::default(), Arc::default());
        Self {
            quirks,
            service,
            counts,
            failing,
            requests,
            quirks_shown,
            busy,
            at_work,
            hanging,
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, HangsUp> {
        let (parts, body) = request.into_parts();
        self.requests.lock().unwrap().push(parts.clone());
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
        // Whole, so that a client has sent all of it before it reads a refusal.
        let body = body.collect().await.map_err(|_| HangsUp)?.to_bytes();
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
        let now = Utc::now() + skew;
        let date = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        answer
            .headers_mut()
            .insert(DATE, HeaderValue::try_from(date).unwrap());
        Ok(answer)
    }

    /// To its end, also when the client is gone before.
    async fn carry_out(&self, request: Request<Body>) -> Result<Response<Body>, HangsUp> {
        let (service, at_work) = (self.service.clone(), Arc::clone(&self.at_work));
        let carried_out = tokio::spawn(async move {
            let answer = service.call(request).await;
            drop(at_work);
            answer
        });
        carried_out.await.unwrap().map_err(|_| HangsUp)
    }

    /// Begins to take a part, and gives how many it was taking before; nothing when it is never too busy.
    fn takes(&self, request: &Parts) -> Option<usize> {
        let is_part = request
            .uri
            .query()
            .is_some_and(|query| query.contains("partNumber="));
        let counts = is_part && self.busy_above().is_some();
        counts.then(|| self.busy.fetch_add(1, Ordering::SeqCst))
    }

    /// Ends taking a part, and says whether it was one too many.
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
