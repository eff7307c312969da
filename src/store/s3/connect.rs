//! The first connection among several addresses ("happy eyeballs", RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Delay before the next address is tried beside the earlier ones. Source: "Connection Attempt Delay" in RFC 8305, section 5.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Connects to the first of these addresses that accepts; one that swallows packets costs [`NEXT_AFTER`].
///
/// # Errors
/// The last address's error.
pub(super) async fn connect_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = alternating(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let next = waiting.next();
        let has_next = next.is_some();
        attempts.extend(next.map(TcpStream::connect));
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = sleep(NEXT_AFTER), if has_next => {}
        }
    }
}

/// Alternates between IPv6 and IPv4, beginning with the resolver's first choice: a whole family may be unreachable.
fn alternating(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let begins_with_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv6() == begins_with_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    while order.len() < addresses.len() {
        order.extend(first.next());
        order.extend(second.next());
    }
    order
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::Instant;

    use super::*;

    /// An address that swallows packets: the kernel drops them while the queue of connections is full.
    pub(in crate::store::s3) async fn swallowing(
        port: u16,
    ) -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::from(([127, 0, 0, 9], port)))
            .unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(NEXT_AFTER, TcpStream::connect(address)).await
        {
            queue.push(connected.unwrap());
        }
        (address, listener, queue)
    }

    #[tokio::test]
    async fn address_that_swallows_packets_costs_a_moment() {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = good.local_addr().unwrap();
        let (bad, _listener, _queue) = swallowing(0).await;
        let start = Instant::now();
        let connected = connect_first(&[bad, good]).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), good);
        assert!(start.elapsed() >= NEXT_AFTER);
    }

    #[tokio::test]
    async fn refused_addresses_are_passed_at_once() {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = good.local_addr().unwrap();
        // Nothing listens at this address.
        let closed = SocketAddr::from(([127, 0, 0, 10], good.port()));
        let connected = connect_first(&[closed, good]).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), good);
        let refused = connect_first(&[closed, closed]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect_first(&[]).await.is_err());
    }

    #[test]
    fn families_alternate() {
        let addresses = ["[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1"];
        let addresses = addresses.map(|address| address.parse().unwrap());
        let expected = ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1"];
        assert_eq!(
            alternating(&addresses),
            expected.map(|address| address.parse().unwrap())
        );
    }
}
