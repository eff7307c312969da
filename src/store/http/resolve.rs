//! Host names to addresses, with an error that says so when there is none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub(super) struct SystemResolver;

/// A host without an address.
#[derive(Debug, thiserror::Error)]
#[error("the host \"{host}\" has no address: {source}")]
pub(in crate::store) struct NoSuchHost {
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

/// The addresses of a host.
///
/// Names under `localhost` are this machine, whatever the system's resolver says of them: RFC 6761, section 6.3. A
/// server of one's own that wants the bucket in the host name is reached that way.
pub(in crate::store) async fn addresses(
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, NoSuchHost> {
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
