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
use crate::config;
use crate::logging::Level;
use crate::logging::scrub::scrub;
use crate::units::rfc3339;

/// Version of the protocol, the 1 in `/v1/`.
pub(crate) const PROTOCOL: u32 = 1;

const CAPABILITIES: &[&str] = &[
    "upload",
    "download",
    "range",
    "delete",
    "events",
    "log",
    "locations",
    "check",
    "events_log",
    "uploads",
    "verify",
    "recover",
    "diagnostics",
    "metrics",
];

/// `GET /v1/health`
pub(super) async fn health(State(state): State<super::State>) -> Response {
    if state.draining.is_cancelled() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "shutting_down"})),
        )
            .into_response();
    }
    Json(json!({"status": "ok"})).into_response()
}

/// `GET /v1/info`
pub(super) async fn info(State(state): State<super::State>) -> Json<Info> {
    Json(info_of(&state))
}

/// What runs here.
#[derive(Serialize)]
pub(super) struct Info {
    name: &'static str,
    version: &'static str,
    protocol: u32,
    agent_id: String,
    instance_id: String,
    started_at: String,
    capabilities: &'static [&'static str],
    problems: Vec<OptionProblem>,
}

/// Something that is wrong in the agent's configuration.
#[derive(Serialize)]
pub(super) struct OptionProblem {
    option: String,
    message: String,
}

impl OptionProblem {
    /// A message may quote what somebody pasted into the wrong field.
    fn of(problem: &config::Problem) -> Self {
        Self {
            option: problem.key.clone(),
            message: scrub(&problem.message).into_owned(),
        }
    }
}

pub(super) fn info_of(state: &super::State) -> Info {
    Info {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        protocol: PROTOCOL,
        agent_id: state.agent_id.clone(),
        instance_id: state.agent.instance_id.clone(),
        started_at: rfc3339(state.started_at),
        capabilities: CAPABILITIES,
        problems: state.problems.iter().map(OptionProblem::of).collect(),
    }
}

/// `GET /v1/openapi.json`
pub(super) async fn openapi() -> Response {
    let document = include_str!("../../docs/openapi.json");
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// None is the configured one; a key that is missing is a mistake.
    #[serde(deserialize_with = "Option::deserialize")]
    level: Option<Level>,
}

#[derive(Serialize)]
pub(super) struct LogLevel {
    level: Level,
}

/// `PUT /v1/log`
pub(super) async fn set_log_level(
    State(state): State<super::State>,
    body: Body,
) -> Result<Json<LogLevel>, Problem> {
    let wanted: Wanted = read_json(body).await?;
    state.log.level.set(wanted.level);
    let (level, _) = state.log.level.get();
    info!(?level, "log level changed");
    Ok(Json(LogLevel { level }))
}
