//! A real S3 server of another vendor than Garage: `OpenStack` Swift with its S3 API on loopback.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock};

use tokio::net::TcpStream;

use super::{Bucket, eventually, guard, part, port, repository};

const REGION: &str = "swift-lab";
const OWNER: &str = "lab:owner";
const GUEST: &str = "lab:guest";

/// A Swift server with two keys that share a secret.
pub(crate) struct Swift {
    folder: PathBuf,
    port: u16,
    secret: String,
    process: Mutex<Option<Child>>,
}

/// The shared server.
pub(crate) fn shared() -> &'static Swift {
    static SHARED: OnceLock<Swift> = OnceLock::new();
    SHARED.get_or_init(Swift::start)
}

impl Swift {
    /// Starts a separate server.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("swift-")
            .tempdir()
            .unwrap()
            .keep();
        guard::folder(&folder);
        let (port, secret) = (port::free(), uuid::Uuid::new_v4().simple().to_string());
        let swift = Self {
            folder,
            port,
            secret,
            process: Mutex::default(),
        };
        swift.start_again();
        swift
    }

    /// Starts the server on its data.
    pub(crate) fn start_again(&self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let mut command = Command::new(repository().join("scripts/in-root"));
        command
            .arg(part("swift"))
            .arg("python3")
            .arg(repository().join("tests/lab/swift_server.py"))
            .arg(&self.folder);
        command
            .arg(self.port.to_string())
            .env("SWIFT_REGION", REGION)
            .env("SWIFT_SECRET", &self.secret);
        *self.process.lock().unwrap() = Some(guard::spawn(&mut command, log));
    }

    /// Kills the server; the kernel kills its services with it.
    pub(crate) fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().unwrap();
            process.wait().unwrap();
            guard::ended(process.id());
        }
    }

    /// Returns whether it accepts a connection.
    pub(crate) async fn answers(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
    }

    /// Creates a bucket that the first key owns, as soon as the server is ready.
    pub(crate) async fn bucket(&self) -> Bucket {
        let name = format!("ha-{}", uuid::Uuid::new_v4().simple());
        let bucket = Bucket::new(
            &format!("http://127.0.0.1:{}", self.port),
            REGION,
            &name,
            OWNER,
            &self.secret,
        );
        eventually("Swift makes a bucket", || async {
            self.is_running();
            bucket.make().await
        })
        .await;
        bucket
    }

    /// A key without permissions.
    pub(crate) fn guest(&self) -> (String, String) {
        (GUEST.to_owned(), self.secret.clone())
    }

    /// The server's log lines about a bucket.
    pub(crate) fn log_about(&self, bucket: &Bucket) -> String {
        super::lines_with(&self.folder.join("log"), &bucket.name)
    }

    fn is_running(&self) {
        let is_running = self
            .process
            .lock()
            .unwrap()
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_none());
        assert!(
            is_running,
            "Swift ended:\n{}",
            super::lines_with(&self.folder.join("log"), "")
        );
    }
}

impl Drop for Swift {
    fn drop(&mut self) {
        self.kill();
        drop(fs::remove_dir_all(&self.folder));
    }
}
