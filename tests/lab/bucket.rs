//! A view of a bucket that shares only the signature with the agent: plain signed requests for raw
//! keys.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, StatusCode};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::capability::NoUploads;
use super::sample::hex;
use super::{Sample, holds_eventually};

const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// A bucket and the access key that owns it.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) key_id: String,
    pub(crate) secret: String,
    /// The answer to a list of unfinished uploads where none was ever begun.
    pub(super) no_uploads: NoUploads,
    http: reqwest::Client,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default, alias = "Upload")]
    contents: Vec<Entry>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_continuation_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    #[serde(default)]
    upload_id: String,
}

impl Entry {
    fn decoded(&self) -> String {
        percent_decode_str(&self.key.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    }
}

impl Bucket {
    pub(super) fn new(
        endpoint: &str,
        region: &str,
        name: &str,
        key_id: &str,
        secret: &str,
    ) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_mins(1))
            .build()
            .unwrap();
        let [name, endpoint, region, key_id, secret] =
            [name, endpoint, region, key_id, secret].map(str::to_owned);
        Self {
            name,
            endpoint,
            region,
            key_id,
            secret,
            no_uploads: NoUploads::Empty,
            http,
        }
    }

    /// Creates the bucket; returns false on failure.
    pub(super) async fn make(&self) -> bool {
        self.attempt(Method::PUT, "", Bytes::new())
            .await
            .is_ok_and(|(status, _)| status.is_success())
    }

    /// Writes an object under exactly this key.
    pub(crate) async fn put(&self, key: &str, data: impl Into<Bytes>) {
        self.call(Method::PUT, &path(key), data.into()).await;
    }

    /// Writes a backup like the layout's other writer: metadata without our fields, keys from
    /// the stem.
    pub(crate) async fn put_backup(&self, folder: &str, stem: &str, sample: &Sample) {
        self.put(&format!("{folder}backups/{stem}.tar"), sample.tar.clone())
            .await;
        self.put(
            &format!("{folder}backups/{stem}.metadata.json"),
            sample.metadata.to_string(),
        )
        .await;
    }

    pub(crate) async fn get(&self, key: &str) -> Bytes {
        self.call(Method::GET, &path(key), Bytes::new()).await
    }

    /// Size and SHA-256 of an object larger than memory.
    pub(crate) async fn sha256(&self, key: &str) -> (u64, String) {
        let head = self.ask(Method::HEAD, &path(key), &[], Bytes::new()).await;
        let size: u64 = head.headers()["content-length"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let mut hash = Context::new(&SHA256);
        for start in (0..size).step_by(64 << 20) {
            let range = format!("bytes={start}-{}", size.min(start + (64 << 20)) - 1);
            let answer = self
                .ask(Method::GET, &path(key), &[("range", &range)], Bytes::new())
                .await;
            hash.update(&answer.bytes().await.unwrap());
        }
        (size, hex(hash.finish().as_ref()))
    }

    /// Returns whether a plain signed GET, without further headers, succeeds.
    pub(crate) async fn can_be_read(&self, key: &str) -> bool {
        self.attempt(Method::GET, &path(key), Bytes::new())
            .await
            .is_ok_and(|(status, _)| status.is_success())
    }

    pub(crate) async fn text(&self, key: &str) -> String {
        String::from_utf8(self.get(key).await.to_vec()).unwrap()
    }

    pub(crate) async fn json(&self, key: &str) -> Value {
        serde_json::from_slice(&self.get(key).await).unwrap()
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.call(Method::DELETE, &path(key), Bytes::new()).await;
    }

    /// Every key, sorted.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let (mut keys, mut token) = (Vec::new(), String::new());
        loop {
            let page = self
                .page(&format!("/?{token}encoding-type=url&list-type=2"))
                .await;
            keys.extend(page.contents.iter().map(Entry::decoded));
            if !page.is_truncated {
                keys.sort();
                return keys;
            }
            let next = page.next_continuation_token.unwrap();
            token = format!("continuation-token={}&", utf8_percent_encode(&next, QUERY));
        }
    }

    /// Keys of unfinished multipart uploads. Only a server that says "no such upload" for none may say so here: from
    /// another, it would hide what is left.
    pub(crate) async fn unfinished(&self) -> Vec<String> {
        let query = "/?encoding-type=url&uploads=";
        let (status, text) = self
            .attempt(Method::GET, query, Bytes::new())
            .await
            .unwrap();
        if self.no_uploads == NoUploads::NotFound
            && status == StatusCode::NOT_FOUND
            && str::from_utf8(&text).unwrap().contains("NoSuchUpload")
        {
            return Vec::new();
        }
        let page = self.page(query).await;
        assert!(!page.is_truncated, "more than one page");
        let mut keys: Vec<_> = page.contents.iter().map(Entry::decoded).collect();
        keys.sort();
        keys
    }

    /// Starts a multipart upload, stores one part, and returns the upload id.
    pub(crate) async fn leave_unfinished(&self, key: &str) -> String {
        let text = self
            .call(
                Method::POST,
                &format!("{}?uploads=", path(key)),
                Bytes::new(),
            )
            .await;
        let begun: Entry = quick_xml::de::from_str(str::from_utf8(&text).unwrap()).unwrap();
        let part = format!(
            "{}?partNumber=1&uploadId={}",
            path(key),
            utf8_percent_encode(&begun.upload_id, QUERY)
        );
        self.call(Method::PUT, &part, Bytes::from_static(b"a part"))
            .await;
        begun.upload_id
    }

    /// Aborts all multipart uploads, as a lifecycle rule does.
    pub(crate) async fn abort_unfinished(&self) {
        for entry in self.page("/?encoding-type=url&uploads=").await.contents {
            let upload = format!("{}?uploadId={}", path(&entry.decoded()), entry.upload_id);
            self.call(Method::DELETE, &upload, Bytes::new()).await;
        }
    }

    /// Every key with its content.
    pub(crate) async fn contents(&self) -> Vec<(String, Bytes)> {
        let read = |key: String| async move {
            let data = self.get(&key).await;
            (key, data)
        };
        futures_util::stream::iter(self.keys().await)
            .map(read)
            .buffered(16)
            .collect()
            .await
    }

    /// Waits until the bucket holds only this backup, under the key `stem`, and asserts its bytes.
    pub(crate) async fn wait_until_only(&self, stem: &str, sample: &Sample) {
        let tar = format!("{stem}.tar");
        self.wait_until_keys_are(&[&format!("{stem}.metadata.json"), &tar])
            .await;
        assert!(
            self.get(&tar).await == sample.tar,
            "the tar in the bucket differs"
        );
    }

    /// Writes this many small backups with the ids `id00`, `id01` and so on.
    pub(crate) async fn put_backups(&self, count: usize) {
        for index in 0..count {
            let sample = Sample::small(&format!("id{index:02}"));
            self.put_backup("", &format!("b{index}"), &sample).await;
        }
    }

    /// Waits until the bucket is empty: no object, no part.
    pub(crate) async fn wait_until_empty(&self) {
        self.wait_until_keys_are(&[]).await;
    }

    /// Waits until the bucket holds exactly these keys and no unfinished upload.
    pub(crate) async fn wait_until_keys_are(&self, keys: &[&str]) {
        let found = std::sync::Mutex::default();
        let is_so = || async {
            let (held, unfinished) = (self.keys().await, self.unfinished().await);
            let is_so = unfinished.is_empty() && held == keys;
            *found.lock().unwrap() = (held, unfinished);
            is_so
        };
        if !holds_eventually(is_so).await {
            let (held, unfinished) = found.into_inner().unwrap();
            panic!(
                "the bucket should hold {keys:?}; it holds {held:?}, and of unfinished uploads {unfinished:?}"
            );
        }
    }

    async fn page(&self, query: &str) -> Page {
        let text = self.call(Method::GET, query, Bytes::new()).await;
        quick_xml::de::from_str(str::from_utf8(&text).unwrap()).unwrap()
    }

    async fn call(&self, method: Method, path: &str, data: Bytes) -> Bytes {
        let (status, body) = self.attempt(method, path, data).await.unwrap();
        assert!(
            status.is_success(),
            "{path}: {status} {}",
            String::from_utf8_lossy(&body)
        );
        body
    }

    async fn attempt(
        &self,
        method: Method,
        path: &str,
        data: Bytes,
    ) -> reqwest::Result<(StatusCode, Bytes)> {
        let answer = self.try_ask(method, path, &[], data).await?;
        Ok((answer.status(), answer.bytes().await?))
    }

    /// Sends a signed request; accepts any answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        data: Bytes,
    ) -> reqwest::Response {
        self.try_ask(method, path, headers, data).await.unwrap()
    }

    async fn try_ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        data: Bytes,
    ) -> reqwest::Result<reqwest::Response> {
        let url = format!("{}/{}{path}", self.endpoint, self.name);
        let mut signed = HttpRequest::new(HttpRequestBody::from(data.clone()));
        (*signed.method_mut(), *signed.uri_mut()) = (method.clone(), url.parse().unwrap());
        for (name, value) in headers {
            signed.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (key_id, secret_key) = (self.key_id.clone(), self.secret.clone());
        let credential = AwsCredential {
            key_id,
            secret_key,
            token: None,
        };
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut signed, None)
            .unwrap();
        self.http
            .request(method, &url)
            .headers(signed.headers().clone())
            .body(data)
            .send()
            .await
    }
}

fn path(key: &str) -> String {
    format!("/{}", utf8_percent_encode(key, PATH))
}
