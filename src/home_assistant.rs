//! A Home Assistant that shows its first page: without a login, it takes a backup and restores it.
//!
//! Source: `homeassistant/components/backup/onboarding.py` and `homeassistant/components/onboarding/views.py`.

mod failure;
mod hello;
mod upload;
mod version;

use std::time::Duration;

use http::StatusCode;
use reqwest::{Certificate, Client, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use url::Url;

pub use failure::Failure;
pub use upload::UploadError;
pub use version::Version;

/// Deadline for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

/// Deadline for a small answer. A new Home Assistant on a small machine is slow while it starts.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Deadline for the answer to a restore. Supervisor's comes at the restore's end, if Home Assistant still runs then.
const RESTORE_WITHIN: Duration = Duration::from_hours(1);

/// How long a connection is silent before the other side's machine is asked for a sign.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// Limit for an answer in bytes.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A client of one Home Assistant.
#[derive(Debug, Clone)]
pub struct HomeAssistant {
    url: Url,
    client: Client,
}

/// How far a Home Assistant is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPage {
    /// It has no user yet, and takes a backup from anyone.
    Open,
    /// It has a user.
    Done,
}

/// How a Home Assistant is installed, which decides who restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installation {
    /// Supervisor restores, also apps and folders.
    Supervised,
    /// Home Assistant restores its own configuration, and nothing else.
    Alone,
}

/// What the backup manager does, and what it did last.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ManagerState {
    state: String,
    #[serde(default)]
    last_action_event: Option<ActionEvent>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct ActionEvent {
    #[serde(default)]
    manager_state: String,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

/// What to restore.
#[derive(Debug)]
pub struct RestoreRequest<'r> {
    /// Id that Home Assistant gave the uploaded backup.
    pub backup_id: &'r str,
    /// Its encryption key.
    pub password: Option<&'r SecretString>,
    /// Who restores.
    pub installation: Installation,
    /// Whether the backup has the database. Supervisor refuses a restore that differs from the backup in this.
    pub has_database: bool,
    /// Apps to restore; only Supervisor can.
    pub apps: Vec<String>,
    /// Folders to restore; only Supervisor can.
    pub folders: Vec<String>,
}

impl Installation {
    /// Id of the backup location that a backup is uploaded to, and restored from.
    const fn agent_id(self) -> &'static str {
        match self {
            Self::Supervised => "hassio.local",
            Self::Alone => "backup.local",
        }
    }
}

impl RestoreRequest<'_> {
    /// The fields of the request. Home Assistant alone refuses one that names apps or folders.
    fn fields(&self) -> Value {
        let mut fields = json!({
            "backup_id": self.backup_id,
            "agent_id": self.installation.agent_id(),
            "restore_database": self.has_database,
        });
        if let Some(password) = self.password {
            fields["password"] = json!(password.expose_secret());
        }
        if self.installation == Installation::Supervised {
            fields["restore_addons"] = json!(self.apps);
            fields["restore_folders"] = json!(self.folders);
        }
        fields
    }
}

impl ManagerState {
    /// Whether it takes a backup or a restore.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state == "idle"
    }

    /// Whether its last action is a restore.
    #[must_use]
    pub fn has_restored(&self) -> bool {
        self.restore().is_some()
    }

    /// Why the last restore failed, if it did.
    #[must_use]
    pub fn failed_restore(&self) -> Option<&str> {
        let event = self.restore()?;
        let has_failed = event.state.as_deref() == Some("failed");
        has_failed.then(|| event.reason.as_deref().unwrap_or("unknown_error"))
    }

    fn restore(&self) -> Option<&ActionEvent> {
        let event = self.last_action_event.as_ref()?;
        Some(event).filter(|event| event.manager_state == "restore_backup")
    }
}

