//! `locations`

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Problem;
use super::uploads::read_json;
use crate::agent::model::{CheckReport, LocationStatus};
use crate::config::Location;
use crate::error::{Error, Kind};

#[derive(Serialize)]
pub(super) struct Locations {
    locations: Vec<LocationStatus>,
}

/// `GET /v1/locations`
pub(super) async fn list(State(state): State<super::State>) -> Json<Locations> {
    Json(Locations {
        locations: state.agent.locations(),
    })
}

/// `GET /v1/locations/{loc}`
pub(super) async fn one(
    State(state): State<super::State>,
    Path(loc): Path<String>,
) -> Result<Json<LocationStatus>, Problem> {
    Ok(Json(state.agent.location(&loc)?.status()))
}

/// `PUT /v1/locations/{loc}`
pub(super) async fn put(
    State(state): State<super::State>,
    Path(loc): Path<String>,
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

/// `DELETE /v1/locations/{loc}`
pub(super) async fn remove(
    State(state): State<super::State>,
    Path(loc): Path<String>,
) -> Result<StatusCode, Problem> {
    state.agent.remove_location(&loc).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/locations/{loc}/check`
pub(super) async fn check(
    State(state): State<super::State>,
    Path(loc): Path<String>,
) -> Result<Json<CheckReport>, Problem> {
    Ok(Json(state.agent.check(&loc).await?))
}

/// `POST /v1/locations/check`
pub(super) async fn check_settings(
    State(state): State<super::State>,
    body: Body,
) -> Result<Json<CheckReport>, Problem> {
    let settings: Map<String, Value> = read_json(body).await?;
    Ok(Json(
        state.agent.check_settings(Value::Object(settings)).await?,
    ))
}
