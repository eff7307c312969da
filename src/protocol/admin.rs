//! `health`, `info`, `openapi.json`, `log`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::info;

use super::Problem;
use super::uploads::read_json;
use crate::logging::Level;

/// Version of the protocol, the 1 in `/v1/`.
const PROTOCOL: u32 = 1;

const CAPABILITIES: [&str; 8] = ["upload", "download", "range", "delete", "events", "log", "locations", "check"];

/// `GET /v1/health`
pub(super) async fn health(State(state): State<super::State>) -> Response {
    if state.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "shutting_down"}))).into_response();
    }
    Json(json!({"status": "ok"})).into_response()
}

/// `GET /v1/info`
pub(super) async fn info(State(state): State<super::State>) -> Response {
    Json(json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": PROTOCOL,
        "instance_id": state.agent.instance_id,
        "started_at": state.started_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "capabilities": CAPABILITIES,
    }))
    .into_response()
}

/// `GET /v1/openapi.json`
pub(super) async fn openapi() -> Response {
    let document = include_str!("../../docs/openapi.json");
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogLevel {
    level: Level,
}

/// `PUT /v1/log`
pub(super) async fn set_log_level(State(state): State<super::State>, body: Body) -> Result<Json<LogLevel>, Problem> {
    let wanted: LogLevel = read_json(body).await?;
    state.level.set(wanted.level);
    info!(level = ?wanted.level, "log level changed");
    Ok(Json(wanted))
}
