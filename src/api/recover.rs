//! `recover`

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::read_json;
use super::openapi::{Problems, StorageProblems};
use super::{LocationPath, Problem};
use crate::agent::model::Recovery;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecoverRequest {
    /// Keys of tars, anywhere in the bucket; null for all with the code `metadata_missing`.
    #[serde(default)]
    keys: Option<Vec<String>>,
    /// Only report what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// Adopt tars without metadata
///
/// Reads the `backup.json` in each tar without downloading the tar, and writes its metadata. Tars are never changed. A named tar outside the
/// location's folder is copied into it, inside the storage.
#[utoipa::path(
    post, path = "/v1/locations/{loc}/recover", operation_id = "recoverBackups", tag = "backups",
    params(LocationPath),
    request_body = RecoverRequest,
    responses(
        (status = 200, description = "The result.", body = Recovery),
        Problems<400>, Problems<404>, StorageProblems,
    ),
)]
pub(super) async fn recover(
    State(state): State<super::State>,
    Path(LocationPath { loc }): Path<LocationPath>,
    body: Body,
) -> Result<Json<Recovery>, Problem> {
    let RecoverRequest { keys, dry_run } = read_json(body).await?;
    Ok(Json(state.agent.recover(&loc, keys, dry_run).await?))
}
