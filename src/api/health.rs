//! `health`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: HealthStatus,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum HealthStatus {
    Ok,
    ShuttingDown,
}

/// Whether the agent is ready
#[utoipa::path(
    get, path = "/v1/health", operation_id = "getHealth", tag = "agent", security(()),
    responses(
        (status = 200, description = "Ready.", body = Health),
        (status = 503, description = "Shutting down.", body = Health),
    ),
)]
pub(super) async fn health(State(state): State<super::State>) -> (StatusCode, Json<Health>) {
    let (code, status) = if state.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, HealthStatus::ShuttingDown)
    } else {
        (StatusCode::OK, HealthStatus::Ok)
    };
    (code, Json(Health { status }))
}
