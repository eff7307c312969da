//! A configuration in its own folder, for agent and command line.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Map;

use super::{Agent, Bucket, guard};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_s3-backup-agent");

/// A user and a group that own nothing.
const OTHER_USER: u32 = 65_534;

/// Prefix of a command run by another user.
pub(crate) fn as_other_user() -> Command {
    let mut command = Command::new("setpriv");
    let (user, group) = (
        format!("--reuid={OTHER_USER}"),
        format!("--regid={OTHER_USER}"),
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
    /// Omitted if empty.
    pub(crate) region: String,
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) part_size: String,
    pub(crate) concurrency: u32,
    pub(crate) outage_seconds: u64,
    /// Additional settings; they override the fields above.
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

    /// The location `disk`: a local directory, small parts.
    pub(crate) fn directory(path: &Path) -> Self {
        Self {
            id: "disk".into(),
            provider: String::new(),
            endpoint: format!("file://{}", path.display()),
            region: String::new(),
            bucket: String::new(),
            prefix: String::new(),
            key_id: String::new(),
            secret: String::new(),
            part_size: "5 MiB".into(),
            concurrency: 4,
            outage_seconds: 60,
            options: Vec::new(),
        }
    }

    /// The same folder under another name of this machine; the agent takes it for another one.
    pub(crate) fn by_host_name(mut self) -> Self {
        self.endpoint = self.endpoint.replace("127.0.0.1", "localhost");
        self
    }

    /// Adds or overrides a setting.
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

    /// All nonempty settings; the last of a name wins.
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
    /// Texts that the program must never print.
    pub(crate) secrets: Vec<String>,
    /// A separate file system for the state directory.
    pub(crate) state_on: Option<StateOn>,
    /// Shell commands before the program's start.
    pub(crate) before: String,
    /// The program runs as another user than the tests.
    pub(crate) is_other_user: bool,
    /// Environment variables.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// A file system for the state directory, visible to one command only.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StateOn {
    /// Read-only.
    ReadOnly,
    /// Room for 1 MiB.
    OneMebibyte,
    /// No room at all.
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

/// Exit code and output of a command.
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
        let is_other_user = false;
        let setup = Self {
            folder,
            locations,
            listen,
            secrets,
            state_on,
            before,
            is_other_user,
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

    /// Replaces the locations, for the next start.
    pub(crate) fn set_locations(&mut self, locations: impl IntoIterator<Item = Location>) {
        self.locations = locations.into_iter().collect();
        self.write();
    }

    /// Adds a text that must never be printed.
    pub(crate) fn keeping_secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// Starts the program with this umask.
    pub(crate) fn with_umask(mut self, umask: &str) -> Self {
        self.before = format!("umask {umask}");
        self
    }

    /// Starts the program with core dumps enabled.
    pub(crate) fn with_dumps(mut self) -> Self {
        self.before = "ulimit -c unlimited".to_owned();
        self
    }

    /// Runs the program as another user, who owns the folder. Existing files keep their owner.
    pub(crate) fn run_as_other_user(mut self) -> Self {
        chown(self.folder.path(), Some(OTHER_USER), Some(OTHER_USER)).unwrap();
        self.is_other_user = true;
        self
    }

    /// Sets an environment variable.
    pub(crate) fn with_variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Whether there is a location with this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.locations.iter().any(|location| location.id == id)
    }

    /// Logs each retry, too.
    pub(crate) fn verbose(self) -> Self {
        self.with_variable("S3_BACKUP_AGENT__LOG__LEVEL", "debug")
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

    /// The program with this configuration, isolated from the tests' environment.
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
        } else if self.is_other_user {
            let mut command = as_other_user();
            command.arg(BINARY);
            command
        } else if self.before.is_empty() {
            // The tests themselves may run under `nohup`.
            let mut command = Command::new("env");
            command.args(["--default-signal=HUP", BINARY]);
            command
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

    /// Runs a [`Self::command`] to its end.
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

    /// The JSON document on standard output.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Asserts the exit code; shows the output on failure.
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
