//! `uploads`: create, content, complete, cancel.

use std::io;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Problem;
use crate::backup::{AgentBackup, StoredBackup};
use crate::error::{Error, Kind};

/// The largest JSON body; a backup with hundreds of add-ons has some hundred KiB.
const MAX_JSON_BYTES: usize = 1024 * 1024;

#[derive(Deserialize)]
struct Create {
    backup: Value,
    filename: String,
}

#[derive(Serialize)]
struct Created {
    upload_id: String,
    part_size: u64,
    stored_bytes: u64,
    key: String,
}

/// `POST /v1/locations/{loc}/uploads`
pub(super) async fn create(
    State(state): State<super::State>,
    Path(loc): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let request: Create = read_json(body).await?;
    let backup: AgentBackup = serde_json::from_value(request.backup).map_err(|error| {
        Error::new(Kind::InvalidMetadata, format!("Home Assistant would refuse this backup: {error}."))
    })?;
    let upload = state.agent.create_upload(&loc, backup, &request.filename).await?;
    let place = format!("/v1/uploads/{}", upload.id);
    let created =
        Created { upload_id: upload.id.clone(), part_size: upload.part_size, stored_bytes: 0, key: upload.key() };
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(created)).into_response())
}

#[derive(Serialize)]
pub(super) struct Arrived {
    size: u64,
    crc32: String,
    sha256: String,
}

/// `PUT /v1/uploads/{upload_id}/content`
pub(super) async fn content(
    State(state): State<super::State>,
    Path(upload_id): Path<String>,
    body: Body,
) -> Result<Json<Arrived>, Problem> {
    let pieces = body.into_data_stream().map_err(io::Error::other);
    let received = state.agent.receive(&upload_id, pieces).await?;
    Ok(Json(Arrived { size: received.size, crc32: received.crc32, sha256: received.sha256 }))
}

#[derive(Deserialize)]
struct Complete {
    size: u64,
    crc32: String,
}

/// `POST /v1/uploads/{upload_id}/complete`
pub(super) async fn complete(
    State(state): State<super::State>,
    Path(upload_id): Path<String>,
    body: Body,
) -> Result<Json<StoredBackup>, Problem> {
    let request: Complete = read_json(body).await?;
    Ok(Json(state.agent.complete_upload(&upload_id, request.size, request.crc32).await?))
}

/// `DELETE /v1/uploads/{upload_id}`
pub(super) async fn cancel(
    State(state): State<super::State>,
    Path(upload_id): Path<String>,
) -> Result<StatusCode, Problem> {
    state.agent.cancel_upload(&upload_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a JSON body of bounded size.
pub(super) async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, Error> {
    let refused = |why: String| Error::new(Kind::InvalidRequest, format!("The body cannot be read: {why}."));
    let bytes = to_bytes(body, MAX_JSON_BYTES).await.map_err(|error| refused(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))
}
