//! The server: connections, and access to its content past all quirks.

mod connections;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::between::Between;
use super::failing::{Failing, Failure};
use super::front::Counts;
use super::storage::{Keys, Permissions, Storage, Uploads};
use super::tls::Identity;
use super::{Certificate, Quirk, Quirks};
use crate::lab::{Bucket, Location, eventually, guard};
use connections::accept;

/// A server with one bucket and one key.
pub(crate) struct Imitation {
    pub(crate) bucket: String,
    pub(crate) key_id: String,
    pub(crate) secret: String,
    /// The certification authority's certificate, PEM; empty without TLS.
    pub(crate) authority: String,
    folder: tempfile::TempDir,
    scheme: &'static str,
    host: &'static str,
    port: u16,
    uploads: Uploads,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

struct Shared {
    quirks: Quirks,
    service: S3Service,
    counts: Counts,
    failing: Failing,
    between: Between,
    requests: Mutex<Vec<Parts>>,
    quirks_shown: AtomicUsize,
    /// Parts in flight.
    busy: AtomicUsize,
    /// Open connections, and requests in progress.
    at_work: Arc<()>,
    /// Of those, the ones that hang forever.
    hanging: Arc<()>,
}

/// The bucket in a host name: before `.localhost`.
struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'h>(&'h self, host: &'h str) -> s3s::S3Result<VirtualHost<'h>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        Ok(match name.strip_suffix(".localhost") {
            Some(bucket) => VirtualHost::new("localhost").with_bucket(bucket),
            None => VirtualHost::new(host),
        })
    }
}

impl Imitation {
    /// A server with these quirks, without TLS.
    pub(crate) async fn with(quirks: impl IntoIterator<Item = Quirk>) -> Self {
        Self::start(quirks.into_iter().collect(), None).await
    }

    /// A server without quirks, with TLS.
    pub(crate) async fn with_tls(certificate: Certificate) -> Self {
        Self::start(Vec::new(), Some(Identity::new(certificate))).await
    }

