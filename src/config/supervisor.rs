//! Home Assistant's Supervisor, if it runs the agent as an app: its paths and its address.
//!
//! Source: "App configuration" and "Communication" in Home Assistant's developer documentation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::layers::Environment;
use super::secret::Secret;

/// Supervisor keeps this directory for the app, and includes it in the app's backups.
const STATE_DIR: &str = "/data";

/// In a directory that Home Assistant shares, and any other app may map: only root has access to it.
const SOCKET: &str = "/share/s3_backup_agent/agent.sock";

/// Supervisor forwards the page's requests from this address, after Home Assistant's login.
const INGRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 32, 2));

/// The Supervisor that runs this agent.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// Its host, with a port when that is not 80.
    pub host: String,
    /// The app's token.
    pub token: Secret,
}

/// Defaults that depend on how the agent runs.
#[derive(Debug)]
pub(super) struct Defaults {
    pub(super) state_dir: PathBuf,
    pub(super) socket: Option<PathBuf>,
    pub(super) has_token_file: bool,
    pub(super) page: Option<SocketAddr>,
    pub(super) page_from: Vec<IpAddr>,
}

impl Supervisor {
    /// Port of the page, `ingress_port` in `addon/config.yaml`.
    pub const PAGE_PORT: u16 = 8099;

    /// The Supervisor, if this process is one of its apps.
    pub(super) fn of(environment: &Environment) -> Option<Self> {
        let token = environment
            .get("SUPERVISOR_TOKEN")
            .filter(|token| !token.is_empty())?;
        let host = environment
            .get("SUPERVISOR")
            .filter(|host| !host.is_empty());
        let host = host.map_or_else(|| "supervisor".to_owned(), Clone::clone);
        Some(Self {
            host,
            token: Secret::new(token.as_str()),
        })
    }
}

impl Defaults {
    pub(super) fn under_supervisor() -> Self {
        Self {
            state_dir: PathBuf::from(STATE_DIR),
            socket: Some(PathBuf::from(SOCKET)),
            has_token_file: true,
            page: Some(SocketAddr::new(
                Ipv4Addr::UNSPECIFIED.into(),
                Supervisor::PAGE_PORT,
            )),
            page_from: vec![INGRESS],
        }
    }

    pub(super) fn elsewhere(environment: &Environment) -> Self {
        Self {
            state_dir: state_dir(environment),
            socket: None,
            has_token_file: false,
            page: None,
            page_from: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        }
    }
}

/// `/var/lib/s3-backup-agent` for root, the user's own state directory for other users.
fn state_dir(environment: &Environment) -> PathBuf {
    let folder = |name: &str| {
        environment
            .get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let shared = Path::new("/var/lib/s3-backup-agent");
    if environment.get("USER").is_none_or(|user| user == "root") {
        return shared.to_owned();
    }
    folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
        .map_or_else(|| shared.to_owned(), |state| state.join("s3-backup-agent"))
}
