//! One log record per call.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::{debug, trace};

/// Logs a call when its answer starts.
pub(super) async fn log(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let start = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let duration_ms = start.elapsed().as_millis();
    // A watchdog calls this every few seconds.
    if path == "/v1/health" {
        trace!(%method, path, status, duration_ms, "answered");
    } else {
        debug!(%method, path, status, duration_ms, "answered");
    }
    response
}
