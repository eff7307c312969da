//! `[listen]`: sockets, TLS, token, page.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::reader::Reader;
use super::secret::Secret;
use super::supervisor::Defaults;

/// The `[listen]` section.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Who may use it.
    pub socket_access: SocketAccess,
    /// Address for other hosts, where every call needs a token.
    pub tcp: Option<Tcp>,
    /// Token that every call needs; on the Unix socket only when it is set.
    pub token: Option<Secret>,
    /// File with the token; the agent writes a random one into it when it is missing.
    pub token_file: Option<PathBuf>,
    /// Address of the agent's page.
    pub page: Option<Tcp>,
    /// Addresses that may open the page without the token.
    pub page_from: Vec<IpAddr>,
}

/// Mode and group of the Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAccess {
    /// Mode of the file.
    pub mode: u32,
    /// Name or number of its group; none for that of the agent's user.
    pub group: Option<String>,
}

/// A TCP listener.
#[derive(Debug, Clone)]
pub struct Tcp {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificate and key; without them only loopback is allowed, unless `tcp_without_tls` is set.
    pub tls: Option<TlsFiles>,
}

/// PEM files for TLS.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

impl Listen {
    pub(super) fn read(section: &mut Reader<'_>, state_dir: &Path, defaults: Defaults) -> Self {
        let socket = section.path("socket").or(defaults.socket);
        let token = read_token(section);
        let token_file = section
            .path("token_file")
            .or_else(|| defaults.has_token_file.then(|| state_dir.join("token")));
        let tls = TlsFiles::read(section);
        let is_safe = section.parsed("tcp_without_tls").unwrap_or(false);
        let mut tcp = Tcp::read(section, "tcp", tls.clone(), is_safe);
        if section.has("tcp") && token.is_none() && token_file.is_none() {
            section.problem(
                "tcp",
                "needs a token: set listen.token_file (the agent creates the file) or listen.token",
            );
            tcp = None;
        }
        // Supervisor connects to its apps without TLS, on a network of their own.
        let page = match defaults.page {
            Some(address) => {
                Tcp::read(section, "page", None, true).or(Some(Tcp { address, tls: None }))
            }
            None => Tcp::read(section, "page", tls, is_safe),
        };
        Self {
            socket: socket.unwrap_or_else(|| state_dir.join("agent.sock")),
            socket_access: SocketAccess::read(section),
            tcp,
            token,
            token_file,
            page,
            page_from: read_addresses(section, "page_from").unwrap_or(defaults.page_from),
        }
    }
}

fn read_token(section: &mut Reader<'_>) -> Option<Secret> {
    let token = section.secret("token")?;
    if token.expose().len() < 16 {
        section.problem("token", "is too short: use 16 characters or more");
        return None;
    }
    Some(token)
}

fn read_addresses(section: &mut Reader<'_>, key: &str) -> Option<Vec<IpAddr>> {
    let texts = section.texts(key)?;
    let parsed: Vec<_> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    if parsed.len() < texts.len() {
        section.refuse(key, &texts.join(", "));
    }
    Some(parsed)
}

impl Default for SocketAccess {
    fn default() -> Self {
        Self {
            mode: 0o600,
            group: None,
        }
    }
}

impl SocketAccess {
    fn read(section: &mut Reader<'_>) -> Self {
        let mode = section.text("socket_mode");
        let mode = mode.and_then(|mode| u32::from_str_radix(&mode, 8).ok());
        Self {
            group: section.text("socket_group"),
            ..mode.map_or_else(Self::default, |mode| Self { mode, group: None })
        }
    }
}

impl TlsFiles {
    fn read(section: &mut Reader<'_>) -> Option<Self> {
        let certificate = section.path("tls_cert");
        let key = section.path("tls_key");
        if certificate.is_some() != key.is_some() {
            section.problem(
                "tls_cert",
                "belongs together with listen.tls_key: set both or neither",
            );
        }
        Some(Self {
            certificate: certificate?,
            key: key?,
        })
    }
}

impl Tcp {
    fn read(
        section: &mut Reader<'_>,
        key: &str,
        tls: Option<TlsFiles>,
        is_safe: bool,
    ) -> Option<Self> {
        let address: SocketAddr = section.parsed(key)?;
        if tls.is_none() && !address.ip().is_loopback() && !is_safe {
            section.problem(
                key,
                "would send backups and the token unencrypted over the network: set listen.tls_cert and listen.tls_key, \
                 or listen.tcp_without_tls = true when the network itself is safe",
            );
            return None;
        }
        Some(Self { address, tls })
    }
}
