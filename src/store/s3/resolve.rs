//! Name resolution, with an error of its own for an unknown host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::{Instant, timeout};

use super::connect::connect_first;

/// Time limit for finding the address that accepts first. The client has its own for the connection after that.
const ORDER_LIMIT: Duration = Duration::from_secs(5);

/// How long an address counts as the one that accepts first.
const ORDER_LASTS: Duration = Duration::from_mins(1);

/// The system's resolver, which puts the address first that accepts first.
///
/// The client tries the addresses of one family one after the other, and each that swallows packets costs seconds there.
#[derive(Debug, Clone)]
pub(super) struct SystemResolver {
    /// Port that connections are opened to; none leaves the order as it is.
    port: Option<u16>,
    first: Arc<Mutex<Option<(IpAddr, Instant)>>>,
}

impl SystemResolver {
    pub(super) fn new(port: Option<u16>) -> Self {
        Self {
            port,
            first: Arc::default(),
        }
    }

    /// Moves the address to the front that accepts first.
    async fn order(&self, addresses: &mut [SocketAddr]) {
        let Some(port) = self.port.filter(|_| addresses.len() > 1) else {
            return;
        };
        let known = (*self.first.lock()).filter(|(_, since)| since.elapsed() < ORDER_LASTS);
        let known = known
            .map(|(first, _)| first)
            .filter(|first| addresses.iter().any(|found| found.ip() == *first));
        let Some(first) = (if known.is_some() {
            known
        } else {
            self.find_first(addresses, port).await
        }) else {
            return;
        };
        addresses.sort_by_key(|address| address.ip() != first);
    }

    /// Returns the address that accepts first.
    async fn find_first(&self, addresses: &[SocketAddr], port: u16) -> Option<IpAddr> {
        let with_port: Vec<_> = addresses
            .iter()
            .map(|address| SocketAddr::new(address.ip(), port))
            .collect();
        let connected = timeout(ORDER_LIMIT, connect_first(&with_port)).await.ok()?;
        let first = connected.ok()?.peer_addr().ok()?.ip();
        *self.first.lock() = Some((first, Instant::now()));
        Some(first)
    }
}

/// A host without an address.
#[derive(Debug, thiserror::Error)]
#[error("the host \"{host}\" has no address: {source}")]
pub(super) struct NoSuchHost {
    host: String,
    source: io::Error,
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let mut addresses = addresses(name.as_str(), 0).await?;
            resolver.order(&mut addresses).await;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Resolves a host name.
///
/// Names under `localhost` are always this machine (RFC 6761, section 6.3): so a local server can have the bucket in its
/// host name.
pub(super) async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, NoSuchHost> {
    if host.ends_with(".localhost") {
        let loopback = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        return Ok(loopback
            .map(|address| SocketAddr::new(address, port))
            .to_vec());
    }
    let no_such_host = |source| NoSuchHost {
        host: host.to_owned(),
        source,
    };
    Ok(tokio::net::lookup_host((host, port))
        .await
        .map_err(no_such_host)?
        .collect())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::store::s3::connect::tests::swallowing;

    #[tokio::test]
    async fn address_that_accepts_comes_first() {
        let (bad, _listener, _queue) = swallowing(0).await;
        let good = TcpListener::bind(("127.0.0.1", bad.port())).await.unwrap();
        let good = good.local_addr().unwrap().ip();
        let found = |address| SocketAddr::new(address, 0);
        let resolver = SystemResolver::new(Some(bad.port()));
        for _ in 0..2 {
            let mut addresses = [bad.ip(), good].map(found);
            resolver.order(&mut addresses).await;
            assert_eq!(addresses, [good, bad.ip()].map(found));
        }
        let mut addresses = [bad.ip(), good].map(found);
        SystemResolver::new(None).order(&mut addresses).await;
        assert_eq!(addresses, [bad.ip(), good].map(found), "a proxy connects");
    }
}
