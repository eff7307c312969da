//! What every answer says to the browser.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::response::Response;

/// Nothing but the page's own files, nothing written into the page, and no frame around it but Home Assistant's, which
/// under ingress is of the same origin.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not "no-referrer": with that, browsers hide the origin of a form, too, and `origin` needs it.
    (REFERRER_POLICY, "same-origin"),
    // The files change with the agent, and names of backups are nobody's to keep.
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Gives a stream of lines a type that says nothing. Home Assistant's ingress compresses what has `json` in its type, and
/// keeps lines back until there are enough of them. Source: `should_compress` in `homeassistant/components/hassio/http.py`.
pub(super) async fn stream(mut response: Response) -> Response {
    if response.status().is_success() {
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
    }
    response
}

/// Adds them.
pub(super) async fn secure(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
