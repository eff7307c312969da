//! A server with arbitrary, possibly endless, answers.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Location;

/// One answer: the head, and a piece sent repeatedly.
pub(crate) struct Lie {
    pub(crate) head: String,
    /// Number of repetitions.
    pub(crate) piece: Vec<u8>,
    pub(crate) times: usize,
}

/// The server. It ends with the runtime of its test.
pub(crate) struct Liar {
    endpoint: String,
    asked: Arc<AtomicUsize>,
}

impl Lie {
    /// An answer with this body.
    pub(crate) fn body(status: &str, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        let piece = body.into();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n",
            piece.len()
        );
        Self {
            head,
            piece,
            times: 1,
        }
    }

    /// An answer of one terabyte.
    pub(crate) fn endless(status: &str, headers: &str, filler: u8) -> Self {
        let chunk = vec![filler; 1 << 20];
        let piece = [format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk, b"\r\n"].concat();
        let head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n{headers}\r\n");
        Self {
            head,
            piece,
            times: 1 << 20,
        }
    }
}

impl Liar {
    /// Answers each request with the result of `lie`, which receives the head and the request's
    /// number.
    pub(crate) async fn start(lie: impl Fn(&str, usize) -> Lie + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (lie, asked) = (Arc::new(lie), Arc::<AtomicUsize>::default());
        let counting = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (lie, asked) = (Arc::clone(&lie), Arc::clone(&counting));
                tokio::spawn(async move { drop(answer(stream, &*lie, &asked).await) });
            }
        });
        Self { endpoint, asked }
    }

    /// Answers the first bytes of a client with `answer`, and keeps all later bytes.
    pub(crate) async fn raw(answer: Vec<u8>) -> (Self, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let after = Arc::<Mutex<Vec<u8>>>::default();
        let keeping = Arc::clone(&after);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut rest = vec![0; 4096];
                drop(stream.read(&mut rest).await);
                drop(stream.write_all(&answer).await);
                rest.clear();
                drop(stream.read_to_end(&mut rest).await);
                *keeping.lock().unwrap() = rest;
            }
        });
        (
            Self {
                endpoint,
                asked: Arc::default(),
            },
            after,
        )
    }

    /// Number of requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A location on this server.
    pub(crate) fn location(&self) -> Location {
        Location {
            id: "garage".into(),
            provider: "other".into(),
            endpoint: self.endpoint.clone(),
            region: "us-east-1".into(),
            bucket: "bucket".into(),
            prefix: String::new(),
            key_id: "PLANTEDKEYID".into(),
            secret: "planted/secret+of+bucket".into(),
            part_size: "5 MiB".into(),
            concurrency: 2,
            outage_seconds: 1,
            options: vec![
                ("addressing".into(), "path".into()),
                ("checksum".into(), "sha256".into()),
            ],
        }
    }
}

/// Reads one request per connection, its body included.
async fn answer(
    mut stream: TcpStream,
    lie: &(dyn Fn(&str, usize) -> Lie + Sync),
    asked: &AtomicUsize,
) -> io::Result<()> {
    let mut request = Vec::new();
    let head = loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break String::from_utf8_lossy(&request[..end]).into_owned();
        }
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length:")?
            .trim()
            .parse()
            .ok()
    });
    while request.len() < head.len() + 4 + length.unwrap_or(0_usize) {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let Lie { head, piece, times } = lie(&head, asked.fetch_add(1, Ordering::SeqCst));
    stream
        .write_all(
            head.replacen("\r\n", "\r\nconnection: close\r\n", 1)
                .as_bytes(),
        )
        .await?;
    for _ in 0..times {
        stream.write_all(&piece).await?;
    }
    stream.shutdown().await
}
