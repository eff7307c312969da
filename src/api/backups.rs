//! `backups`: one, content, delete.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::openapi::{Problems, StorageProblems};
use super::range::{Requested, requested};
use super::{BackupPath, Problem};
use crate::agent::catalog::Entry;
use crate::agent::download::Download;
use crate::agent::location::Location;
use crate::backup::StoredBackup;
use crate::error::Result;

/// CRC-32 of a whole tar, if known, so that the client notices damage on the way from the agent.
const CRC32: HeaderName = HeaderName::from_static("s3-backup-agent-crc32");

/// Id of a download, by which the event that says why it broke off is recognised.
const DOWNLOAD: HeaderName = HeaderName::from_static("s3-backup-agent-download");

/// One backup
#[utoipa::path(
    get, path = "/v1/locations/{loc}/backups/{backup_id}", operation_id = "getBackup", tag = "backups",
    params(BackupPath),
    responses((status = 200, description = "The backup.", body = StoredBackup), Problems<404>, StorageProblems),
)]
pub(super) async fn one(
    State(state): State<super::State>,
    Path(BackupPath { loc, backup_id }): Path<BackupPath>,
) -> Result<Response, Problem> {
    let entry = state.agent.find(&loc, &backup_id).await?;
    Ok(Json(&*entry.metadata.json).into_response())
}

/// Delete a backup
#[utoipa::path(
    delete, path = "/v1/locations/{loc}/backups/{backup_id}", operation_id = "deleteBackup", tag = "backups",
    params(BackupPath),
    responses((status = 204, description = "Deleted."), Problems<404>, Problems<409>, StorageProblems),
)]
pub(super) async fn delete(
    State(state): State<super::State>,
    Path(BackupPath { loc, backup_id }): Path<BackupPath>,
) -> Result<StatusCode, Problem> {
    state.agent.delete(&loc, &backup_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The tar of a backup
///
/// When the storage fails, or the stored bytes turn out to be corrupted, the connection breaks before the last byte. An event
/// of type `download` says why.
#[utoipa::path(
    get, path = "/v1/locations/{loc}/backups/{backup_id}/content", operation_id = "getBackupContent", tag = "backups",
    params(BackupPath, ("Range" = Option<String>, Header, description = "One range of bytes.", pattern = "^bytes=", example = "bytes=0-1048575")),
    responses(
        (status = 200, description = "The whole tar.", content_type = "application/x-tar", headers(
            ("Content-Length" = u64),
            ("ETag" = String),
            ("Accept-Ranges" = String, description = "Always `bytes`."),
            ("S3-Backup-Agent-Download" = String, description = "Id of this download, for the event that says why it broke off."),
            ("S3-Backup-Agent-CRC32" = String, description = "CRC-32 of the whole tar, eight lower-case hex digits, if known."),
        )),
        (status = 206, description = "The requested range.", content_type = "application/x-tar", headers(
            ("Content-Length" = u64),
            ("Content-Range" = String, description = "`bytes FIRST-LAST/SIZE`"),
            ("ETag" = String),
            ("Accept-Ranges" = String, description = "Always `bytes`."),
            ("S3-Backup-Agent-Download" = String, description = "Id of this download, for the event that says why it broke off."),
        )),
        (status = 416, description = "The range is outside the tar."),
        Problems<400>, Problems<404>, StorageProblems,
    ),
)]
pub(crate) async fn content(
    State(state): State<super::State>,
    Path(BackupPath { loc, backup_id }): Path<BackupPath>,
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
    let download_id = uuid::Uuid::new_v4().simple().to_string();
    let stream = download.into_reported_stream(download_id.clone());
    let mut response = Response::new(Body::from_stream(stream));
    *response.status_mut() = status;
    let mut put_header = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    put_header(DOWNLOAD, &download_id);
    put_header(header::CONTENT_TYPE, "application/x-tar");
    put_header(header::ACCEPT_RANGES, "bytes");
    put_header(header::CONTENT_LENGTH, &(sent.end - sent.start).to_string());
    put_header(header::ETAG, &e_tag.unwrap_or_default());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{size}", sent.start, sent.end - 1);
        put_header(header::CONTENT_RANGE, &range);
    } else if let Some(crc32) = entry
        .metadata
        .stored
        .as_ref()
        .and_then(|stored| stored.crc32.as_deref())
    {
        put_header(CRC32, crc32);
    }
    Ok(response)
}

/// 416 has no body: its header holds the size.
fn outside(size: u64) -> Response {
    let range = format!("bytes */{size}");
    (
        StatusCode::RANGE_NOT_SATISFIABLE,
        [(header::CONTENT_RANGE, range)],
    )
        .into_response()
}
