//! S3 servers that run as one process, with the owner's access key and a guest's.

pub(crate) mod ceph;
pub(crate) mod juicefs;
pub(crate) mod moto;
pub(crate) mod rclone;
pub(crate) mod seaweedfs;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Bucket, guard, port};

/// The region that a client without one signs for.
const REGION: &str = "us-east-1";

/// Upper bound for a start; Ceph needs half a minute on an idle machine.
const START: Duration = Duration::from_mins(5);

/// A running server.
pub(crate) struct Daemon {
    name: &'static str,
    place: Place,
    process: Mutex<Child>,
}

/// What a server is started with.
struct Place {
    /// An empty folder for its data.
    folder: PathBuf,
    /// The port of its S3 API.
    port: u16,
    /// Owns all buckets.
    owner: Key,
    /// Has no permission.
    guest: Key,
}

/// An access key.
struct Key {
    id: String,
    secret: String,
}

impl Key {
    fn random() -> Self {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        Self {
            id: format!("LAB{}", random()[..17].to_uppercase()),
            secret: random(),
        }
    }
}

impl Place {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Daemon {
    /// Starts a server with the command for its place.
    fn start(name: &'static str, command: impl FnOnce(&Place) -> Command) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir()
            .unwrap()
            .keep();
        guard::folder(&folder);
        let place = Place {
            folder,
            port: port::free(),
            owner: Key::random(),
            guest: Key::random(),
        };
        let log = fs::File::create(place.log()).unwrap();
        let process = guard::spawn(command(&place).current_dir(&place.folder), log);
        Self {
            name,
            place,
            process: Mutex::new(process),
        }
    }

    /// Creates a bucket that the owner's key may do everything with, as soon as the server is ready.
    pub(crate) async fn bucket(&self) -> Bucket {
        let name = format!("ha-{}", uuid::Uuid::new_v4().simple());
        let Key { id, secret } = &self.place.owner;
        let bucket = Bucket::new(&self.place.endpoint(), REGION, &name, id, secret);
        let deadline = Instant::now() + START;
        while !bucket.make().await {
            assert!(
                self.is_running() && Instant::now() < deadline,
                "{} does not start; it wrote:\n{}",
                self.name,
                self.log_about("")
            );
            sleep(Duration::from_millis(100)).await;
        }
        bucket
    }

    /// A key without permissions.
    pub(crate) fn guest(&self) -> (String, String) {
        let Key { id, secret } = &self.place.guest;
        (id.clone(), secret.clone())
    }

    /// The server's log lines that contain `word`.
    pub(crate) fn log_about(&self, word: &str) -> String {
        super::lines_with(&self.place.log(), word)
    }

    fn is_running(&self) -> bool {
        let mut process = self.process.lock().unwrap();
        process.try_wait().unwrap().is_none()
    }
}
