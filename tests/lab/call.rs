//! A client of the agent's API.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Sample;
use super::events::Events;

/// A client of one agent.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    answered: Arc<Mutex<String>>,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Content sent piece by piece. Dropping it disconnects the client.
pub(crate) struct Sending {
    pieces: Option<mpsc::Sender<Result<Bytes, std::io::Error>>>,
    answer: JoinHandle<reqwest::Result<Answer>>,
}

impl Client {
    pub(super) fn unix(socket: &Path) -> Self {
        Self::new(http().unix_socket(socket).build().unwrap(), "http://agent")
    }

    pub(crate) fn new(http: reqwest::Client, base: &str) -> Self {
        Self {
            http,
            base: base.to_owned(),
            token: None,
            answered: Arc::default(),
        }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// All JSON in the agent's answers.
    pub(super) fn answered(&self) -> String {
        self.answered.lock().unwrap().clone()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await?;
        if headers
            .get("content-type")
            .is_some_and(|value| value.to_str().unwrap().ends_with("json"))
        {
            self.answered
                .lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&body));
        }
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body))
            .await
            .unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request(Method::PUT, path).body(body))
            .await
            .unwrap()
    }

    pub(crate) async fn is_well(&self) -> bool {
        self.send(self.request(Method::GET, "/v1/health"))
            .await
            .is_ok_and(|answer| answer.status == 200)
    }

    pub(crate) async fn create(&self, location: &str, sample: &Sample) -> Answer {
        self.create_named(location, sample, &sample.filename())
            .await
    }

    pub(crate) async fn create_named(
        &self,
        location: &str,
        sample: &Sample,
        filename: &str,
    ) -> Answer {
        let body = json!({"backup": sample.metadata, "filename": filename});
        self.post(&format!("/v1/locations/{location}/uploads"), &body)
            .await
    }

    /// Announces an upload and returns its id.
    pub(crate) async fn begin(&self, location: &str, sample: &Sample) -> String {
        let created = self.create(location, sample).await;
        assert_eq!(created.status, 201, "{created:?}");
        created.json()["upload_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn content(&self, upload_id: &str, tar: impl Into<reqwest::Body>) -> Answer {
        self.put(&format!("/v1/uploads/{upload_id}/content"), tar)
            .await
    }

    /// Starts to send content.
    pub(crate) fn sending(&self, upload_id: &str) -> Sending {
        let (pieces, mut waiting) = mpsc::channel(1);
        let body = futures_util::stream::poll_fn(move |context| waiting.poll_recv(context));
        let request = self.request(Method::PUT, &format!("/v1/uploads/{upload_id}/content"));
        let (client, request) = (self.clone(), request.body(reqwest::Body::wrap_stream(body)));
        let answer = tokio::spawn(async move { client.send(request).await });
        Sending {
            pieces: Some(pieces),
            answer,
        }
    }

    /// Announces an upload and sends all of its content; returns its id.
    pub(crate) async fn received(&self, location: &str, sample: &Sample) -> String {
        let upload_id = self.begin(location, sample).await;
        let received = self.content(&upload_id, sample.tar.clone()).await;
        assert_eq!(received.status, 200, "{received:?}");
        upload_id
    }

    /// Registers a location, or changes its settings.
    pub(crate) async fn register(&self, id: &str, settings: &Value) {
        let path = format!("/v1/locations/{id}");
        let registered = self.put(&path, settings.to_string()).await;
        assert_eq!(registered.status, 200, "{registered:?}");
    }

    pub(crate) async fn cancel(&self, upload_id: &str) -> Answer {
        self.delete(&format!("/v1/uploads/{upload_id}")).await
    }

    pub(crate) async fn complete(&self, upload_id: &str, sample: &Sample) -> Answer {
        let body = json!({"size": sample.size(), "crc32": sample.crc32()});
        self.post(&format!("/v1/uploads/{upload_id}/complete"), &body)
            .await
    }

    /// Uploads a backup with all three calls.
    pub(crate) async fn upload(&self, location: &str, sample: &Sample) -> Value {
        let upload_id = self.begin(location, sample).await;
        let arrived = self.content(&upload_id, sample.tar.clone()).await;
        assert_eq!(arrived.status, 200, "{arrived:?}");
        let completed = self.complete(&upload_id, sample).await;
        assert_eq!(completed.status, 200, "{completed:?}");
        completed.json()
    }

    pub(crate) async fn list(&self, location: &str) -> Value {
        self.listing(location, "").await
    }

    pub(crate) async fn refreshed(&self, location: &str) -> Value {
        self.listing(location, "?refresh=true").await
    }

    async fn listing(&self, location: &str, query: &str) -> Value {
        let answer = self
            .get(&format!("/v1/locations/{location}/backups{query}"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// A list as NDJSON, one value per line.
    pub(crate) async fn listed_lines(&self, location: &str) -> Vec<Value> {
        let request = self.request(Method::GET, &format!("/v1/locations/{location}/backups"));
        let answer = self
            .send(request.header("accept", "application/x-ndjson"))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        let lines = answer.body.strip_suffix(b"\n").unwrap();
        lines
            .split(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// Backup ids of a fresh list, sorted.
    pub(crate) async fn listed(&self, location: &str) -> Vec<String> {
        ids(&self.refreshed(location).await)
    }

    pub(crate) async fn download(
        &self,
        location: &str,
        backup_id: &str,
    ) -> reqwest::Result<Answer> {
        self.send(self.request(Method::GET, &content_path(location, backup_id)))
            .await
    }

    pub(crate) async fn delete_backup(&self, location: &str, backup_id: &str) -> Answer {
        self.delete(&format!("/v1/locations/{location}/backups/{backup_id}"))
            .await
    }

    pub(crate) async fn location(&self, location: &str) -> Value {
        self.get(&format!("/v1/locations/{location}")).await.json()
    }

    pub(crate) async fn events(&self) -> Events {
        self.following("/v1/events").await
    }

    /// The same stream on the agent's page.
    pub(crate) async fn page_events(&self) -> Events {
        self.following("/events").await
    }

    /// Events with log records of at least this level.
    pub(crate) async fn log(&self, level: &str) -> Events {
        self.following(&format!("/v1/events?log={level}")).await
    }

    /// Streams last as long as the test.
    async fn following(&self, path: &str) -> Events {
        let request = self
            .request(Method::GET, path)
            .timeout(Duration::from_hours(1));
        Events::open(request.send().await.unwrap()).await
    }
}

impl Sending {
    /// Sends bytes in pieces of Home Assistant's size.
    pub(crate) async fn send(&mut self, bytes: &Bytes) {
        for start in (0..bytes.len()).step_by(512 * 1024) {
            let piece = bytes.slice(start..bytes.len().min(start + 512 * 1024));
            // The agent may have answered already; `ended` reports it.
            drop(self.pieces.as_ref().unwrap().send(Ok(piece)).await);
        }
    }

    /// Ends the content and waits for the answer.
    pub(crate) async fn ended(mut self) -> reqwest::Result<Answer> {
        drop(self.pieces.take());
        self.answer.await.unwrap()
    }

    /// Disconnects in the middle of the content.
    pub(crate) async fn gone(self) {
        self.answer.abort();
        drop(self.answer.await);
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// Asserts a problem document with this status and code, and with `words` in its detail or
    /// hint.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str, words: &[&str]) {
        let problem = self.json();
        assert_eq!(
            (self.status, problem["code"].as_str()),
            (status, Some(code)),
            "{problem:#}"
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], status);
        let said = format!(
            "{} {}",
            problem["detail"].as_str().unwrap(),
            problem["hint"].as_str().unwrap()
        );
        for word in words {
            assert!(said.contains(word), "\"{word}\" is not in: {said}");
        }
    }
}

pub(crate) fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_mins(2))
}

pub(crate) fn content_path(location: &str, backup_id: &str) -> String {
    format!("/v1/locations/{location}/backups/{backup_id}/content")
}

/// Backup ids of a listing, sorted.
pub(crate) fn ids(listing: &Value) -> Vec<String> {
    let backups = listing["backups"].as_array().unwrap().iter();
    let mut ids: Vec<_> = backups
        .map(|backup| backup["backup_id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}
