//! Listeners: a Unix socket, or TCP with or without TLS.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use super::auth::{Confidential, Peer};
use super::tls;
use super::unix_socket::UnixSocket;
use crate::config::Tcp;

/// Timeout for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A listening socket.
pub enum Listener {
    /// A Unix socket.
    Unix(UnixSocket),
    /// A TCP port.
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// An accepted connection before its TLS handshake.
pub enum Stream {
    /// From the Unix socket.
    Unix(UnixStream),
    /// From TCP.
    Tcp(TcpStream, Option<TlsAcceptor>),
}

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Listener {
    /// Listens on TCP. Errors name `key`, the setting that holds the address.
    ///
    /// # Errors
    /// When the port is taken or the certificate is unusable.
    pub async fn tcp(settings: &Tcp, key: &str) -> io::Result<Self> {
        let acceptor = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let bound = TcpListener::bind(settings.address).await.map_err(|error| {
            let why = format!(
                "Cannot listen on {}: {error}. Choose another port for {key}.",
                settings.address
            );
            io::Error::new(error.kind(), why)
        });
        Ok(Self::Tcp(bound?, acceptor))
    }

    /// The address, as a URL for people.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Unix(socket) => format!("unix://{}", socket.path().display()),
            Self::Tcp(listener, acceptor) => {
                let scheme = if acceptor.is_some() { "https" } else { "http" };
                listener.local_addr().map_or_else(
                    |_| scheme.to_owned(),
                    |address| format!("{scheme}://{address}"),
                )
            }
        }
    }

    /// Accepts the next connection.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        loop {
            let accepted = match self {
                Self::Unix(socket) => socket.accept().await.map(Stream::Unix),
                Self::Tcp(listener, acceptor) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| Stream::Tcp(stream, acceptor.clone())),
            };
            match accepted {
                Ok(stream) => return Ok(stream),
                // Out of file descriptors, or the client disconnected: the next call may succeed.
                Err(error) => {
                    warn!("cannot accept a connection, retrying: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Stream {
    /// The client. A listener for both versions of IP shows an IPv4 address inside an IPv6 one, hence canonical.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer(match self {
            Self::Unix(_) => None,
            Self::Tcp(stream, _) => stream.peer_addr().ok().map(|peer| peer.ip().to_canonical()),
        })
    }

    /// Whether the connection is confidential.
    #[must_use]
    pub fn confidential(&self) -> Confidential {
        Confidential(matches!(self, Self::Unix(_) | Self::Tcp(_, Some(_))))
    }

    /// Completes the TLS handshake, if there is one.
    ///
    /// # Errors
    /// When the handshake fails or times out.
    pub async fn establish(self) -> io::Result<Box<dyn Duplex>> {
        match self {
            Self::Unix(stream) => Ok(Box::new(stream)),
            Self::Tcp(stream, acceptor) => {
                stream.set_nodelay(true)?;
                match acceptor {
                    None => Ok(Box::new(stream)),
                    Some(acceptor) => Ok(Box::new(
                        timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??,
                    )),
                }
            }
        }
    }
}
