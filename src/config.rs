//! Configuration: what the person wrote becomes a validated [`Config`], or every problem with it at once.
//!
//! [`layers`] puts the sources over one another, [`reader`] takes typed values out and notes each problem with its key
//! and source, [`location`] knows a location's settings, [`s3`] those of a bucket.

mod endpoint;
pub mod layers;
pub mod location;
mod pem;
mod reader;
mod report;
pub mod s3;
pub mod secret;
pub mod settings;
mod size;
mod supervisor;
mod verify;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

pub use location::{Backend, Location, Origin};
pub use report::Written;
pub use s3::{Choice, Encryption, S3Settings, Wire};
pub use secret::Secret;
pub use supervisor::Supervisor;
pub use verify::Verify;

use crate::error::Reason;
use crate::logging::{Format, Level};
use reader::Reader;
use supervisor::Defaults;

/// Environment variables.
pub(crate) type Environment = HashMap<String, String>;

/// Everything the agent needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the agent keeps what must last: its lock, its token, its journal, the embedded location.
    pub state_dir: PathBuf,
    /// Where it listens.
    pub listen: Listen,
    /// What it logs.
    pub log: Log,
    /// The backup locations.
    pub locations: Vec<Location>,
    /// What was written and where, without secrets.
    pub written: Vec<Written>,
    /// Who runs the agent, when that is Supervisor.
    pub supervisor: Option<Supervisor>,
    /// What is wrong and was left out: an app stays up, so that its page can tell. Empty without Supervisor.
    pub problems: Vec<Problem>,
}

/// The `[listen]` section.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Address for other hosts; a token is always asked for here.
    pub tcp: Option<Tcp>,
    /// Token that every call needs; on the Unix socket only when it is set.
    pub token: Option<Secret>,
    /// File that holds the token; made with a random one when it is missing.
    pub token_file: Option<PathBuf>,
    /// Address of the page for people.
    pub page: Option<Tcp>,
    /// Who may open the page there without the token.
    pub page_from: Vec<IpAddr>,
}

/// A TCP listener.
#[derive(Debug, Clone)]
pub struct Tcp {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificate and key; without them only loopback is allowed, unless `tcp_without_tls` says otherwise.
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

/// The `[log]` section.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// Records below this level are left out.
    pub level: Level,
    /// How records are written.
    pub format: Format,
}

/// One thing that is wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, as in `locations[0].bucket`.
    pub key: String,
    /// Where the value came from: a file, an environment variable, or nothing at all.
    pub source: Option<String>,
    /// What is wrong with it and what to write instead. Never holds a secret's value.
    pub message: String,
    /// What exactly is wrong, where many people meet it.
    pub reason: Option<Reason>,
    /// A value that would be right.
    pub suggestion: Option<String>,
}

impl Problem {
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            source: None,
            message: message.into(),
            reason: None,
            suggestion: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        match &self.source {
            Some(source) => write!(f, " (from {source})"),
            None => Ok(()),
        }
    }
}

/// All that is wrong in the configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} problem{}:{}", .0.len(), if .0.len() == 1 { "" } else { "s" }, lines(.0))]
pub struct Problems(pub Vec<Problem>);

fn lines(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |text, problem| {
        format!("{text}\n  {problem}")
    })
}

impl Config {
    /// Loads the layers: defaults, then `file`, then the app's options, then the environment.
    ///
    /// # Errors
    /// Every problem found, each with its key and source. Under Supervisor there is always a configuration: what has a
    /// problem is left out of it, and the problems are in it.
    pub fn load(file: Option<&Path>) -> Result<Self, Problems> {
        // What is not UTF-8 is not for us.
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables: Environment = std::env::vars_os().filter_map(text).collect();
        let options = variables
            .get(layers::APP_OPTIONS_VARIABLE)
            .map_or(layers::APP_OPTIONS, String::as_str);
        Self::from_layers(file, Path::new(options), &variables)
    }

    pub(crate) fn from_layers(
        file: Option<&Path>,
        options: &Path,
        environment: &Environment,
    ) -> Result<Self, Problems> {
        let (value, mut problems) = layers::merged(file, options, environment);
        let written = report::written(&value);
        let mut reader = Reader::new(value, environment);
        let config = Self::read(&mut reader, environment);
        problems.extend(reader.finish().0);
        if config.supervisor.is_none() && !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Self {
            written,
            problems,
            ..config
        })
    }

    fn read(reader: &mut Reader<'_>, environment: &Environment) -> Self {
        let supervisor = Supervisor::of(environment);
        let defaults = match supervisor {
            Some(_) => Defaults::under_supervisor(),
            None => Defaults::elsewhere(environment),
        };
        let state_dir = reader
            .path("state_dir")
            .unwrap_or_else(|| defaults.state_dir.clone());
        let listen = reader.section("listen", |section| {
            Listen::read(section, &state_dir, defaults)
        });
        let log = reader.section("log", Log::read);
        let mut locations = reader.list("locations", Location::read);
        location::remove_duplicates(&mut locations, reader);
        if locations.is_empty() && !reader.has("locations") && supervisor.is_none() {
            locations.push(Location::embedded(&state_dir));
        }
        Self {
            state_dir,
            listen,
            log,
            locations,
            supervisor,
            written: Vec::new(),
            problems: Vec::new(),
        }
    }
}

impl Listen {
    fn read(section: &mut Reader<'_>, state_dir: &Path, defaults: Defaults) -> Self {
        let socket = section
            .path("socket")
            .or(defaults.socket)
            .unwrap_or_else(|| state_dir.join("agent.sock"));
        let mut token = section.secret("token");
        if token
            .as_ref()
            .is_some_and(|token| token.expose().len() < 16)
        {
            section.problem("token", "is too short: use 16 characters or more");
            token = None;
        }
        let token_file = section.path("token_file");
        let token_file =
            token_file.or_else(|| defaults.has_token_file.then(|| state_dir.join("token")));
        let tls = TlsFiles::read(section);
        let is_safe = section.boolean("tcp_without_tls").unwrap_or(false);
        let mut tcp = Tcp::read(section, "tcp", tls.clone(), is_safe);
        if section.has("tcp") && token.is_none() && token_file.is_none() {
            section.problem(
                "tcp",
                "needs a token: set listen.token_file (it is made when missing) or listen.token",
            );
            tcp = None;
        }
        // Supervisor speaks no TLS with its apps, on a network that is theirs alone.
        let page = match defaults.page {
            Some(address) => {
                Tcp::read(section, "page", None, true).or(Some(Tcp { address, tls: None }))
            }
            None => Tcp::read(section, "page", tls, is_safe),
        };
        let page_from = section.texts("page_from").map(|addresses| {
            let parsed = addresses
                .iter()
                .filter_map(|address| address.parse().ok())
                .collect::<Vec<_>>();
            if parsed.len() < addresses.len() {
                section.problem("page_from", "must be IP addresses, such as [\"192.0.2.7\"]");
            }
            parsed
        });
        Self {
            socket,
            tcp,
            token,
            token_file,
            page,
            page_from: page_from.unwrap_or(defaults.page_from),
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
        let address: SocketAddr =
            section.parsed(key, "an address with a port, such as \"127.0.0.1:8099\"")?;
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

impl Log {
    fn read(section: &mut Reader<'_>) -> Self {
        let level = section.parsed("level", "one of error, warn, info, debug, trace");
        let format = section.parsed("format", "\"plain\" or \"json\"");
        Self {
            level: level.unwrap_or_default(),
            format: format.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
