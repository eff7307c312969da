//! What a location's requests come to: a debug record for each, and counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::client::{HttpError, HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::time::Instant;
use tracing::debug;
use utoipa::ToSchema;

use super::Answer;
use crate::store::error::{find, innermost};

/// Counters of requests to a storage, since the location was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Traffic {
    /// Requests that were answered; that something is not there is an answer.
    pub answered: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests that nobody answered.
    pub failed: u64,
    /// Bytes of bodies on the way up; what had to be sent again counts again.
    pub sent_bytes: u64,
    /// Bytes of bodies on the way down.
    pub received_bytes: u64,
}

/// The same while it goes on.
#[derive(Debug, Clone, Default)]
pub(super) struct Counting(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    answered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl Counting {
    pub(super) fn sent(&self, bytes: usize) {
        self.0.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.0
            .received_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Traffic {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            answered: load(&self.0.answered),
            refused: load(&self.0.refused),
            failed: load(&self.0.failed),
            sent_bytes: load(&self.0.sent_bytes),
            received_bytes: load(&self.0.received_bytes),
        }
    }
}

/// A request on its way.
pub(super) struct Attempt {
    method: http::Method,
    uri: http::Uri,
    size_bytes: usize,
    start: Instant,
}

impl Attempt {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self {
            method,
            uri,
            size_bytes: request.body().content_length(),
            start: Instant::now(),
        }
    }

    /// Notes how it went. The query is left out but for the number of a part: the rest is long and says little.
    pub(super) fn ended(
        self,
        location: &str,
        counting: &Counting,
        answer: &Result<HttpResponse, HttpError>,
    ) {
        let (duration_ms, size_bytes, method) = (
            self.start.elapsed().as_millis(),
            self.size_bytes,
            &self.method,
        );
        let path = percent_decode_str(self.uri.path()).decode_utf8_lossy();
        let part = self.uri.query().and_then(part_number);
        let refusal = answer
            .as_ref()
            .err()
            .and_then(|error| find::<Answer>(error));
        let location = Some(location).filter(|location| !location.is_empty());
        let counter = match (answer, refusal) {
            (Ok(response), _) => {
                let status = response.status().as_u16();
                debug!(location, %method, %path, part, size_bytes, status, duration_ms, "the storage answered");
                &counting.0.answered
            }
            // Whether something is there is asked before each upload.
            (
                Err(_),
                Some(Answer {
                    status: status @ 404,
                    code,
                    ..
                }),
            ) => {
                debug!(location, %method, %path, part, size_bytes, status, code, duration_ms, "the storage answered");
                &counting.0.answered
            }
            (
                Err(_),
                Some(Answer {
                    status,
                    code,
                    message,
                    request_id,
                    ..
                }),
            ) => {
                debug!(
                    location, %method, %path, part, size_bytes, status, code, duration_ms, request_id,
                    "the storage refused: {message}"
                );
                &counting.0.refused
            }
            (Err(error), None) => {
                let error = innermost(error);
                debug!(location, %method, %path, part, size_bytes, duration_ms, "no answer from the storage: {error}");
                &counting.0.failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn part_number(query: &str) -> Option<u64> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("partNumber="))?
        .parse()
        .ok()
}
