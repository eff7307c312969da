//! `POST /v1/locations/{loc}/recover`

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::Problem;
use super::uploads::read_json;
use crate::agent::model::Recovery;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recover {
    #[serde(default)]
    keys: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
}

/// `POST /v1/locations/{loc}/recover`
pub(super) async fn recover(
    State(state): State<super::State>,
    Path(loc): Path<String>,
    body: Body,
) -> Result<Json<Recovery>, Problem> {
    let Recover { keys, dry_run } = read_json(body).await?;
    Ok(Json(state.agent.recover(&loc, keys, dry_run).await?))
}
