//! `uploads`: list, create, content, complete, cancel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::body::read_json;
use super::openapi::{Problems, StorageProblems};
use super::{LocationPath, Problem, UploadPath};
use crate::agent::model::UploadStatus;
use crate::agent::upload::Received;
use crate::agent::upload::Uploader;
use crate::backup::{AgentBackup, StoredBackup};
use crate::error::{Error, Kind};

/// How long the rest of a refused upload is read and discarded, so that its sender reads the answer.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Serialize, ToSchema)]
pub(super) struct Uploads {
    uploads: Vec<UploadStatus>,
}

/// The uploads in progress
#[utoipa::path(
    get, path = "/v1/uploads", operation_id = "listUploads", tag = "uploads",
    responses((status = 200, description = "The unfinished uploads, the oldest first.", body = Uploads)),
)]
pub(super) async fn list(State(state): State<super::State>) -> Json<Uploads> {
    Json(Uploads {
        uploads: state.agent.uploads(),
    })
}

#[derive(Deserialize, ToSchema)]
pub(super) struct CreateUpload {
    #[schema(value_type = AgentBackup)]
    backup: Value,
    /// The file name that Home Assistant suggests for the tar.
    #[schema(example = "Automatic_backup_2026.11.0_2026-11-20_04.47_12345678.tar")]
    filename: String,
}

/// A created upload.
#[derive(Serialize, ToSchema)]
#[schema(as = Upload)]
pub(super) struct Created {
    #[schema(min_length = 1)]
    upload_id: String,
    #[schema(minimum = 1)]
    part_size: u64,
    /// Bytes already stored when this upload resumes an interrupted one of the same backup and size.
    stored_bytes: u64,
    /// Key of the tar in the bucket; the first choice while the storage is away.
    key: String,
}

/// Create an upload
///
/// A second upload of the same backup to the same location replaces the first one, which ends as `cancelled`. While the storage
/// is away, the answer comes after 20 seconds, and the upload waits for the storage; its key and stored bytes may change then.
#[utoipa::path(
    post, path = "/v1/locations/{loc}/uploads", operation_id = "createUpload", tag = "uploads",
    params(LocationPath),
    request_body = CreateUpload,
    responses(
        (status = 201, description = "The upload to send the content to.", body = Created),
        Problems<400>, Problems<404>, Problems<409>, Problems<422>, StorageProblems,
    ),
)]
pub(super) async fn create(
    State(state): State<super::State>,
    Path(LocationPath { loc }): Path<LocationPath>,
    body: Body,
) -> Result<Response, Problem> {
    let CreateUpload { backup, filename } = read_json(body).await?;
    let backup: AgentBackup = serde_json::from_value(backup).map_err(|error| {
        Error::new(
            Kind::InvalidMetadata,
            format!("The backup's metadata cannot be used: {error}."),
        )
    })?;
    let upload = state
        .agent
        .create_upload(&loc, backup, &filename, Uploader::HomeAssistant)
        .await?;
    let address = format!("/v1/uploads/{}", upload.id);
    let created = Created {
        upload_id: upload.id.clone(),
        part_size: upload.part_size,
        stored_bytes: upload.resumed_bytes(),
        key: upload.key(),
    };
    let headers = [(header::LOCATION, address)];
    Ok((StatusCode::CREATED, headers, Json(created)).into_response())
}

/// The received content.
#[derive(Serialize, ToSchema)]
#[schema(as = Received)]
pub(super) struct Arrived {
    size: u64,
    #[schema(pattern = "^[0-9a-f]{8}$")]
    crc32: String,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    sha256: String,
}

/// Send the tar
///
/// The whole tar from byte 0, chunked or with a length. When the sender disconnects or the agent shuts down, the upload ends.
/// Its stored parts are kept for a day, so that a new upload of the same backup resumes.
#[utoipa::path(
    put, path = "/v1/uploads/{upload_id}/content", operation_id = "putUploadContent", tag = "uploads",
    params(UploadPath),
    request_body(content_type = "application/x-tar"),
    responses(
        (status = 200, description = "The received content.", body = Arrived),
        Problems<400>, Problems<404>, Problems<409>, Problems<422>, Problems<507>, StorageProblems,
    ),
)]
pub(super) async fn content(
    State(state): State<super::State>,
    Path(UploadPath { upload_id }): Path<UploadPath>,
    body: Body,
) -> Result<Json<Arrived>, Problem> {
    let body = Content::new(body);
    match state.agent.receive(&upload_id, body.clone()).await {
        Ok(Received {
            size,
            crc32,
            sha256,
            ..
        }) => Ok(Json(Arrived {
            size,
            crc32,
            sha256,
        })),
        Err(error) => {
            // Closing a connection with unread bytes resets it, and the sender would never read the answer.
            let rest = body.for_each(|_| std::future::ready(()));
            tokio::spawn(timeout(DISCARD_TIMEOUT, rest));
            Err(error.into())
        }
    }
}

/// The content of an upload; the rest is discarded when the upload fails early.
#[derive(Clone)]
struct Content(Arc<Mutex<BodyDataStream>>);

impl Content {
    fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(body.into_data_stream())))
    }
}

impl Stream for Content {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Never contended: the discarding reader starts after the agent's.
        Pin::new(&mut *self.0.lock())
            .poll_next(context)
            .map_err(io::Error::other)
    }
}

/// Size and CRC-32, as the sender counted them.
#[derive(Deserialize, ToSchema)]
pub(super) struct CompleteUpload {
    size: u64,
    #[schema(pattern = "^[0-9a-f]{8}$")]
    crc32: String,
}

/// Complete an upload
///
/// Compares size and CRC-32 with the sender's, then commits the backup.
#[utoipa::path(
    post, path = "/v1/uploads/{upload_id}/complete", operation_id = "completeUpload", tag = "uploads",
    params(UploadPath),
    request_body = CompleteUpload,
    responses(
        (status = 200, description = "The backup.", body = StoredBackup),
        Problems<400>, Problems<404>, Problems<409>, Problems<422>, Problems<507>, StorageProblems,
    ),
)]
pub(super) async fn complete(
    State(state): State<super::State>,
    Path(UploadPath { upload_id }): Path<UploadPath>,
    body: Body,
) -> Result<Json<StoredBackup>, Problem> {
    let CompleteUpload { size, crc32 } = read_json(body).await?;
    let stored = state.agent.complete_upload(&upload_id, size, crc32).await?;
    Ok(Json(stored))
}

/// Cancel an upload
///
/// Removes the upload's leftovers in the bucket. While the content is being sent, that call answers `cancelled`.
#[utoipa::path(
    delete, path = "/v1/uploads/{upload_id}", operation_id = "cancelUpload", tag = "uploads",
    params(UploadPath),
    responses((status = 204, description = "Cancelled."), Problems<404>, StorageProblems),
)]
pub(super) async fn cancel(
    State(state): State<super::State>,
    Path(UploadPath { upload_id }): Path<UploadPath>,
) -> Result<StatusCode, Problem> {
    state.agent.cancel_upload(&upload_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
