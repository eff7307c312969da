//! A failing network: a proxy between agent and server that counts requests and breaks chosen ones.
//!
//! Bytes pass unchanged, so signatures stay valid, unless a fault changes them. Ages in listings
//! can be shifted.

mod wire;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use wire::{flip_bit, make_older, requests};

/// A request seen by the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Body size in bytes.
    pub(crate) length: u64,
}

impl Request {
    pub(crate) fn is_list(&self) -> bool {
        self.method == "GET" && self.path.contains("list-type=2")
    }

    pub(crate) fn looks_at(&self, ending: &str) -> bool {
        self.method == "HEAD" && self.path.ends_with(ending)
    }

    pub(crate) fn reads(&self, ending: &str) -> bool {
        self.method == "GET" && self.path.ends_with(ending)
    }

    /// Whether it writes such an object; the agent's probes are no backups.
    pub(crate) fn writes(&self, ending: &str) -> bool {
        self.method == "PUT" && self.path.ends_with(ending) && !self.is_probe()
    }

    pub(crate) fn deletes(&self, ending: &str) -> bool {
        self.method == "DELETE" && self.path.ends_with(ending) && !self.is_probe()
    }

    pub(crate) fn is_probe(&self) -> bool {
        self.path.contains("s3-backup-agent-check")
    }

    pub(crate) fn starts_multipart(&self) -> bool {
        self.method == "POST" && self.path.contains("?uploads")
    }

    pub(crate) fn completes_multipart(&self) -> bool {
        self.method == "POST" && self.path.contains("uploadId=")
    }

    pub(crate) fn stores_part(&self, number: u32) -> bool {
        let mut query = self.path.split(['?', '&']);
        self.method == "PUT" && query.any(|pair| pair == format!("partNumber={number}"))
    }
}

/// A failure of one request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The connection breaks after this many bytes of the request's body.
    CutRequest(u64),
    /// The connection breaks after this many bytes of the answer. With 0, the server does the
    /// work and the answer is lost.
    CutAnswer(u64),
    /// The request is held until the semaphore has a permit.
    Hold(Arc<Semaphore>),
    /// The answer is held until the semaphore has a permit; the server has done the work.
    HoldAnswer(Arc<Semaphore>),
    /// The request's body passes as slowly as the semaphore gets permits, one for each byte.
    Slow(Arc<Semaphore>),
    /// One bit of the byte at this index of the request's body flips.
    FlipRequest(u64),
    /// One bit of the byte at this index of the answer, head included, flips.
    FlipAnswer(u64),
    /// The proxy answers instead of the server: status line and body.
    Answer(&'static str, &'static str),
}

type Matcher = Box<dyn Fn(&Request) -> bool + Send>;

struct Shared {
    target: String,
    requests: Mutex<Vec<Request>>,
    faults: Mutex<Vec<(Matcher, Fault)>>,
    is_away: watch::Sender<bool>,
    /// Hours by which objects and unfinished uploads look older.
    written_ago: AtomicI64,
    begun_ago: AtomicI64,
}

/// A proxy in front of one server.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(crate) async fn before(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: endpoint.trim_start_matches("http://").to_owned(),
            requests: Mutex::default(),
            faults: Mutex::default(),
            is_away: watch::Sender::new(false),
            written_ago: AtomicI64::new(0),
            begun_ago: AtomicI64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            port,
            shared,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Breaks the next request that `matches`; each call breaks one.
    pub(crate) fn fault(&self, matches: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.shared
            .faults
            .lock()
            .unwrap()
            .push((Box::new(matches), fault));
    }

    /// Holds the next request that `matches` until a permit is added.
    pub(crate) fn hold(
        &self,
        matches: impl Fn(&Request) -> bool + Send + 'static,
    ) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.fault(matches, Fault::Hold(Arc::clone(&gate)));
        gate
    }

    /// Number of pending faults.
    pub(crate) fn faults_left(&self) -> usize {
        self.shared.faults.lock().unwrap().len()
    }

    pub(crate) fn forget_faults(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Breaks all connections and refuses new ones, or accepts them again.
    pub(crate) fn set_away(&self, away: bool) {
        self.shared.is_away.send_replace(away);
    }

    /// Makes everything in listings look two hours older.
    pub(crate) fn make_old(&self) {
        self.shared.written_ago.store(2, Ordering::SeqCst);
    }

    /// Makes every upload, object and part look this many hours older.
    pub(crate) fn make_older(&self, begun_hours: i64, written_hours: i64) {
        self.shared.begun_ago.store(begun_hours, Ordering::SeqCst);
        self.shared
            .written_ago
            .store(written_hours, Ordering::SeqCst);
    }

    /// Bytes of all part requests so far, repetitions included.
    pub(crate) fn part_bytes(&self) -> u64 {
        let requests = self.shared.requests.lock().unwrap();
        requests
            .iter()
            .filter(|request| request.path.contains("partNumber="))
            .map(|request| request.length)
            .sum()
    }

    /// Number of requests so far that `matches`.
    pub(crate) fn count(&self, matches: impl Fn(&Request) -> bool) -> usize {
        self.shared
            .requests
            .lock()
            .unwrap()
            .iter()
            .filter(|request| matches(request))
            .count()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let mut away = shared.is_away.subscribe();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::select! {
                _ = away.wait_for(|away| *away) => {}
                () = connection(client, &shared) => {}
            }
        });
    }
}

/// Ends when one side closes or a fault demands it; then closes both connections.
async fn connection(client: TcpStream, shared: &Shared) {
    let Ok(server) = TcpStream::connect(&shared.target).await else {
        return;
    };
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let (allowed, gate) = (AtomicU64::new(u64::MAX), Mutex::new(None::<Arc<Semaphore>>));
    let flip = AtomicU64::new(u64::MAX);
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            let held = gate.lock().unwrap().take();
            if let Some(held) = held {
                drop(held.acquire().await);
            }
            for (tag, hours) in [
                ("<LastModified>", &shared.written_ago),
                ("<Initiated>", &shared.begun_ago),
            ] {
                make_older(
                    &mut buffer[..read],
                    tag.as_bytes(),
                    hours.load(Ordering::SeqCst),
                );
            }
            flip_bit(&flip, &mut buffer[..read]);
            let pass = usize::try_from(allowed.load(Ordering::SeqCst))
                .unwrap()
                .min(read);
            if to_client.write_all(&buffer[..pass]).await.is_err() || pass < read {
                return;
            }
            if allowed.load(Ordering::SeqCst) != u64::MAX {
                allowed.fetch_sub(pass as u64, Ordering::SeqCst);
            }
        }
    };
    tokio::select! {
        () = answers => {}
        () = requests(from_client, to_server, shared, &allowed, &gate, &flip) => {}
    }
}

impl Shared {
    fn take_fault(&self, request: &Request) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let index = faults.iter().position(|(matches, _)| matches(request))?;
        Some(faults.remove(index).1)
    }
}
