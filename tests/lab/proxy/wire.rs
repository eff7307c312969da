//! HTTP messages on the wire.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use chrono::{NaiveDateTime, TimeDelta};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;

use super::{Fault, Request, Shared};

/// Bytes that a slow line passes at a time.
const SLOW_BYTES: u32 = 16 * 1024;

/// Flips a bit if the byte that `index` counts down to is among these.
pub(super) fn flip_bit(index: &AtomicU64, bytes: &mut [u8]) {
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

/// The length of a timestamp stays, so nothing else in the answer changes.
pub(super) fn make_older(answer: &mut [u8], tag: &[u8], hours: i64) {
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

pub(super) async fn requests(
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
        let mut line = None;
        match fault {
            Some(Fault::CutRequest(bytes)) => cut_at = bytes,
            Some(Fault::CutAnswer(bytes)) => allowed.store(bytes, Ordering::SeqCst),
            Some(Fault::FlipRequest(index)) => flip_request.store(index, Ordering::SeqCst),
            Some(Fault::FlipAnswer(index)) => flip.store(index, Ordering::SeqCst),
            Some(Fault::Hold(gate)) => drop(gate.acquire().await),
            Some(Fault::Slow(permits)) => line = Some(permits),
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
            let mut take = (length - sent).min(buffer.len() as u64).min(cut_at - sent);
            if let Some(line) = &line {
                take = take.min(SLOW_BYTES.into());
                let passing = line.acquire_many(u32::try_from(take).unwrap());
                passing.await.unwrap().forget();
            }
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
pub(super) async fn answer(
    client: OwnedReadHalf,
    status: &str,
    body: &str,
    length: u64,
    buffer: BytesMut,
) {
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
    // `connection` owns the other half of the same socket.
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
