//! Traffic of a location: counters, and a debug record of each request.

use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;
use tracing::debug;
use utoipa::ToSchema;

use super::failure::Failure;
use super::request::Request;
use crate::error::innermost;

/// Counters of requests to a storage, since the location was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Traffic {
    /// Answered requests; "not found" is an answer.
    pub answered: u64,
    /// Refused requests.
    pub refused: u64,
    /// Requests without an answer.
    pub failed: u64,
    /// Bytes of request bodies, retries included.
    pub sent_bytes: u64,
    /// Bytes of response bodies.
    pub received_bytes: u64,
}

/// Running counters; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters(Arc<Mutex<Traffic>>);

impl Counters {
    pub(super) fn sent(&self, bytes: usize) {
        self.0.lock().sent_bytes += bytes as u64;
    }

    pub(super) fn received(&self, bytes: usize) {
        self.0.lock().received_bytes += bytes as u64;
    }

    pub(super) fn now(&self) -> Traffic {
        *self.0.lock()
    }

    /// Counts and logs a request. The log has no query but the number of a part: the rest is long and says little.
    pub(super) fn note(
        &self,
        location: &str,
        request: &Request,
        path: &str,
        start: Instant,
        result: Result<StatusCode, &Failure>,
    ) {
        let method = &request.method;
        let part = request.part_number();
        let size_bytes = request.payload.bytes.len();
        let duration_ms = start.elapsed().as_millis();
        let location = Some(location).filter(|location| !location.is_empty());
        let refusal = result.err().and_then(Failure::refused);
        let status = result.ok().map(|status| status.as_u16());
        let status = status.or(refusal.map(|answer| answer.status));
        let code = refusal.map(|answer| &*answer.code);
        let mut request_id = None;
        let mut traffic = self.0.lock();
        let (count, outcome) = match result {
            // Each upload asks first whether its name is taken.
            Err(Failure::Refused(answer)) if answer.status != 404 => {
                request_id = answer.request_id.as_deref();
                let outcome = format!("the storage refused: {}", answer.message);
                (&mut traffic.refused, outcome)
            }
            Ok(_) | Err(Failure::Refused(_)) => {
                (&mut traffic.answered, "the storage answered".to_owned())
            }
            Err(error) => {
                let outcome = format!("no answer from the storage: {}", innermost(error));
                (&mut traffic.failed, outcome)
            }
        };
        *count += 1;
        debug!(
            location, %method, path, part, size_bytes, status, code, duration_ms, request_id, "{outcome}"
        );
    }
}
