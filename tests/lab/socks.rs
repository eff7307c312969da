//! A SOCKS5 proxy. Every name leads to this machine.
//!
//! Source: RFC 1928, and RFC 1929 for the password.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// The proxy.
pub(crate) struct Socks {
    port: u16,
    asked: Asked,
    _accepting: AbortOnDropHandle<()>,
}

/// Hosts that clients asked for.
type Asked = Arc<Mutex<Vec<String>>>;

impl Socks {
    /// A proxy for all clients, or for this user and password.
    pub(crate) async fn start(user: Option<(&'static str, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Asked::default();
        let shared = Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, user, Arc::clone(&shared)));
            }
        });
        Self {
            port,
            asked,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Hosts that clients asked for since the last call, without repetitions.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.sort();
        asked.dedup();
        asked
    }
}

/// Ends when the client breaks off.
async fn serve(
    mut client: TcpStream,
    user: Option<(&str, &str)>,
    asked: Asked,
) -> std::io::Result<()> {
    let [_version, methods] = [client.read_u8().await?, client.read_u8().await?];
    let mut offered = vec![0; methods.into()];
    client.read_exact(&mut offered).await?;
    let method = if user.is_some() { 2 } else { 0 };
    if !offered.contains(&method) {
        return client.write_all(&[5, 0xff]).await;
    }
    client.write_all(&[5, method]).await?;
    if let Some((name, password)) = user {
        client.read_u8().await?;
        let given = [text(&mut client).await?, text(&mut client).await?];
        let is_right = given == [name, password];
        client.write_all(&[1, u8::from(!is_right)]).await?;
        if !is_right {
            return Ok(());
        }
    }
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let host = match head[3] {
        1 => Ipv4Addr::from(client.read_u32().await?).to_string(),
        4 => Ipv6Addr::from(client.read_u128().await?).to_string(),
        _ => text(&mut client).await?,
    };
    let port = client.read_u16().await?;
    asked.lock().unwrap().push(host);
    let server = TcpStream::connect(("127.0.0.1", port)).await;
    let reply = if server.is_ok() { 0 } else { 5 };
    client
        .write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
        .await?;
    copy_bidirectional(&mut client, &mut server?).await?;
    Ok(())
}

async fn text(client: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
