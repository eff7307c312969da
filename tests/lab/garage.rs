//! A real S3 server: one Garage node on loopback.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Bucket, guard, holds_eventually, part, port, repository};

const REGION: &str = "garage";

/// A Garage server with one access key. Data, ports and key survive `kill` and `start`.
pub(crate) struct Garage {
    folder: PathBuf,
    /// S3, admin, RPC.
    ports: [u16; 3],
    admin_token: String,
    pub(crate) key_id: String,
    pub(crate) secret: String,
    process: Mutex<Option<Child>>,
}

/// The shared server, for tests that never stop it.
pub(crate) fn shared() -> &'static Garage {
    static SHARED: OnceLock<Garage> = OnceLock::new();
    SHARED.get_or_init(|| {
        // Each test has its own runtime; the server outlives them all.
        let start = || {
            tokio::runtime::Runtime::new()
                .unwrap()
                .block_on(Garage::new())
        };
        std::thread::spawn(start).join().unwrap()
    })
}

impl Garage {
    /// Starts a separate server.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("garage-")
            .tempdir()
            .unwrap()
            .keep();
        guard::folder(&folder);
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let garage = Self {
            folder,
            ports: [port::free(), port::free(), port::free()],
            admin_token: random(),
            key_id: format!("GK{}", &random()[..24]),
            secret: random().repeat(2),
            process: Mutex::default(),
        };
        garage.start().await;
        garage
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// The server's log lines about a bucket.
    pub(crate) fn log_about(&self, bucket: &Bucket) -> String {
        super::lines_with(&self.log_path(), &bucket.name)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Starts the server on its data and waits until it answers.
    pub(crate) async fn start(&self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut command = Command::new(repository().join("tests/lab/garage-server"));
        command
            .arg(part("garage"))
            .arg(&self.folder)
            .arg("127.0.0.1")
            .args(self.ports.map(|port| port.to_string()))
            .env("GARAGE_REGION", REGION)
            .env("GARAGE_ADMIN_TOKEN", &self.admin_token)
            .env("GARAGE_DEFAULT_ACCESS_KEY", &self.key_id)
            .env("GARAGE_DEFAULT_SECRET_KEY", &self.secret);
        *self.process.lock().unwrap() = Some(guard::spawn(&mut command, log));
        let answers = || async {
            self.admin("GetClusterStatus", None).await.is_ok()
                && TcpStream::connect(("127.0.0.1", self.ports[0]))
                    .await
                    .is_ok()
        };
        assert!(
            holds_eventually(answers).await,
            "Garage does not answer; it wrote:\n{}",
            super::lines_with(&self.log_path(), "")
        );
    }

    /// Ends the server at once.
    pub(crate) fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().unwrap();
            process.wait().unwrap();
            guard::ended(process.id());
        }
    }

    /// Creates a bucket that the key owns.
    pub(crate) async fn bucket(&self) -> Bucket {
        let name = format!("ha-{}", uuid::Uuid::new_v4().simple());
        // A bucket created over S3 would be visible to its own key alone.
        let bucket = self
            .admin("CreateBucket", Some(json!({"globalAlias": name})))
            .await
            .unwrap();
        let permissions = json!({"read": true, "write": true, "owner": true});
        self.allow(&bucket["id"], &self.key_id, permissions).await;
        Bucket::new(&self.endpoint(), REGION, &name, &self.key_id, &self.secret)
    }

    /// Creates another key with `permissions` on a bucket.
    pub(crate) async fn key_for(&self, bucket: &Bucket, permissions: Value) -> (String, String) {
        let found = self
            .admin(&format!("GetBucketInfo?globalAlias={}", bucket.name), None)
            .await
            .unwrap();
        let key = self
            .admin("CreateKey", Some(json!({"name": "guest"})))
            .await
            .unwrap();
        let [key_id, secret] =
            ["accessKeyId", "secretAccessKey"].map(|name| key[name].as_str().unwrap().to_owned());
        self.allow(&found["id"], &key_id, permissions).await;
        (key_id, secret)
    }

    async fn allow(&self, bucket_id: &Value, key_id: &str, permissions: Value) {
        let request =
            json!({"bucketId": bucket_id, "accessKeyId": key_id, "permissions": permissions});
        self.admin("AllowBucketKey", Some(request)).await.unwrap();
    }

    /// Deletes a key.
    pub(crate) async fn forget_key(&self, key_id: &str) {
        // The answer is empty, hence no JSON.
        let url = format!(
            "http://127.0.0.1:{}/v2/DeleteKey?id={key_id}",
            self.ports[1]
        );
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http
            .post(url)
            .bearer_auth(&self.admin_token)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    async fn admin(&self, call: &str, body: Option<Value>) -> Result<Value, reqwest::Error> {
        let url = format!("http://127.0.0.1:{}/v2/{call}", self.ports[1]);
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()?;
        let request = match &body {
            Some(body) => http.post(url).json(body),
            None => http.get(url),
        };
        request
            .bearer_auth(&self.admin_token)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        self.kill();
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Simulates a restart of the server that takes `seconds`.
pub(crate) async fn away_for(garage: &Garage, seconds: u64) {
    garage.kill();
    sleep(Duration::from_secs(seconds)).await;
    garage.start().await;
}
