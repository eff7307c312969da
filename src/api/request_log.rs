//! One log record per call.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::{debug, trace};

use crate::logging::scrub::scrub_value;

/// Logs a call when its answer starts.
pub(super) async fn log(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>();
    let path = scrubbed(
        route.map(MatchedPath::as_str).unwrap_or_default(),
        request.uri().path(),
    );
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

/// The path without secrets in what the client chose; the words of the route stay.
fn scrubbed(route: &str, path: &str) -> String {
    let mut words = route.split('/');
    let parts = path.split('/').map(|part| match words.next() {
        Some(word) if word == part => part.into(),
        _ => scrub_value(part),
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::scrubbed;
    use crate::config::Secret;

    #[test]
    fn secret_is_removed_from_what_the_client_chose() {
        let _secret = Secret::new("locations");
        let route = "/v1/locations/{loc}/backups";
        for (route, path, logged) in [
            (
                route,
                "/v1/locations/locations/backups",
                "/v1/locations/***/backups",
            ),
            ("", "/v1/locations", "/v1/***"),
            ("/v1/info", "/v1/info", "/v1/info"),
        ] {
            assert_eq!(scrubbed(route, path), logged);
        }
    }
}
