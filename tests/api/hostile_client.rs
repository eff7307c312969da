//! Clients that exhaust connections, time or memory do not affect others.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

use crate::api::access::free_address;
use crate::lab::call::{Client, content_path, http};
use crate::lab::{Agent, Location, MIB, Sample, Setup, agent_and_bucket, eventually, garage};

const TOKEN: &str = "correct-horse-battery-staple";

async fn on_tcp() -> (Agent, SocketAddr) {
    let address = free_address();
    let setup = Setup::of(Location::of(&garage::shared().bucket().await)).keeping_secret(TOKEN);
    (
        setup
            .listening(&format!("token = \"{TOKEN}\"\ntcp = \"{address}\""))
            .serve()
            .await,
        address,
    )
}

/// A client with its own loopback address.
fn at(host: u8, address: SocketAddr) -> Client {
    let client = http()
        .local_address(IpAddr::from([127, 0, 0, host]))
        .build()
        .unwrap();
    Client::new(client, &format!("http://{address}"))
}

async fn connected(host: u8, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::from(([127, 0, 0, host], 0)))
        .unwrap();
    socket.connect(address).await.unwrap()
}

async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut rest = Vec::new();
    timeout(within, stream.read_to_end(&mut rest))
        .await
        .is_ok_and(|read| read.map_or(true, |_| true))
}

#[tokio::test]
async fn guessing_address_is_throttled_without_affecting_others() {
    let (agent, address) = on_tcp().await;
    let (home, stranger) = (
        at(2, address).with_token(TOKEN),
        at(3, address).with_token("a-guess-of-sixteen"),
    );
    assert_eq!(home.get("/v1/info").await.status, 200);
    for _ in 0..20 {
        stranger
            .get("/v1/info")
            .await
            .is_problem(401, "unauthorized", &["wrong"]);
    }
    let answer = stranger.get("/v1/info").await;
    answer.is_problem(429, "too_many_attempts", &["too many calls"]);
    assert_eq!(
        (answer.header("retry-after"), answer.header("connection")),
        ("10", "close")
    );
    let lucky = at(3, address).with_token(TOKEN);
    assert_eq!(
        lucky.get("/v1/info").await.status,
        429,
        "the answer reveals a right guess"
    );
    assert_eq!(home.get("/v1/info").await.status, 200);
    assert_eq!(
        at(4, address)
            .with_token(TOKEN)
            .get("/v1/info")
            .await
            .status,
        200,
        "a client from another address"
    );
    assert_eq!(stranger.get("/v1/health").await.status, 200);
    eventually("another guess is answered", async || {
        lucky.get("/v1/info").await.status == 200
    })
    .await;
    let told = agent.printed();
    assert_eq!(
        told.matches("too many wrong tokens from 127.0.0.3").count(),
        1,
        "{told}"
    );
    assert_eq!(
        told.matches("too many calls without").count(),
        0,
        "each guess is logged: {told}"
    );
}

#[tokio::test]
async fn authenticated_client_is_not_throttled_with_its_address() {
    let (agent, address) = on_tcp().await;
    let socket = agent.client.clone();
    for (right, wrong) in [
        (
            at(2, address).with_token(TOKEN),
            at(2, address).with_token("a-guess-of-sixteen"),
        ),
        (
            socket.clone().with_token(TOKEN),
            socket.with_token("a-guess-of-sixteen"),
        ),
    ] {
        assert_eq!(right.get("/v1/info").await.status, 200);
        let mut answers = Vec::new();
        for _ in 0..40 {
            answers.push(wrong.get("/v1/info").await.status);
            assert_eq!(
                right.get("/v1/info").await.status,
                200,
                "after {} guesses",
                answers.len()
            );
        }
        assert!(
            answers.starts_with(&[401; 20]) && answers.contains(&429),
            "{answers:?}"
        );
    }
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let (_agent, address) = on_tcp().await;
    let mut silent = Vec::new();
    for _ in 0..60 {
        silent.push(connected(5, address).await);
    }
    let mut closed = 0;
    for stream in &mut silent {
        closed += u32::from(is_closed(stream, Duration::from_millis(100)).await);
    }
    assert_eq!(closed, 12, "more than 48 from one address");
    assert_eq!(
        at(6, address)
            .with_token(TOKEN)
            .get("/v1/info")
            .await
            .status,
        200
    );
    drop(silent);
    eventually("the connections are free again", async || {
        at(5, address).with_token(TOKEN).is_well().await
    })
    .await;
}

