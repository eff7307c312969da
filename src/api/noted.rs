//! Each call in the log, where somebody looks that closely.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::{debug, trace};

/// Notes a call when its answer begins.
pub(super) async fn note(request: Request, next: Next) -> Response {
    let (method, path, start) = (
        request.method().clone(),
        request.uri().path().to_owned(),
        Instant::now(),
    );
    let response = next.run(request).await;
    let (status, duration_ms) = (response.status().as_u16(), start.elapsed().as_millis());
    // Asked every few seconds by whoever watches over the agent.
    if path == "/v1/health" {
        trace!(%method, path, status, duration_ms, "answered");
    } else {
        debug!(%method, path, status, duration_ms, "answered");
    }
    response
}
