//! Home Assistant's Supervisor, when it runs the agent as an app: where things are then, and how to reach it.
//!
//! Source: "App configuration" and "Communication" in Home Assistant's developer documentation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::{Environment, Secret};

/// What Supervisor keeps for the app, and what is in the app's backups.
const STATE_DIR: &str = "/data";

/// In a folder that Home Assistant has, too, and any other app that asks for it: only root may look inside.
const SOCKET: &str = "/share/s3_backup_agent/agent.sock";

/// From where Supervisor passes on what a browser asks of the page. It has asked for a login before.
const INGRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 32, 2));

/// `ingress_port` in `addon/config.yaml`.
const PAGE_PORT: u16 = 8099;

/// Supervisor, which runs this agent.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// Its host, with a port when that is not 80.
    pub host: String,
    /// What it knows this app by.
    pub token: Secret,
}

/// What holds where nothing else is set.
#[derive(Debug)]
pub(super) struct Defaults {
    pub(super) state_dir: PathBuf,
    pub(super) socket: Option<PathBuf>,
    pub(super) has_token_file: bool,
    pub(super) page: Option<SocketAddr>,
    pub(super) page_from: Vec<IpAddr>,
}

impl Supervisor {
    /// Supervisor, if this process is one of its apps.
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
            page: Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PAGE_PORT)),
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

/// `/var/lib/s3-backup-agent` for root, the user's own state folder for anybody else.
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
