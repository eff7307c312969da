//! `locations`

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use super::Problem;
use crate::agent::location::Status;

#[derive(Serialize)]
pub(super) struct Locations {
    locations: Vec<Status>,
}

/// `GET /v1/locations`
pub(super) async fn list(State(state): State<super::State>) -> Json<Locations> {
    Json(Locations { locations: state.agent.locations() })
}

/// `GET /v1/locations/{loc}`
pub(super) async fn one(State(state): State<super::State>, Path(loc): Path<String>) -> Result<Json<Status>, Problem> {
    Ok(Json(state.agent.location(&loc)?.status()))
}
