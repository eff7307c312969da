//! Announces the agent's socket and token to Home Assistant through Supervisor's discovery.
//!
//! Supervisor keeps the message while the app is installed and forwards it to Home Assistant, but only if that runs already,
//! and never the same content again. Home Assistant itself asks for messages early in its start. So the agent changes the
//! content until Home Assistant has connected; after that, it repeats the message in case Supervisor lost it.
//! Source: "Communication" in Home Assistant's developer documentation, `supervisor/api/discovery.py`, and `send` and
//! `_push_discovery` in `supervisor/discovery/__init__.py`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::SetOnce;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::{Listen, Secret, Supervisor};

/// The integration's domain, as under `discovery` in `addon/config.yaml`.
const SERVICE: &str = "s3_backup_agent";

/// Back-off between attempts, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Back-off between changed messages to a Home Assistant that does not connect, doubled each time. Its start takes minutes;
/// without the integration, it never connects.
const FIRST_CHANGE_AFTER: Duration = Duration::from_secs(15);
const LAST_CHANGE_AFTER: Duration = Duration::from_hours(1);

/// Interval between repetitions of a message that reached Home Assistant.
const REPEATED_AFTER: Duration = Duration::from_mins(5);

/// Timeout for an answer. Supervisor calls Home Assistant before it answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Size limit of an answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Why the announcement failed.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("Supervisor is unreachable: {0}")]
    Unreachable(#[from] io::Error),
    #[error("Supervisor answered {0}: {1}")]
    Answer(StatusCode, String),
}

/// Announces the agent until `shutdown`, and retries while Supervisor is unavailable.
pub async fn announce(
    supervisor: Supervisor,
    listen: Listen,
    token: Option<Secret>,
    home_assistant: Arc<SetOnce<()>>,
    shutdown: CancellationToken,
) {
    let message = message(&listen, token.as_ref());
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keep_announcing(&supervisor, message, &home_assistant) => {}
    }
}

fn message(listen: &Listen, token: Option<&Secret>) -> Value {
    let mut config = json!({"socket": listen.socket});
    if let Some(token) = token {
        config["token"] = token.expose().into();
    }
    json!({"service": SERVICE, "config": config})
}

async fn keep_announcing(
    supervisor: &Supervisor,
    mut message: Value,
    home_assistant: &SetOnce<()>,
) {
    // The last outcome, so that a lasting failure is logged once.
    let (mut said, mut pause) = (None, FIRST_PAUSE);
    let (mut changes, mut change_after) = (0_u32, FIRST_CHANGE_AFTER);
    loop {
        match send(supervisor, &message).await {
            Ok(()) => {
                if said.as_deref() != Some("") {
                    info!("announced the agent to Home Assistant");
                    said = Some(String::new());
                }
                pause = FIRST_PAUSE;
                if timeout(change_after, home_assistant.wait()).await.is_ok() {
                    sleep(REPEATED_AFTER).await;
                } else {
                    // Home Assistant ignores keys that it does not know.
                    changes += 1;
                    message["config"]["repetition"] = changes.into();
                    change_after = (change_after * 2).min(LAST_CHANGE_AFTER);
                }
            }
            Err(refusal) => {
                let refusal = format!("cannot announce the agent to Home Assistant: {refusal}");
                if said.as_deref() == Some(&refusal) {
                    debug!("{refusal}");
                } else {
                    warn!("{refusal}; retrying");
                    said = Some(refusal);
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn send(supervisor: &Supervisor, message: &Value) -> Result<(), Refusal> {
    let answered = timeout(ANSWER_WITHIN, post(supervisor, message)).await;
    let (status, body) =
        answered.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))?;
    if status.is_success() {
        return Ok(());
    }
    let said = serde_json::from_slice::<Value>(&body).ok();
    let said = said
        .as_ref()
        .and_then(|said| said["message"].as_str())
        .unwrap_or_default();
    Err(Refusal::Answer(status, said.to_owned()))
}

async fn post(supervisor: &Supervisor, message: &Value) -> io::Result<(StatusCode, Vec<u8>)> {
    let host = supervisor.host.as_str();
    let address = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    let driving = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::post("/discovery")
        .header(HOST, host)
        .header(
            AUTHORIZATION,
            format!("Bearer {}", supervisor.token.expose()),
        )
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(message.to_string()))
        .map_err(io::Error::other)?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let (status, body) = (
        answer.status(),
        Limited::new(answer.into_body(), MAX_ANSWER_BYTES),
    );
    let body = body
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes()
        .to_vec();
    drop(driving);
    Ok((status, body))
}
