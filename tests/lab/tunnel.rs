//! An HTTP proxy that speaks TLS itself, and opens tunnels.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::quirks::{Certificate, Identity};

/// The proxy, named `localhost`.
pub(crate) struct Tunnel {
    /// The certificate of its authority, PEM.
    pub(crate) authority: String,
    port: u16,
    opened: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

impl Tunnel {
    pub(crate) async fn start(certificate: Certificate) -> Self {
        let Identity {
            acceptor,
            authority,
        } = Identity::new(certificate);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let opened = Arc::<AtomicUsize>::default();
        let shared = Arc::clone(&opened);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, acceptor.clone(), Arc::clone(&shared)));
            }
        });
        Self {
            authority,
            port,
            opened,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Number of tunnels that it opened.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

/// Ends when the client breaks off.
async fn serve(
    client: TcpStream,
    acceptor: TlsAcceptor,
    opened: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut client = BufReader::new(acceptor.accept(client).await?);
    let mut first = String::new();
    client.read_line(&mut first).await?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if client.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
    let address = first.split(' ').nth(1).unwrap_or_default();
    let mut server = TcpStream::connect(address).await?;
    opened.fetch_add(1, Ordering::Relaxed);
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
