//! `healthcheck`.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::HOST;
use axum::http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::CommandError;
use super::output::Output;
use crate::config::Config;
use crate::error::{Error, Kind};

/// Deadline for the running agent's answer.
const HEALTHY_WITHIN: Duration = Duration::from_secs(3);

/// Asks the agent on the configured socket for its health.
pub(super) async fn healthcheck(config: &Config, output: Output) -> Result<(), CommandError> {
    let socket = &config.listen.socket;
    let answer = timeout(HEALTHY_WITHIN, health(socket)).await;
    let status = answer
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
        .map_err(|error| {
            let detail = format!(
                "The agent does not answer on \"{}\": {error}",
                socket.display()
            );
            Error::new(Kind::StorageUnreachable, detail)
                .with_hint("Check that it runs with this configuration.")
        })?;
    let healthy = status.is_success();
    let line = if healthy {
        "The agent is healthy."
    } else {
        "The agent is shutting down."
    };
    output.result(line, &json!({"healthy": healthy}))?;
    if healthy {
        Ok(())
    } else {
        Err(CommandError::Reported)
    }
}

async fn health(socket: &Path) -> io::Result<StatusCode> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    let driving = tokio::spawn(connection);
    let request = Request::get("/v1/health")
        .header(HOST, "agent")
        .body(Body::empty())
        .map_err(io::Error::other)?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    driving.abort();
    Ok(answer.status())
}
