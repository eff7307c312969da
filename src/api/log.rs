//! `log`

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;

use super::Problem;
use super::body::read_json;
use super::openapi::Problems;
use crate::logging::Level;

/// The log level to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedLog {
    /// null resets it to the configured one. The key is required, so that a misspelt one is not taken for null.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
    level: Option<Level>,
}

/// The log level.
#[derive(Serialize, ToSchema)]
#[schema(as = Log)]
pub(super) struct LogLevel {
    level: Level,
}

/// Set the log level
#[utoipa::path(
    put, path = "/v1/log", operation_id = "putLog", tag = "agent",
    request_body = WantedLog,
    responses((status = 200, description = "The level that is set now.", body = LogLevel), Problems<400>),
)]
pub(super) async fn put(
    State(state): State<super::State>,
    body: Body,
) -> Result<Json<LogLevel>, Problem> {
    let WantedLog { level } = read_json(body).await?;
    state.log.level.set(level);
    let (level, _) = state.log.level.get();
    info!(?level, "log level changed");
    Ok(Json(LogLevel { level }))
}
