//! What is listened on: a Unix socket, or TCP with or without TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use super::tls;
use super::unix::UnixSocket;
use crate::config::Tcp;

/// How long a client may take over the TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// A socket that is listened on.
pub enum Listener {
    /// A Unix socket.
    Unix(UnixSocket),
    /// A TCP port.
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// An accepted connection, its handshake still to be made.
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
    /// Listens on TCP; `key` is the setting that has the address.
    ///
    /// # Errors
    /// When the port is taken, or the certificate cannot be used.
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

    /// Where it listens, for people.
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

    /// The next connection.
    ///
    /// # Errors
    /// When there will be no more.
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
                // Out of file descriptors, or the client left already: the next one may be luckier.
                Err(error) => {
                    warn!("could not accept a connection: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Stream {
    /// Where it is from, when that is an address.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(stream, _) => stream.peer_addr().ok(),
        }
    }

    /// Makes the handshake, where there is one.
    ///
    /// # Errors
    /// When the handshake fails or takes too long.
    pub async fn establish(self) -> io::Result<Pin<Box<dyn Duplex>>> {
        match self {
            Self::Unix(stream) => Ok(Box::pin(stream)),
            Self::Tcp(stream, acceptor) => {
                stream.set_nodelay(true)?;
                match acceptor {
                    None => Ok(Box::pin(stream)),
                    Some(acceptor) => Ok(Box::pin(
                        timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await??,
                    )),
                }
            }
        }
    }
}
