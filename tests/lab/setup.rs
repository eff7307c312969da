//! A configuration in a folder of its own, for the agent and for the command line.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Map;

use super::{Agent, Bucket, guard};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_s3-backup-agent");

/// A user and a group that own nothing.
const SOMEBODY_ELSE: u32 = 65_534;

/// The start of a command that somebody else runs.
pub(crate) fn as_somebody_else() -> Command {
    let mut command = Command::new("setpriv");
    let (user, group) = (
        format!("--reuid={SOMEBODY_ELSE}"),
        format!("--regid={SOMEBODY_ELSE}"),
    );
    command.args([&user, &group, "--clear-groups"]);
    command
}

/// One `[[locations]]` section.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) endpoint: String,
    /// Left out when it is empty.
    pub(crate) region: String,
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) part_size: String,
    pub(crate) concurrency: u32,
    pub(crate) outage_seconds: u64,
    /// Any other setting, and one that says otherwise.
    pub(crate) options: Vec<(String, String)>,
}

impl Location {
    /// The location `garage`: this bucket, small parts.
    pub(crate) fn of(bucket: &Bucket) -> Self {
        Self {
            id: "garage".into(),
            provider: "garage".into(),
            endpoint: bucket.endpoint.clone(),
            region: bucket.region.clone(),
            bucket: bucket.name.clone(),
            prefix: String::new(),
            key_id: bucket.key_id.clone(),
            secret: bucket.secret.clone(),
            part_size: "5 MiB".into(),
            concurrency: 4,
            outage_seconds: 60,
            options: Vec::new(),
        }
    }

    /// Adds a setting, or sets one that is there otherwise.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.options.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The settings as a request's body.
    pub(crate) fn json(&self) -> serde_json::Value {
        self.settings()
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect::<Map<_, _>>()
            .into()
    }

    /// All settings that are not empty; the last of two with one name counts.
    fn settings(&self) -> BTreeMap<String, String> {
        let fixed = [
            ("id", &self.id),
            ("provider", &self.provider),
            ("endpoint", &self.endpoint),
            ("region", &self.region),
            ("bucket", &self.bucket),
            ("prefix", &self.prefix),
            ("access_key_id", &self.key_id),
            ("secret_access_key", &self.secret),
            ("part_size", &self.part_size),
            ("concurrency", &self.concurrency.to_string()),
            ("outage_seconds", &self.outage_seconds.to_string()),
        ];
        let fixed = fixed
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.clone()));
        fixed
            .chain(self.options.clone())
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    fn toml(&self) -> String {
        let lines = self
            .settings()
            .into_iter()
            .map(|(key, value)| format!("{key} = {value:?}\n"));
        lines.fold("[[locations]]\n".to_owned(), |toml, line| toml + &line)
    }
}

/// A folder with an `agent.toml`.
pub(crate) struct Setup {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) locations: Vec<Location>,
    /// Lines of `[listen]` beside the socket's path.
    pub(crate) listen: String,
    /// Never to be seen in anything that the program prints.
    pub(crate) secrets: Vec<String>,
    /// The state directory is on a file system of its own, made so.
    pub(crate) state_on: Option<StateOn>,
    /// Said in a shell before the program starts.
    pub(crate) before: String,
    /// Somebody else than who runs the tests runs the program.
    pub(crate) is_somebody_elses: bool,
    /// Environment variables.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// A file system for the state directory, which one command alone sees.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StateOn {
    /// It cannot be written.
    ReadOnly,
    /// It has room for 1 MiB.
    OneMebibyte,
    /// It has room for nothing.
    Full,
}

impl StateOn {
    fn script(self) -> String {
        let mount = match self {
            Self::ReadOnly => "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"",
            Self::OneMebibyte => "mount -t tmpfs -o size=1m,mode=700 tmpfs \"$1\"",
            Self::Full => "mount -t tmpfs -o nr_inodes=1,mode=700 tmpfs \"$1\"",
        };
        format!("{mount} && shift && exec \"$@\"")
    }
}