    async fn start(quirks: Vec<Quirk>, identity: Option<Identity>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("imitation-")
            .tempdir()
            .unwrap();
        guard::folder(folder.path());
        let (bucket, key_id, secret) = (
            "ha-backups",
            "AKIDIMITATION0000001",
            "the/secret+of-the-imitation0000000000001",
        );
        fs::create_dir(folder.path().join(bucket)).unwrap();
        let (quirks, uploads) = (Quirks(quirks), Uploads::default());
        let storage = Storage::new(folder.path(), quirks.clone(), uploads.clone());
        let service = service(
            storage,
            Keys {
                key_id: key_id.into(),
                secret: secret.into(),
            },
            quirks.clone(),
        );
        let host = if quirks.has(&Quirk::VirtualHostsOnly) {
            "localhost"
        } else {
            "127.0.0.1"
        };
        let shared = Arc::new(Shared::new(quirks, service));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if identity.is_some() { "https" } else { "http" };
        let authority = identity
            .as_ref()
            .map(|identity| identity.authority.clone())
            .unwrap_or_default();
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(
            listener,
            Arc::clone(&shared),
            identity,
        )));
        let [bucket, key_id, secret] = [bucket, key_id, secret].map(str::to_owned);
        Self {
            bucket,
            key_id,
            secret,
            authority,
            folder,
            scheme,
            host,
            port,
            uploads,
            shared,
            _accepting: accepting,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address())
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The location `other` with the minimum of settings: endpoint, bucket and key.
    pub(crate) fn location(&self) -> Location {
        Location {
            id: "other".into(),
            provider: "other".into(),
            endpoint: self.endpoint(),
            region: String::new(),
            bucket: self.bucket.clone(),
            prefix: String::new(),
            key_id: self.key_id.clone(),
            secret: self.secret.clone(),
            part_size: "5 MiB".into(),
            concurrency: 4,
            outage_seconds: 60,
            options: Vec::new(),
        }
        .with("ca_certificate", &self.authority)
    }

    /// Makes `count` requests fail, starting with number `from` after this call.
    pub(crate) fn fail(&self, from: usize, count: usize, failure: Failure) {
        self.shared.failing.plan(from, count, failure);
    }

    /// Ends all failures, and restarts the count.
    pub(crate) fn heal(&self) {
        self.shared.failing.heal();
    }

    /// Number of requests since [`Self::fail`] or [`Self::heal`].
    pub(crate) fn requests_since(&self) -> usize {
        self.shared.failing.seen()
    }

    /// Returns whether no client is connected and no request is in progress, hanging ones
    /// aside.
    pub(crate) fn is_at_rest(&self) -> bool {
        Arc::strong_count(&self.shared.at_work) == Arc::strong_count(&self.shared.hanging)
    }

    /// Makes all content look this much older: objects, unfinished uploads and their parts.
    pub(crate) fn make_older(&self, by: Duration) {
        self.uploads.make_older(by);
        for key in self.keys() {
            let file = fs::File::open(self.folder.path().join(&self.bucket).join(key)).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.set_modified(modified - by).unwrap();
        }
    }

    /// Returns whether the server has this quirk.
    pub(crate) fn has(&self, quirk: &Quirk) -> bool {
        self.shared.quirks.has(quirk)
    }

    /// The same bucket for plain signed requests.
    pub(crate) fn bucket(&self) -> Bucket {
        Bucket::new(
            &self.endpoint(),
            "garage",
            &self.bucket,
            &self.key_id,
            &self.secret,
        )
    }

    /// Number of requests that a quirk broke or refused before any object was touched.
    pub(crate) fn quirks_shown(&self) -> usize {
        self.shared.quirks_shown.load(Ordering::SeqCst)
    }

    /// Every key, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let bucket = self.folder.path().join(&self.bucket);
        let mut keys = Vec::new();
        add_keys(&bucket, &bucket, &mut keys);
        keys.sort();
        keys
    }

    /// Keys of unfinished multipart uploads.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        self.uploads.keys()
    }

    /// Reads an object past all quirks.
    pub(crate) fn get(&self, key: &str) -> Bytes {
        self.try_get(key).unwrap()
    }

    /// Reads an object past all quirks, if it exists.
    pub(crate) fn try_get(&self, key: &str) -> Option<Bytes> {
        fs::read(self.folder.path().join(&self.bucket).join(key))
            .ok()
            .map(Bytes::from)
    }

    /// Writes an object past all quirks.
    pub(crate) fn put(&self, key: &str, data: impl AsRef<[u8]>) {
        let path = self.folder.path().join(&self.bucket).join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }

    /// Deletes an object past all quirks, if it exists.
    pub(crate) fn remove(&self, key: &str) {
        drop(fs::remove_file(
            self.folder.path().join(&self.bucket).join(key),
        ));
    }

    /// Number of requests so far that `matches`.
    pub(crate) fn count(&self, matches: impl Fn(&Parts) -> bool) -> usize {
        self.shared
            .requests
            .lock()
            .unwrap()
            .iter()
            .filter(|request| matches(request))
            .count()
    }

    /// Waits until the bucket holds exactly these keys and no unfinished upload.
    pub(crate) async fn wait_until_keys_are(&self, keys: &[&str]) {
        let what = format!("the bucket holds {keys:?} and nothing else");
        eventually(&what, async || {
            self.unfinished().is_empty() && self.keys() == keys
        })
        .await;
    }
}

fn add_keys(bucket: &Path, folder: &Path, keys: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            add_keys(bucket, &entry.path(), keys);
        } else {
            keys.push(
                entry
                    .path()
                    .strip_prefix(bucket)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
}

fn service(storage: Storage, keys: Keys, quirks: Quirks) -> S3Service {
    let mut builder = S3ServiceBuilder::new(storage);
    builder.set_auth(keys);
    builder.set_access(Permissions(quirks));
    builder.set_host(Hosts);
    // `front` decides about clock skew.
    let mut config = S3Config::default();
    config.presigned_url_max_skew_time_secs = u32::MAX;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}