impl HomeAssistant {
    /// Opens a client, without a request; also for an address without `http://`. `ca_certificate` is trusted beside the
    /// system's authorities.
    ///
    /// # Errors
    /// [`Failure::InvalidUrl`], [`Failure::InvalidCertificate`].
    pub fn new(address: &str, ca_certificate: Option<&[u8]>) -> Result<Self, Failure> {
        let url = url_of(address)?;
        let invalid = |error: reqwest::Error| Failure::InvalidCertificate(error.to_string());
        let certificates = ca_certificate.map(Certificate::from_pem_bundle).transpose();
        let certificates = certificates.map_err(invalid)?.unwrap_or_default();
        if ca_certificate.is_some() && certificates.is_empty() {
            let why = "there is no certificate in it".to_owned();
            return Err(Failure::InvalidCertificate(why));
        }
        let client = Client::builder()
            .user_agent(concat!("s3-backup-agent/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            // It is at home, and a proxy of the environment is not.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            // It restarts, and its connections end with it.
            .pool_max_idle_per_host(0)
            .tcp_keepalive(GONE_AFTER)
            // A slow disk closes its window for as long.
            .tcp_user_timeout(upload::TAKES_WITHIN)
            .tls_certs_merge(certificates);
        let client = client.build().map_err(invalid)?;
        Ok(Self { url, client })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Returns how far it is set up.
    ///
    /// # Errors
    /// [`Failure::NoAnswer`] and its like; [`Failure::NotHomeAssistant`].
    pub async fn first_page(&self) -> Result<FirstPage, Failure> {
        #[derive(Deserialize)]
        struct Step {
            done: bool,
        }
        let (status, body) = self.get("api/onboarding").await?;
        // Without the component that serves it, because nothing is left to do.
        if status == StatusCode::NOT_FOUND && self.is_up().await {
            return Ok(FirstPage::Done);
        }
        let steps: Option<Vec<Step>> = serde_json::from_slice(&body).ok();
        match steps.filter(|_| status.is_success()) {
            Some(steps) if steps.iter().any(|step| step.done) => Ok(FirstPage::Done),
            Some(_) => Ok(FirstPage::Open),
            None => Err(self.stranger(status)),
        }
    }

    /// Whether it serves its pages.
    pub async fn is_up(&self) -> bool {
        let answer = self.get("manifest.json").await;
        let manifest = answer.ok().filter(|(status, _)| status.is_success());
        let manifest: Option<Value> =
            manifest.and_then(|(_, body)| serde_json::from_slice(&body).ok());
        manifest.is_some_and(|manifest| manifest["name"] == "Home Assistant")
    }

    /// Returns how it is installed.
    ///
    /// # Errors
    /// [`Failure::Onboarded`], and those of [`Self::first_page`].
    pub async fn installation(&self) -> Result<Installation, Failure> {
        let answer = self.get_json("api/onboarding/installation_type").await?;
        Ok(match answer["installation_type"].as_str() {
            Some("Home Assistant OS" | "Home Assistant Supervised") => Installation::Supervised,
            _ => Installation::Alone,
        })
    }

    /// Returns its version, if it says so.
    pub async fn version(&self) -> Option<String> {
        let asking = hello::version(&self.client, self.url.join("api/websocket").ok()?);
        timeout(ANSWER_WITHIN, asking).await.ok().flatten()
    }

    /// Returns the state of its backup manager.
    ///
    /// # Errors
    /// As [`Self::installation`].
    pub async fn manager_state(&self) -> Result<ManagerState, Failure> {
        let answer = self.get_json("api/onboarding/backup/info").await?;
        ManagerState::deserialize(answer).map_err(|_| self.stranger(StatusCode::OK))
    }

    /// Starts a restore. Home Assistant restarts by it, so a connection that ends without an answer is no failure.
    ///
    /// # Errors
    /// [`Failure::WrongKey`], [`Failure::Refused`], and those of [`Self::installation`].
    pub async fn restore(&self, request: &RestoreRequest<'_>) -> Result<(), Failure> {
        let sending = self
            .client
            .post(self.path("api/onboarding/backup/restore")?)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(request.fields().to_string())
            .timeout(RESTORE_WITHIN)
            .send();
        match sending.await {
            Ok(answer) => self.understand(answer).await,
            Err(error) if error.is_connect() => Err(self.failure(&error)),
            Err(_) => Ok(()),
        }
    }

    async fn understand(&self, answer: Response) -> Result<(), Failure> {
        let status = answer.status();
        let body = body_of(answer).await.unwrap_or_default();
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (status, said["code"].as_str()) {
            (status, _) if status.is_success() => Ok(()),
            (_, Some("incorrect_password")) => Err(Failure::WrongKey),
            (StatusCode::UNAUTHORIZED, _) => Err(Failure::Onboarded(self.url().to_owned())),
            _ => Err(Failure::Refused(words_of(status, &body))),
        }
    }

    async fn get_json(&self, path: &str) -> Result<Value, Failure> {
        let (status, body) = self.get(path).await?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|_| self.stranger(status)),
            StatusCode::UNAUTHORIZED => Err(Failure::Onboarded(self.url().to_owned())),
            _ => Err(self.stranger(status)),
        }
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Vec<u8>), Failure> {
        let sending = self
            .client
            .get(self.path(path)?)
            .timeout(ANSWER_WITHIN)
            .send();
        let answer = sending.await.map_err(|error| self.failure(&error))?;
        let status = answer.status();
        if let Some(to) = self.leads_to(&answer) {
            let url = self.url().to_owned();
            return Err(Failure::Elsewhere { url, to });
        }
        let body = body_of(answer).await;
        Ok((status, body.map_err(|error| self.failure(&error))?))
    }

    /// The other server that an answer leads to, such as the same one with HTTPS.
    fn leads_to(&self, answer: &Response) -> Option<String> {
        let location = answer.headers().get(http::header::LOCATION);
        let location = location.filter(|_| answer.status().is_redirection())?;
        // Its path may hold a secret.
        let to = self.url.join(location.to_str().ok()?).ok()?.origin();
        (to != self.url.origin()).then(|| to.ascii_serialization())
    }

    fn path(&self, path: &str) -> Result<Url, Failure> {
        let joined = self.url.join(path);
        joined.map_err(|error| Failure::InvalidUrl(error.to_string()))
    }

    fn failure(&self, error: &reqwest::Error) -> Failure {
        Failure::of(self.url(), error)
    }

    fn stranger(&self, status: StatusCode) -> Failure {
        let url = self.url().to_owned();
        Failure::NotHomeAssistant { url, status }
    }
}

/// The URL of an address as a user types it.
fn url_of(address: &str) -> Result<Url, Failure> {
    let invalid = |why: &str| Failure::InvalidUrl(why.to_owned());
    let text = match address.split_once("://") {
        Some(_) => address.to_owned(),
        None => format!("http://{address}"),
    };
    let mut url = Url::parse(&text).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("it is no address of a server"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("it contains a user name or a password"));
    }
    // A page of it, copied from the browser.
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// Reads the body of an answer, as far as it may be long.
async fn body_of(mut answer: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok(body)
}

/// Home Assistant's own words in a refusal, on one line.
fn words_of(status: StatusCode, body: &[u8]) -> String {
    const MAX_CHARS: usize = 500;
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = match said["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let text: Vec<&str> = text.split_whitespace().collect();
    let text: String = text.join(" ").chars().take(MAX_CHARS).collect();
    if text.is_empty() {
        status.to_string()
    } else {
        text
    }
}

#[cfg(test)]
mod tests;
