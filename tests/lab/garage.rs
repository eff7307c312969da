//! A real S3 server: one Garage node on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Bucket, comes_to_be, guard, port};

const REGION: &str = "garage";

/// A Garage server with one access key. Keeps data, ports and key when it is stopped and started again.
pub(crate) struct Garage {
    folder: PathBuf,
    s3_port: u16,
    admin_port: u16,
    admin_token: String,
    pub(crate) key_id: String,
    pub(crate) secret: String,
    process: Mutex<Option<Child>>,
}

/// The server that all tests share which never stop it.
pub(crate) fn shared() -> &'static Garage {
    static SHARED: OnceLock<Garage> = OnceLock::new();
    SHARED.get_or_init(|| {
        // Tests have runtimes of their own; the server outlives them all.
        let start = || {
            tokio::runtime::Runtime::new()
                .unwrap()
                .block_on(Garage::new())
        };
        std::thread::spawn(start).join().unwrap()
    })
}

impl Garage {
    /// Starts a server, gives it a layout and makes a key.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("garage-")
            .tempdir()
            .unwrap()
            .keep();
        guard::folder(&folder);
        let mut garage = Self {
            s3_port: port::free(),
            admin_port: port::free(),
            admin_token: uuid::Uuid::new_v4().simple().to_string(),
            key_id: String::new(),
            secret: String::new(),
            process: Mutex::default(),
            folder,
        };
        garage.configure();
        garage.start().await;
        let status = garage.admin("GetClusterStatus", None).await.unwrap();
        let role = json!({"id": status["nodes"][0]["id"], "zone": "lab", "capacity": 1_u64 << 40, "tags": []});
        garage
            .admin("UpdateClusterLayout", Some(json!({"roles": [role]})))
            .await
            .unwrap();
        let version = status["layoutVersion"].as_u64().unwrap() + 1;
        garage
            .admin("ApplyClusterLayout", Some(json!({"version": version})))
            .await
            .unwrap();
        let key = garage
            .admin("CreateKey", Some(json!({"name": "lab"})))
            .await
            .unwrap();
        garage.key_id = key["accessKeyId"].as_str().unwrap().to_owned();
        garage.secret = key["secretAccessKey"].as_str().unwrap().to_owned();
        garage
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3_port)
    }

    /// What it wrote about a bucket.
    pub(crate) fn said_of(&self, bucket: &Bucket) -> String {
        super::lines_about(&self.log_path(), &bucket.name)
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
        let mut command = Command::new(binary());
        command
            .arg("-c")
            .arg(self.folder.join("garage.toml"))
            .arg("server")
            .env("RUST_LOG", "garage=info");
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        guard::started(process.id());
        *self.process.lock().unwrap() = Some(process);
        let answers = || async {
            self.admin("GetClusterStatus", None).await.is_ok() && self.s3_answers().await
        };
        assert!(
            comes_to_be(answers).await,
            "Garage does not answer; it wrote:\n{}",
            super::lines_about(&self.log_path(), "")
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

    /// Makes a bucket that the key owns.
    pub(crate) async fn bucket(&self) -> Bucket {
        let name = format!("ha-{}", uuid::Uuid::new_v4().simple());
        let bucket = self
            .admin("CreateBucket", Some(json!({"globalAlias": name})))
            .await
            .unwrap();
        let (bucket_id, key_id) = (bucket["id"].as_str().unwrap(), &self.key_id);
        self.allow(
            bucket_id,
            key_id,
            json!({"read": true, "write": true, "owner": true}),
        )
        .await;
        Bucket::new(&self.endpoint(), REGION, &name, &self.key_id, &self.secret)
    }

    /// Makes one more key, and lets it do `permissions` with a bucket.
    pub(crate) async fn key_for(&self, bucket: &Bucket, permissions: Value) -> (String, String) {
        let found = self
            .admin(&format!("GetBucketInfo?globalAlias={}", bucket.name), None)
            .await
            .unwrap();
        let key = self
            .admin("CreateKey", Some(json!({"name": "guest"})))
            .await
            .unwrap();
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        self.allow(
            found["id"].as_str().unwrap(),
            &text("accessKeyId"),
            permissions,
        )
        .await;
        (text("accessKeyId"), text("secretAccessKey"))
    }

    /// Takes a key away.
    pub(crate) async fn forget_key(&self, key_id: &str) {
        // It answers with nothing, which is no JSON.
        let url = format!(
            "http://127.0.0.1:{}/v2/DeleteKey?id={key_id}",
            self.admin_port
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

    async fn allow(&self, bucket_id: &str, key_id: &str, permissions: Value) {
        let request =
            json!({"bucketId": bucket_id, "accessKeyId": key_id, "permissions": permissions});
        self.admin("AllowBucketKey", Some(request)).await.unwrap();
    }

    fn configure(&self) {
        let folder = self.folder.display();
        let secret = uuid::Uuid::new_v4().simple().to_string().repeat(2);
        let (rpc_port, admin_token) = (port::free(), &self.admin_token);
        let text = format!(
            "metadata_dir = \"{folder}/meta\"\ndata_dir = \"{folder}/data\"\ndb_engine = \"sqlite\"\n\
             replication_factor = 1\nrpc_bind_addr = \"127.0.0.1:{rpc_port}\"\n\
             rpc_public_addr = \"127.0.0.1:{rpc_port}\"\nrpc_secret = \"{secret}\"\n\
             [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"127.0.0.1:{}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{}\"\nadmin_token = \"{admin_token}\"\n",
            self.s3_port, self.admin_port
        );
        fs::write(self.folder.join("garage.toml"), text).unwrap();
    }

    async fn s3_answers(&self) -> bool {
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(self.endpoint())
            .send()
            .await
            .is_ok()
    }

    async fn admin(&self, call: &str, body: Option<Value>) -> Result<Value, reqwest::Error> {
        let url = format!("http://127.0.0.1:{}/v2/{call}", self.admin_port);
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

/// Takes a server away and brings it back after a while, as a restart does.
pub(crate) async fn away_for(garage: &Garage, seconds: u64) {
    garage.kill();
    sleep(Duration::from_secs(seconds)).await;
    garage.start().await;
}

/// Path of the server, which is built when it is missing.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/parts/garage");
        let output = Command::new(script)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "scripts/parts/garage failed");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}
