//! `uploads`: list, create, content, complete, cancel.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use super::Problem;
use crate::agent::model::UploadStatus;
use crate::agent::upload::Received;
use crate::backup::{AgentBackup, StoredBackup};
use crate::error::{Error, Kind};

/// The largest JSON body; a backup with hundreds of add-ons has some hundred KiB.
const MAX_JSON_BYTES: usize = 1024 * 1024;

/// How long a client may take over a JSON body.
const JSON_WITHIN: Duration = Duration::from_secs(30);

/// How long the rest of a refused upload is read, so that its sender hears the answer.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

#[derive(Serialize)]
pub(super) struct Uploads {
    uploads: Vec<UploadStatus>,
}

/// `GET /v1/uploads`
pub(super) async fn list(State(state): State<super::State>) -> Json<Uploads> {
    Json(Uploads {
        uploads: state.agent.uploads_under_way(),
    })
}

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
        Error::new(
            Kind::InvalidMetadata,
            format!("Home Assistant would refuse this backup: {error}."),
        )
    })?;
    let upload = state
        .agent
        .create_upload(&loc, backup, &request.filename)
        .await?;
    let place = format!("/v1/uploads/{}", upload.id);
    let created = Created {
        upload_id: upload.id.clone(),
        part_size: upload.part_size,
        stored_bytes: upload.resumed_bytes(),
        key: upload.key(),
    };
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, place)],
        Json(created),
    )
        .into_response())
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
    let body = Content::new(body);
    match state.agent.receive(&upload_id, body.clone()).await {
        Ok(Received {
            size,
            crc32,
            sha256,
        }) => Ok(Json(Arrived {
            size,
            crc32,
            sha256,
        })),
        Err(error) => {
            // Closing a connection that still has bytes coming resets it, and the sender would never see why.
            tokio::spawn(timeout(
                DRAIN_WITHIN,
                body.for_each(|_| std::future::ready(())),
            ));
            Err(error.into())
        }
    }
}

/// An upload's content, of which the rest can be thrown away when the upload has ended early.
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
        // Never contended: only one of the two readers is polled at a time.
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body)
            .poll_next(context)
            .map_err(io::Error::other)
    }
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
    Ok(Json(
        state
            .agent
            .complete_upload(&upload_id, request.size, request.crc32)
            .await?,
    ))
}

/// `DELETE /v1/uploads/{upload_id}`
pub(super) async fn cancel(
    State(state): State<super::State>,
    Path(upload_id): Path<String>,
) -> Result<StatusCode, Problem> {
    state.agent.cancel_upload(&upload_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a JSON body of bounded size, within a bounded time.
pub(super) async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, Error> {
    let refused = |why: String| {
        Error::new(
            Kind::InvalidRequest,
            format!("The body cannot be read: {why}."),
        )
    };
    let bytes = timeout(JSON_WITHIN, to_bytes(body, MAX_JSON_BYTES)).await;
    let bytes = bytes.map_err(|_| {
        refused(format!(
            "it did not arrive within {} s",
            JSON_WITHIN.as_secs()
        ))
    })?;
    let bytes = bytes.map_err(|error| refused(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))
}
