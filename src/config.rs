//! Configuration: from the user's files and variables to a validated [`Config`], or to all problems at once.
//!
//! [`settings`] is the table of settings, [`layers`] merges the sources, [`reader`] reads typed values by the table,
//! [`location`] and [`s3`] check how they fit together.

mod bucket;
mod credentials;
mod duplicates;
mod embedded;
mod endpoint;
mod fingerprint;
pub(crate) mod folder;
pub mod layers;
mod listen;
pub mod location;
mod pem;
mod problem;
mod proxy;
mod reader;
mod report;
pub mod s3;
pub mod secret;
pub mod settings;
mod supervisor;
#[cfg(test)]
mod tests;
mod verify;
mod wire;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use credentials::Encryption;
pub use fingerprint::Fingerprint;
pub use folder::FolderId;
pub(crate) use layers::Environment;
pub use listen::{Listen, SocketAccess, Tcp, TlsFiles};
pub use location::{Backend, Location, Origin};
pub use problem::{KINDS as PROBLEMS, Problem, Problems};
pub use proxy::{BadProxy, Proxy, ProxyVariable, proxy_url};
pub use report::Written;
pub use s3::{Choice, S3Settings};
pub use secret::Secret;
pub use supervisor::Supervisor;
pub use verify::Verify;
pub use wire::Wire;

use crate::logging::{Format, Level};
use reader::Reader;
use supervisor::Defaults;

/// The agent's configuration, validated.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory for the lock, the token, the journals and the embedded location.
    pub state_dir: PathBuf,
    /// Sockets and who may use them.
    pub listen: Listen,
    /// The log.
    pub log: Log,
    /// The backup locations.
    pub locations: Vec<Location>,
    /// The values that the user set and their sources, without secrets.
    pub written: Vec<Written>,
    /// Supervisor, if it runs the agent.
    pub supervisor: Option<Supervisor>,
    /// Problems of settings that were skipped: an app stays up, so that its page can show them. Empty without Supervisor.
    pub problems: Vec<Problem>,
}

/// The `[log]` section.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// Records below this level are left out.
    pub level: Level,
    /// How records are written.
    pub format: Format,
}

impl Config {
    /// Loads the layers: defaults, then `file`, then the app's options, then the environment.
    ///
    /// # Errors
    /// Every problem, each with its key and source. Under Supervisor loading never fails: the configuration skips settings
    /// with a problem, and holds the problems.
    pub fn load(file: Option<&Path>) -> Result<Self, Problems> {
        // Variables that are not UTF-8 are not the agent's.
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
        let problems = problems.into_iter().map(Problem::with_effect).collect();
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
        let listen = reader.section("listen", settings::LISTEN, |section| {
            Listen::read(section, &state_dir, defaults)
        });
        let level = reader.parsed("log_level").unwrap_or_default();
        let log = reader.section("log", settings::LOG, |section| Log {
            level: section.parsed("level").unwrap_or(level),
            format: section.parsed("format").unwrap_or_default(),
        });
        let mut locations = reader.list("locations", settings::LOCATION, Location::read);
        duplicates::remove(&mut locations, reader);
        let is_only = locations.is_empty() && !reader.has("locations");
        if supervisor.is_none() {
            locations.extend(embedded::embedded(&state_dir, &locations, is_only));
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
