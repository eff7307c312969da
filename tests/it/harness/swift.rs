//! A real S3 server made by other people than Garage: `OpenStack` Swift with its S3 API on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use super::garage::free_port;
use super::{Bucket, eventually, guard};

const REGION: &str = "swift-lab";
const OWNER: &str = "lab:owner";
const GUEST: &str = "lab:guest";

/// A Swift server with two keys that share a secret.
pub(crate) struct Swift {
    folder: PathBuf,
    port: u16,
    secret: String,
    process: Mutex<Child>,
}

/// The server that all tests share.
pub(crate) fn shared() -> &'static Swift {
    static SHARED: OnceLock<Swift> = OnceLock::new();
    SHARED.get_or_init(Swift::start)
}

impl Swift {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("swift-").tempdir().unwrap().keep();
        guard::folder(&folder);
        let (port, secret) = (free_port(), uuid::Uuid::new_v4().simple().to_string());
        let log = fs::File::create(folder.join("log")).unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(repository.join("scripts/in-root"));
        command.arg(root()).arg("python3").arg(repository.join("tests/lab/swift_server.py"));
        command.arg(&folder).arg(port.to_string()).env("SWIFT_REGION", REGION).env("SWIFT_SECRET", &secret);
        let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        guard::started(process.id());
        Self { folder, port, secret, process: Mutex::new(process) }
    }

    /// Makes a bucket that the first key owns, as soon as the server can.
    pub(crate) async fn bucket(&self) -> Bucket {
        let name = format!("ha-{}", uuid::Uuid::new_v4().simple());
        let bucket = Bucket::new(&format!("http://127.0.0.1:{}", self.port), REGION, &name, OWNER, &self.secret);
        eventually("Swift makes a bucket", || async {
            self.is_running();
            bucket.make().await
        })
        .await;
        bucket
    }

    /// A key that may do nothing.
    pub(crate) fn guest(&self) -> (String, String) {
        (GUEST.to_owned(), self.secret.clone())
    }

    /// What it wrote about a bucket.
    pub(crate) fn said_of(&self, bucket: &Bucket) -> String {
        super::lines_about(&self.folder.join("log"), &bucket.name)
    }

    fn is_running(&self) {
        let ended = self.process.lock().unwrap().try_wait().unwrap();
        assert!(ended.is_none(), "Swift ended:\n{}", super::lines_about(&self.folder.join("log"), ""));
    }
}

/// Path of the root file system that it is in, which is made when it is missing.
fn root() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/parts/swift");
    let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "scripts/parts/swift failed");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}
