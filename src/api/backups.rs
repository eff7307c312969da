//! `backups`: one, content, delete.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Problem;
use super::range::{Requested, requested};
use crate::agent::catalog::Entry;
use crate::agent::download::Download;
use crate::agent::location::Location;
use crate::error::Result;

/// Says the CRC-32 of a whole tar, where it is known, so that what is damaged behind the agent is noticed as well.
const CRC32: HeaderName = HeaderName::from_static("s3-backup-agent-crc32");

/// `GET /v1/locations/{loc}/backups/{backup_id}`
pub(super) async fn one(
    State(state): State<super::State>,
    Path((loc, backup_id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let entry = state.agent.find(&loc, &backup_id).await?;
    Ok(Json(&*entry.metadata.json).into_response())
}

/// `DELETE /v1/locations/{loc}/backups/{backup_id}`
pub(super) async fn delete(
    State(state): State<super::State>,
    Path((loc, backup_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    state.agent.delete(&loc, &backup_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/locations/{loc}/backups/{backup_id}/content`
pub(super) async fn content(
    State(state): State<super::State>,
    Path((loc, backup_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let send = |location, entry| send(location, entry, &headers);
    Ok(state.agent.open(&loc, &backup_id, send).await?)
}

async fn send(location: Arc<Location>, entry: Entry, headers: &HeaderMap) -> Result<Response> {
    let size = entry.tar.size;
    let (status, range) = match requested(headers, size, &entry.tar.version)? {
        Requested::Whole => (StatusCode::OK, None),
        Requested::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Requested::Outside => return Ok(outside(size)),
    };
    let download = Download::open(location, &entry, range).await?;
    let (sent, e_tag) = (download.range.clone(), download.e_tag.clone());
    let mut response = Response::new(Body::from_stream(download.into_stream()));
    *response.status_mut() = status;
    let mut put_header = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    put_header(header::CONTENT_TYPE, "application/x-tar");
    put_header(header::ACCEPT_RANGES, "bytes");
    put_header(header::CONTENT_LENGTH, &(sent.end - sent.start).to_string());
    put_header(header::ETAG, &e_tag.unwrap_or_default());
    let crc32 = entry
        .metadata
        .stored
        .as_ref()
        .and_then(|stored| stored.crc32.as_deref());
    if let Some(crc32) = crc32.filter(|_| status == StatusCode::OK) {
        put_header(CRC32, crc32);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        put_header(
            header::CONTENT_RANGE,
            &format!("bytes {}-{}/{size}", sent.start, sent.end - 1),
        );
    }
    Ok(response)
}

/// 416 has no body: its header says it all.
fn outside(size: u64) -> Response {
    let range = format!("bytes */{size}");
    (
        StatusCode::RANGE_NOT_SATISFIABLE,
        [(header::CONTENT_RANGE, range)],
    )
        .into_response()
}
