//! Answers of newline-delimited JSON: one compact object per line.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;

/// The media type.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Whether the client asks for lines.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            range
                .split(';')
                .next()
                .is_some_and(|kind| kind.trim() == NDJSON)
        })
}

/// Serialises one line.
pub(super) fn line(value: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line.into())
}

/// Answers with a stream of lines.
pub(super) fn response<S>(lines: S) -> Response
where
    S: Stream<Item = serde_json::Result<Bytes>> + Send + 'static,
{
    ([(CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}
