use std::convert::identity;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep, sleep_until};

use super::*;
use crate::error::innermost;
use crate::store::retry::{Patience, Retry};

const IDLE: Duration = Duration::from_millis(300);

fn transport(idle: Duration) -> Transport {
    let endpoint = "http://storage".parse().unwrap();
    let transport = Transport::new(&Wire::default(), &endpoint, "".into(), Counters::default());
    Transport { idle, ..transport }
}

/// An answer without a body.
pub(in crate::store::s3) fn reply(status: u16, headers: &[(&'static str, &'static str)]) -> Reply {
    Reply {
        status: status.try_into().unwrap(),
        headers: headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect(),
        body: stream::empty().boxed(),
    }
}

fn reading() -> Request {
    Request::of_bucket(Method::GET)
}

fn writing(bytes: usize) -> Request {
    Request::of_bucket(Method::PUT).body(vec![0; bytes])
}

/// Answers the first request of each connection, or none, and is silent from then on. Nothing is closed.
async fn silent_server(answers: bool) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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
    format!("http://{address}/bucket/").parse().unwrap()
}

fn is_silence<T>(result: Result<T, Failure>) -> bool {
    result.is_err_and(|error| {
        matches!(error, Failure::Silent(_)) && innermost(&error).contains("silent")
    })
}

/// A copy, the begin of an upload and a deletion have no content.
#[tokio::test]
async fn request_without_content_has_length_zero() {
    for (method, has_length) in [
        (Method::PUT, true),
        (Method::POST, true),
        (Method::GET, false),
        (Method::DELETE, false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/bucket/", listener.local_addr().unwrap());
        let sent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&head[..length]).to_lowercase()
        });
        let request = Request::of_bucket(method.clone());
        let url = url.parse().unwrap();
        let answer = transport(IDLE).send(&request, url, false, identity).await;
        assert!(answer.is_ok());
        let sent = sent.await.unwrap();
        assert_eq!(
            sent.contains("\r\ncontent-length: 0\r\n"),
            has_length,
            "{sent}"
        );
    }
}

#[tokio::test]
async fn silent_server_times_out() {
    let url = silent_server(false).await;
    assert!(is_silence(
        transport(IDLE).send(&reading(), url, false, identity).await
    ));
}

/// Its last megabytes are in the kernel's buffers for longer than the idle timeout.
#[tokio::test]
async fn slow_line_is_not_silent() {
    const SIZE: usize = 8 << 20;
    const NANOS_PER_BYTE: u64 = 400;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut piece, mut taken) = (vec![0; 32 * 1024], 0);
        let start = Instant::now();
        while taken < SIZE {
            taken += stream.read(&mut piece).await.unwrap();
            // By the clock: a busy machine must not make the line slower.
            sleep_until(start + Duration::from_nanos(NANOS_PER_BYTE * taken as u64)).await;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        sleep(Duration::from_mins(1)).await;
    });
    let url = format!("http://{address}/bucket/key").parse().unwrap();
    let sent = transport(Duration::from_millis(800))
        .send(&writing(SIZE), url, false, identity)
        .await;
    assert_eq!(sent.unwrap().status, 200);
}

#[tokio::test]
async fn server_that_stops_reading_a_body_times_out() {
    let url = silent_server(false).await;
    // More than all buffers on the way hold.
    let request = writing(64 << 20);
    assert!(is_silence(
        transport(IDLE).send(&request, url, false, identity).await
    ));
}

#[tokio::test]
async fn answer_that_stops_midway_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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
    let url = format!("http://{address}/bucket/").parse().unwrap();
    let reply = transport(IDLE)
        .send(&reading(), url, false, identity)
        .await
        .unwrap();
    assert!(is_silence(reply.read(100).await));
}

/// Fills the pool with connections that fall silent after one answer.
async fn fill_pool(transport: &Transport, url: &Url) {
    let request = reading();
    for reply in
        join_all((0..4).map(|_| transport.send(&request, url.clone(), false, identity))).await
    {
        assert!(reply.is_ok());
    }
}

/// A router that forgot its connections, or a line that came back with another address, closes nothing.
#[tokio::test]
async fn half_dead_pool_costs_one_timeout() {
    let (transport, url) = (transport(IDLE), silent_server(true).await);
    fill_pool(&transport, &url).await;
    assert!(
        is_silence(
            transport
                .send(&reading(), url.clone(), false, identity)
                .await
        ),
        "the connections are not half-dead"
    );
    assert!(
        transport
            .send(&reading(), url, false, identity)
            .await
            .is_ok(),
        "it used another connection of the same pool"
    );
}

#[tokio::test]
async fn hedged_read_leaves_a_half_dead_connection_before_the_timeout() {
    let (transport, url) = (transport(IDLE_TIMEOUT), silent_server(true).await);
    fill_pool(&transport, &url).await;
    let start = std::time::Instant::now();
    let retry = Retry {
        hedges: true,
        ..Retry::with(Patience::NONE)
    };
    let (transport, url) = (&transport, &url);
    let read = retry.run("read", |call| async move {
        let sent = transport
            .send(&reading(), url.clone(), call.is_hedge, identity)
            .await;
        sent.map_err(|error| error.error(&call.action))
    });
    assert!(read.await.is_ok());
    assert!(
        (Duration::from_secs(5)..IDLE_TIMEOUT).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn answer_without_end_is_refused() {
    let body = || futures_util::stream::iter((0..5).map(|_| Ok(Bytes::from(vec![b' '; 1000]))));
    assert_eq!(read_up_to(5000, body()).await.unwrap().len(), 5000);
    let error = read_up_to(4096, body()).await.unwrap_err();
    assert!(error.to_string().contains("larger than 4 KiB"));
}
