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
use crate::store::error::innermost;

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
        let mut traffic = self.0.lock();
        let refusal = match result {
            Ok(status) => {
                let status = status.as_u16();
                debug!(location, %method, path, part, size_bytes, status, duration_ms, "the storage answered");
                traffic.answered += 1;
                return;
            }
            Err(Failure::Refused(answer)) => answer,
            Err(error) => {
                let error = innermost(error);
                debug!(location, %method, path, part, size_bytes, duration_ms, "no answer from the storage: {error}");
                traffic.failed += 1;
                return;
            }
        };
        let (status, code) = (refusal.status, &*refusal.code);
        // Each upload asks first whether its name is taken.
        if status == 404 {
            debug!(location, %method, path, part, size_bytes, status, code, duration_ms, "the storage answered");
            traffic.answered += 1;
        } else {
            debug!(
                location, %method, path, part, size_bytes, status, code, duration_ms,
                request_id = refusal.request_id, "the storage refused: {}", refusal.message
            );
            traffic.refused += 1;
        }
    }
}