/// What a command came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Setup {
    pub(crate) fn of(location: Location) -> Self {
        Self::with([location])
    }

    pub(crate) fn with(locations: impl IntoIterator<Item = Location>) -> Self {
        let folder = tempfile::Builder::new().prefix("agent-").tempdir().unwrap();
        guard::folder(folder.path());
        let locations: Vec<_> = locations.into_iter().collect();
        let secrets = locations.iter().map(|location| location.secret.clone());
        let secrets = secrets
            .filter(|secret| !secret.is_empty() && !secret.starts_with("${"))
            .collect();
        let (listen, before, state_on, variables) =
            (String::new(), String::new(), None, Vec::new());
        let is_somebody_elses = false;
        let setup = Self {
            folder,
            locations,
            listen,
            secrets,
            state_on,
            before,
            is_somebody_elses,
            variables,
        };
        setup.write();
        setup
    }

    /// Adds lines to `[listen]`.
    pub(crate) fn listening(mut self, lines: &str) -> Self {
        self.listen += lines;
        self.listen.push('\n');
        self.write();
        self
    }

    /// Something more that must never be printed.
    pub(crate) fn keeping_secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// Starts the program with this umask.
    pub(crate) fn with_umask(mut self, umask: &str) -> Self {
        self.before = format!("umask {umask}");
        self
    }

    /// Starts the program where a crash leaves a dump.
    pub(crate) fn with_dumps(mut self) -> Self {
        self.before = "ulimit -c unlimited".to_owned();
        self
    }

    /// Somebody else runs the program, and owns its folder. What is in the folder already stays as it is.
    pub(crate) fn run_by_somebody_else(mut self) -> Self {
        chown(self.folder.path(), Some(SOMEBODY_ELSE), Some(SOMEBODY_ELSE)).unwrap();
        self.is_somebody_elses = true;
        self
    }

    /// Sets an environment variable.
    pub(crate) fn with_variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    pub(crate) async fn serve(self) -> Agent {
        Agent::start(self).await
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("run/agent.sock")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with this configuration and nothing of the tests' own environment that could change it.
    pub(crate) fn command(&self) -> Command {
        let mut command = if let Some(state) = self.state_on {
            let mut command = Command::new("unshare");
            command.args([
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                &state.script(),
                "sh",
            ]);
            command.arg(self.path("state")).arg(BINARY);
            command
        } else if self.is_somebody_elses {
            let mut command = as_somebody_else();
            command.arg(BINARY);
            command
        } else if self.before.is_empty() {
            Command::new(BINARY)
        } else {
            let mut command = Command::new("sh");
            command.args([
                "-c",
                &format!("{} && exec \"$0\" \"$@\"", self.before),
                BINARY,
            ]);
            command
        };
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.arg("--config").arg(self.path("agent.toml"));
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(arguments);
        self.finish(command).await
    }

    /// Runs what [`Self::command`] gave to its end.
    pub(crate) async fn finish(&self, mut command: Command) -> Ran {
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let ran = Ran {
            code: output.status.code().unwrap(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        self.assert_no_secret(&ran.stderr);
        self.assert_no_secret(&String::from_utf8_lossy(&ran.stdout));
        ran
    }

    pub(crate) fn assert_no_secret(&self, text: &str) {
        for secret in &self.secrets {
            assert!(
                !text.contains(secret.as_str()),
                "a secret was printed:\n{text}"
            );
        }
    }

    fn write(&self) {
        let folder = self.folder.path().display();
        let socket = self.socket();
        let mut toml = format!(
            "state_dir = \"{folder}/state\"\n[listen]\nsocket = {socket:?}\n{}",
            self.listen
        );
        for location in &self.locations {
            toml += &location.toml();
        }
        fs::write(self.path("agent.toml"), toml).unwrap();
    }
}

impl Ran {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.stdout).unwrap()
    }

    /// The one JSON document on standard output.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Asserts the exit code, and shows what was printed when it is another.
    pub(crate) fn ended_with(self, code: i32) -> Self {
        let stdout = String::from_utf8_lossy(&self.stdout);
        assert_eq!(
            self.code,
            code,
            "\n{}\n{}",
            &stdout[..stdout.len().min(2000)],
            self.stderr
        );
        self
    }
}
