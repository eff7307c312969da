//! Tells Home Assistant of this agent, through Supervisor's discovery: where its socket is, and the token.
//!
//! Supervisor keeps the message as long as the app is installed, and hands it to Home Assistant; the same message again
//! changes nothing there. So it is sent once more every now and then, and a Supervisor that lost it has it again.
//! Source: "Communication" in Home Assistant's developer documentation, and `supervisor/api/discovery.py`.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::{Listen, Secret, Supervisor};

/// The integration's domain, and what `discovery` in `addon/config.yaml` says.
const SERVICE: &str = "s3_backup_agent";

/// How soon it is tried again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How often the message is sent anew.
const REPEATED_AFTER: Duration = Duration::from_mins(5);

/// How long Supervisor may take to answer. It asks Home Assistant before it does.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The most of an answer that is looked at.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Why Supervisor has not taken the message.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    #[error("it answers {0}: {1}")]
    Answer(StatusCode, String),
}

/// Announces the agent until `shutdown`, however long Supervisor is away.
pub async fn announce(
    supervisor: Supervisor,
    listen: Listen,
    token: Option<Secret>,
    shutdown: CancellationToken,
) {
    let message = message(&listen, token.as_ref());
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keep_announcing(&supervisor, &message) => {}
    }
}

fn message(listen: &Listen, token: Option<&Secret>) -> Value {
    let mut config = json!({"socket": listen.socket});
    if let Some(token) = token {
        config["token"] = token.expose().into();
    }
    json!({"service": SERVICE, "config": config})
}

async fn keep_announcing(supervisor: &Supervisor, message: &Value) {
    // What was said last, so that hours of one trouble are one line.
    let (mut said, mut pause) = (None, FIRST_PAUSE);
    loop {
        match send(supervisor, message).await {
            Ok(()) => {
                if said.as_deref() != Some("") {
                    info!("Home Assistant is told of this agent");
                    said = Some(String::new());
                }
                pause = FIRST_PAUSE;
                sleep(REPEATED_AFTER).await;
            }
            Err(refusal) => {
                let refusal =
                    format!("Supervisor does not tell Home Assistant of this agent: {refusal}");
                if said.as_deref() == Some(&refusal) {
                    debug!("{refusal}");
                } else {
                    warn!("{refusal}; trying again");
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