#[tokio::test]
async fn silent_and_slow_clients_are_disconnected() {
    let (_agent, address) = on_tcp().await;
    let mut silent = connected(2, address).await;
    let mut half = connected(2, address).await;
    half.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\nx-a: ")
        .await
        .unwrap();
    let mut idle = connected(2, address).await;
    idle.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut body = connected(2, address).await;
    let head = format!(
        "POST /v1/locations/check HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 1000\r\n\r\n{{"
    );
    body.write_all(head.as_bytes()).await.unwrap();
    let trickle = async {
        // A byte now and then does not extend the limit.
        let start = Instant::now();
        while half.write_all(b"a").await.is_ok() && start.elapsed() < Duration::from_mins(1) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        start.elapsed()
    };
    let limit = Duration::from_secs(50);
    let mut said = Vec::new();
    let (silent, idle, body, trickle) = tokio::join!(
        is_closed(&mut silent, limit),
        is_closed(&mut idle, limit),
        timeout(limit, body.read_to_end(&mut said)),
        trickle
    );
    assert!(silent, "a silent connection");
    assert!(idle, "a connection without a second request");
    body.expect("a body that never comes").unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.starts_with("HTTP/1.1 400") && said.contains("did not arrive within 30 s"),
        "{said}"
    );
    assert!(trickle < limit, "a byte-by-byte head lasted {trickle:?}");
}

/// A paused download, or a client with a busy disk. The storage's idle timeout does not apply to
/// clients.
#[tokio::test]
async fn stalled_reader_costs_little_memory_and_receives_the_rest() {
    let location = Location::of(&garage::shared().bucket().await).with("idle_seconds", "2");
    let agent = Setup::of(location).serve().await;
    let sample = Sample::new("a1", "Paused", 60 * MIB);
    agent.upload("garage", &sample).await;
    let before = agent.peak_memory();
    let mut paused = Vec::new();
    for _ in 0..3 {
        let mut answer = agent
            .request(http::Method::GET, &content_path("garage", "a1"))
            .send()
            .await
            .unwrap();
        paused.push((answer.chunk().await.unwrap().unwrap().to_vec(), answer));
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        assert!(
            agent.download("garage", "a1").await.unwrap().body == sample.tar,
            "another client's"
        );
        assert_eq!(agent.listed("garage").await, ["a1"]);
    }
    let taken = agent.peak_memory().saturating_sub(before);
    assert!(
        taken < 3 * 40 * MIB,
        "{} MiB for a stalled reader",
        taken / MIB
    );
    for (mut body, mut answer) in paused {
        while let Some(chunk) = answer.chunk().await.unwrap() {
            body.extend_from_slice(&chunk);
        }
        assert!(
            body == sample.tar,
            "{} of {} bytes",
            body.len(),
            sample.tar.len()
        );
    }
}

#[tokio::test]
async fn malformed_json_is_answered() {
    let (agent, _bucket) = agent_and_bucket().await;
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let mut wide = "[".to_owned();
    (0..150_000).for_each(|number| write!(wide, "[{number}],").unwrap());
    wide.truncate(1024 * 1024 - 2);
    for body in [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        wide + "0]",
        "\u{feff}{}".to_owned(),
        "\"\\ud800\"".to_owned(),
    ] {
        for path in ["/v1/locations/garage/uploads", "/v1/locations/check"] {
            let request = agent.request(http::Method::POST, path).body(body.clone());
            agent
                .send(request)
                .await
                .unwrap()
                .is_problem(400, "invalid_request", &["body"]);
        }
        agent
            .put("/v1/locations/new", body.clone())
            .await
            .is_problem(400, "invalid_request", &["body"]);
        agent
            .put("/v1/log", body)
            .await
            .is_problem(400, "invalid_request", &["body"]);
    }
    assert!(
        agent.peak_memory() < 100 * 1024 * 1024,
        "{} bytes",
        agent.peak_memory()
    );
}

#[tokio::test]
async fn malformed_request_heads_are_answered_or_disconnected() {
    let (agent, _bucket) = agent_and_bucket().await;
    let long = "x".repeat(100_000);
    for head in [
        "GET /v1/health HTTP/9.9\r\n\r\n",
        "GET\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03",
        "GET /v1/locations/../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /v1/locations/%2e%2e%2f%00 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET http://elsewhere/v1/info HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /v1/locations/check HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "POST /v1/locations/check HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "POST /v1/locations/check HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "POST /v1/locations/check HTTP/1.1\r\nhost: x\r\ntransfer-encoding: x\r\n\r\n",
        &format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
    ] {
        let mut stream = UnixStream::connect(agent.setup.socket()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = Vec::new();
        // It may also disconnect.
        drop(
            timeout(Duration::from_secs(10), stream.read_to_end(&mut said))
                .await
                .expect("it hangs"),
        );
        assert!(
            !String::from_utf8_lossy(&said).starts_with("HTTP/1.1 5"),
            "{head}"
        );
    }
    assert_eq!(agent.get("/v1/info").await.status, 200);
}
