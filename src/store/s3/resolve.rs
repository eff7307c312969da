//! Name resolution, with an error of its own for an unknown host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub(super) struct SystemResolver;

/// A host without an address.
#[derive(Debug, thiserror::Error)]
#[error("the host \"{host}\" has no address: {source}")]
pub(super) struct NoSuchHost {
    host: String,
    source: io::Error,
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = addresses(name.as_str(), 0).await?;
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
