//! A network that fails: a proxy between agent and server that knows requests, counts them, and breaks chosen ones.
//!
//! Bytes go through unchanged, so signatures stay right, unless a fault says otherwise; the ages of what a listing names
//! can be made up.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use chrono::{NaiveDateTime, TimeDelta};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

/// A request as it passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Bytes of its body.
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

    pub(crate) fn writes(&self, ending: &str) -> bool {
        self.method == "PUT" && self.path.ends_with(ending)
    }

    pub(crate) fn deletes(&self, ending: &str) -> bool {
        self.method == "DELETE" && self.path.ends_with(ending)
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

/// What happens to a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The connection breaks after so many bytes of the request's body.
    CutRequest(u64),
    /// The connection breaks after so many bytes of the answer. With 0 the server has done its work and nobody hears.
    CutAnswer(u64),
    /// The server hears of the request when the semaphore lets it through.
    Hold(Arc<Semaphore>),
    /// The server does its work; its answer is held back until the semaphore lets it through.
    HoldAnswer(Arc<Semaphore>),
    /// A bit of the request's body is another one when it arrives, in the byte with this index.
    FlipRequest(u64),
    /// A bit of the answer is another one when it arrives, in the byte with this index, head included.
    FlipAnswer(u64),
    /// The proxy answers in the server's place: status line and body.
    Answer(&'static str, &'static str),
}

type Matcher = Box<dyn Fn(&Request) -> bool + Send>;

struct Shared {
    target: String,
    requests: Mutex<Vec<Request>>,
    faults: Mutex<Vec<(Matcher, Fault)>>,
    is_away: watch::Sender<bool>,
    /// Hours by which all that was written, and every upload that was begun, looks older.
    written_ago: AtomicI64,
    begun_ago: AtomicI64,
}

/// A proxy before one server.
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

    /// Breaks the next request that `matches`; one request for each call.
    pub(crate) fn fault(&self, matches: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.shared
            .faults
            .lock()
            .unwrap()
            .push((Box::new(matches), fault));
    }

    /// Holds the next request that `matches` back until a permit is added.
    pub(crate) fn hold(
        &self,
        matches: impl Fn(&Request) -> bool + Send + 'static,
    ) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.fault(matches, Fault::Hold(Arc::clone(&gate)));
        gate
    }

    /// How many faults have not happened yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.shared.faults.lock().unwrap().len()
    }

    pub(crate) fn forget_faults(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Breaks all connections and refuses new ones, or lets them through again.
    pub(crate) fn set_away(&self, away: bool) {
        self.shared.is_away.send_replace(away);
    }

    /// Makes everything in a listing look as if it had been written two hours ago.
    pub(crate) fn make_old(&self) {
        self.shared.written_ago.store(2, Ordering::SeqCst);
    }

    /// Makes it look as if every upload had been begun, and every object and part written, so many hours earlier.
    pub(crate) fn make_older(&self, begun_hours: i64, written_hours: i64) {
        self.shared.begun_ago.store(begun_hours, Ordering::SeqCst);
        self.shared
            .written_ago
            .store(written_hours, Ordering::SeqCst);
    }

    /// Bytes of all parts so far, each as often as it was sent.
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

/// Ends when one side does, or a fault says so; both connections are closed then.
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

/// Flips a bit when the byte that `index` counts down to is among these.
fn flip_bit(index: &AtomicU64, bytes: &mut [u8]) {
    let at = index.load(Ordering::SeqCst);
    if at == u64::MAX {
        return;
    }
    let rest = at.checked_sub(bytes.len() as u64);
    if rest.is_none() {
        bytes[usize::try_from(at).unwrap()] ^= 1;
    }
    index.store(rest.unwrap_or(u64::MAX), Ordering::SeqCst);
}

/// A time keeps its length, so nothing else of the answer changes.
fn make_older(answer: &mut [u8], tag: &[u8], hours: i64) {
    const FORM: &str = "%Y-%m-%dT%H:%M:%S";
    if hours == 0 {
        return;
    }
    let places: Vec<_> = answer
        .windows(tag.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == tag)
        .collect();
    let starts: Vec<_> = places.iter().map(|(index, _)| index + tag.len()).collect();
    for start in starts {
        let time = &mut answer[start..start + 19];
        let written = NaiveDateTime::parse_from_str(str::from_utf8(time).unwrap(), FORM).unwrap();
        time.copy_from_slice(
            (written - TimeDelta::hours(hours))
                .format(FORM)
                .to_string()
                .as_bytes(),
        );
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    allowed: &AtomicU64,
    gate: &Mutex<Option<Arc<Semaphore>>>,
    flip: &AtomicU64,
) {
    let mut buffer = BytesMut::new();
    while let Some((head, request)) = next_head(&mut client, &mut buffer).await {
        let fault = shared.take_fault(&request);
        let length = request.length;
        shared.requests.lock().unwrap().push(request);
        let (mut cut_at, flip_request) = (u64::MAX, AtomicU64::new(u64::MAX));
        match fault {
            Some(Fault::CutRequest(bytes)) => cut_at = bytes,
            Some(Fault::CutAnswer(bytes)) => allowed.store(bytes, Ordering::SeqCst),
            Some(Fault::FlipRequest(index)) => flip_request.store(index, Ordering::SeqCst),
            Some(Fault::FlipAnswer(index)) => flip.store(index, Ordering::SeqCst),
            Some(Fault::Hold(gate)) => drop(gate.acquire().await),
            Some(Fault::HoldAnswer(held)) => *gate.lock().unwrap() = Some(held),
            Some(Fault::Answer(status, body)) => {
                return answer(client, status, body, length, buffer).await;
            }
            None => {}
        }
        if server.write_all(&head).await.is_err() {
            return;
        }
        let mut sent = 0;
        while sent < length {
            if buffer.is_empty() && !matches!(client.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
            let take = (length - sent).min(buffer.len() as u64).min(cut_at - sent);
            let take = usize::try_from(take).unwrap();
            flip_bit(&flip_request, &mut buffer[..take]);
            if server.write_all(&buffer[..take]).await.is_err() {
                return;
            }
            buffer.advance(take);
            sent += take as u64;
            if sent == cut_at {
                return;
            }
        }
    }
}

/// Reads the rest of the request, answers, and closes.
async fn answer(client: OwnedReadHalf, status: &str, body: &str, length: u64, buffer: BytesMut) {
    let mut rest = vec![
        0;
        usize::try_from(length)
            .unwrap()
            .saturating_sub(buffer.len())
    ];
    let mut client = client;
    if client.read_exact(&mut rest).await.is_err() {
        return;
    }
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // The other half is in the hands of `connection`; the socket is the same.
    let stream: &TcpStream = client.as_ref();
    let mut bytes = text.as_bytes();
    while !bytes.is_empty() {
        if stream.writable().await.is_err() {
            return;
        }
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

async fn next_head(
    client: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
) -> Option<(BytesMut, Request)> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if !matches!(client.read_buf(buffer).await, Ok(1..)) {
            return None;
        }
    };
    let head = buffer.split_to(end);
    let text = str::from_utf8(&head).unwrap().to_owned();
    let mut words = text.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = text.to_ascii_lowercase();
    assert!(
        !headers.contains("transfer-encoding"),
        "a body without a length: {text}"
    );
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    Some((
        head,
        Request {
            method,
            path,
            length,
        },
    ))
}

impl Shared {
    fn take_fault(&self, request: &Request) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let index = faults.iter().position(|(matches, _)| matches(request))?;
        Some(faults.remove(index).1)
    }
}
