//! `locations`

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::body::read_json;
use super::openapi::Problems;
use super::settings::LocationSettings;
use super::{LocationPath, Problem};
use crate::agent::model::{CheckReport, LocationStatus};
use crate::config::Location;
use crate::error::{Error, Kind};

#[derive(Serialize, ToSchema)]
pub(super) struct Locations {
    locations: Vec<LocationStatus>,
}

/// All locations
#[utoipa::path(
    get, path = "/v1/locations", operation_id = "listLocations", tag = "locations",
    responses((status = 200, description = "The locations, without any secret.", body = Locations)),
)]
pub(super) async fn list(State(state): State<super::State>) -> Json<Locations> {
    Json(Locations {
        locations: state.agent.locations(),
    })
}

/// One location
#[utoipa::path(
    get, path = "/v1/locations/{loc}", operation_id = "getLocation", tag = "locations",
    params(LocationPath),
    responses((status = 200, description = "The location, without any secret.", body = LocationStatus), Problems<404>),
)]
pub(super) async fn one(
    State(state): State<super::State>,
    Path(LocationPath { loc }): Path<LocationPath>,
) -> Result<Json<LocationStatus>, Problem> {
    Ok(Json(state.agent.location(&loc)?.status()))
}

/// Register a location, or change a registered one
///
/// Idempotent. Not kept over a restart of the agent. Where endpoint, bucket and prefix stay, running uploads continue with the
/// new key.
#[utoipa::path(
    put, path = "/v1/locations/{loc}", operation_id = "putLocation", tag = "locations",
    params(LocationPath),
    request_body = LocationSettings,
    responses(
        (status = 200, description = "The location, without any secret.", body = LocationStatus),
        Problems<400>, Problems<502>, Problems<503>,
    ),
)]
pub(super) async fn put(
    State(state): State<super::State>,
    Path(LocationPath { loc }): Path<LocationPath>,
    body: Body,
) -> Result<Json<LocationStatus>, Problem> {
    let mut settings: Map<String, Value> = read_json(body).await?;
    let named = settings.insert("id".into(), json!(loc));
    if named.is_some_and(|id| id != json!(loc)) {
        let detail = format!("The settings have another id than the address, \"{loc}\".");
        return Err(Error::new(Kind::InvalidRequest, detail).into());
    }
    let (location, _) =
        Location::from_json(&Value::Object(settings)).map_err(Problem::of_settings)?;
    Ok(Json(state.agent.put_location(location).await?.status()))
}

/// Forget a registered location
///
/// Cancels its uploads. The backups in its bucket stay.
#[utoipa::path(
    delete, path = "/v1/locations/{loc}", operation_id = "deleteLocation", tag = "locations",
    params(LocationPath),
    responses((status = 204, description = "Forgotten."), Problems<400>, Problems<404>),
)]
pub(super) async fn remove(
    State(state): State<super::State>,
    Path(LocationPath { loc }): Path<LocationPath>,
) -> Result<StatusCode, Problem> {
    state.agent.remove_location(&loc).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Check a location
#[utoipa::path(
    post, path = "/v1/locations/{loc}/check", operation_id = "checkLocation", tag = "locations",
    params(LocationPath),
    responses((status = 200, description = "The result, also when a step failed.", body = CheckReport), Problems<404>),
)]
pub(super) async fn check(
    State(state): State<super::State>,
    Path(LocationPath { loc }): Path<LocationPath>,
) -> Result<Json<CheckReport>, Problem> {
    Ok(Json(state.agent.check(&loc, None).await?))
}

/// Check settings without keeping them
#[utoipa::path(
    post, path = "/v1/locations/check", operation_id = "checkSettings", tag = "locations",
    request_body = LocationSettings,
    responses(
        (status = 200, description = "The result, also when a step failed.", body = CheckReport),
        Problems<400>, Problems<503>,
    ),
)]
pub(super) async fn check_settings(
    State(state): State<super::State>,
    body: Body,
) -> Result<Json<CheckReport>, Problem> {
    let settings: Map<String, Value> = read_json(body).await?;
    Ok(Json(
        state.agent.check_settings(Value::Object(settings)).await?,
    ))
}
