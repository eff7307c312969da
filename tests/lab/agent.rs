//! The agent as a separate process.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::call::Client;
use super::{Setup, TIMEOUT, guard};

/// A running agent. Dropping it asserts that its output contains no secret.
pub(crate) struct Agent {
    pub(crate) setup: Setup,
    pub(crate) client: Client,
    process: Child,
    printed: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    has_ended: bool,
}

impl std::ops::Deref for Agent {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Agent {
    /// Starts an agent and waits until it is healthy.
    pub(crate) async fn start(setup: Setup) -> Self {
        let mut process = setup
            .command()
            .arg("serve")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        guard::started(process.id());
        let printed = Arc::<Mutex<String>>::default();
        let readers = vec![
            collect(process.stdout.take().unwrap(), &printed),
            collect(process.stderr.take().unwrap(), &printed),
        ];
        let client = Client::unix(&setup.socket());
        let mut agent = Self {
            setup,
            client,
            process,
            printed,
            readers,
            has_ended: false,
        };
        let deadline = Instant::now() + TIMEOUT;
        while !agent.is_well().await {
            let ended = agent.process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the agent does not start:\n{}",
                agent.printed()
            );
            sleep(Duration::from_millis(20)).await;
        }
        agent
    }

    /// Starts an ended agent again in the same folder.
    pub(crate) async fn restarted(mut ended: Self) -> Self {
        assert!(ended.has_ended);
        let unused = Setup::with([]);
        let setup = std::mem::replace(&mut ended.setup, unused);
        setup.assert_no_secret(&ended.printed());
        Self::start(setup).await
    }

    /// A path in the agent's own mount namespace.
    pub(crate) fn inside(&self, name: &str) -> PathBuf {
        let path = self.setup.path(name);
        Path::new(&format!("/proc/{}/root", self.process.id()))
            .join(path.strip_prefix("/").unwrap())
    }

    /// Everything printed so far.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// Peak resident memory in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        peak.trim()
            .strip_suffix("kB")
            .unwrap()
            .trim()
            .parse::<u64>()
            .unwrap()
            * 1024
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.process.id());
        assert!(
            Command::new("sh")
                .args(["-c", &command])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits until the process ends.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                self.note_end();
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the agent does not exit:\n{}",
                self.printed()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the process, as a power cut does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.note_end();
    }

    fn note_end(&mut self) {
        guard::ended(self.process.id());
        self.has_ended = true;
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.has_ended {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("the agent printed:\n{}", self.printed());
        } else {
            self.setup.assert_no_secret(&self.printed());
            self.setup.assert_no_secret(&self.client.answered());
        }
    }
}

fn collect(pipe: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut text = into.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    })
}
