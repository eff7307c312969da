//! Protection against cross-site request forgery.
//!
//! A browser authenticates by itself: by its allowed address, the stored token, or Home Assistant's session. So another site
//! could make it press *Check* or *Cancel*, although it could not read the answer.
//!
//! Browsers state the origin of such a request. `Sec-Fetch-Site` is set by the browser alone and sent over https and to
//! loopback. `Origin` is sent with every POST, also over http, and must be the host of the request. Behind a proxy that
//! uses another host name, that host is in `X-Forwarded-Host`, which Home Assistant's ingress always sets. Another site
//! cannot send that header without a CORS preflight, which the agent never approves. A POST with neither header is not from
//! a browser's form, and refused; a GET changes nothing. The page uses no cookies.
//!
//! Sources: "Fetch Metadata Request Headers" of the W3C, "Origin header" and "CORS" in the Fetch standard,
//! `homeassistant/components/hassio/ingress.py`.

use axum::extract::Request;
use axum::http::header::{HOST, HeaderMap, ORIGIN};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use url::Url;

/// Refuses cross-site requests.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    if is_own(request.method(), request.headers()) {
        return next.run(request).await;
    }
    tracing::warn!(path = request.uri().path(), "refused a cross-site request");
    (
        StatusCode::FORBIDDEN,
        "This request does not come from the agent's own page.\n",
    )
        .into_response()
}

fn is_own(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("not text"))
    };
    if let Some(site) = text("sec-fetch-site") {
        // "none" is a typed address, which is never a POST.
        return site == "same-origin" || (site == "none" && method == Method::GET);
    }
    match text(ORIGIN.as_str()) {
        Some(origin) => [text(HOST.as_str()), text("x-forwarded-host")]
            .into_iter()
            .flatten()
            .any(|host| {
                // Browsers omit the default port from both.
                Url::parse(origin).is_ok_and(|origin| authority(&origin).eq_ignore_ascii_case(host))
            }),
        None => method == Method::GET,
    }
}

/// Formats host and port as in `Host`.
fn authority(origin: &Url) -> String {
    let host = origin.host_str().unwrap_or_default();
    origin
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(method: &Method, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        is_own(method, &headers)
    }

    #[test]
    fn browser_headers_decide() {
        let host = ("host", "192.0.2.7:8099");
        for (headers, get, post) in [
            (&[host][..], true, false),
            (&[host, ("sec-fetch-site", "same-origin")], true, true),
            (&[host, ("sec-fetch-site", "none")], true, false),
            (&[host, ("sec-fetch-site", "same-site")], false, false),
            (
                &[
                    host,
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "http://192.0.2.7:8099"),
                ],
                false,
                false,
            ),
            (&[host, ("origin", "http://192.0.2.7:8099")], true, true),
            (&[host, ("origin", "http://192.0.2.7")], false, false),
            (
                &[host, ("origin", "https://evil.example.com")],
                false,
                false,
            ),
            (&[host, ("origin", "null")], false, false),
            (&[("origin", "http://192.0.2.7:8099")], false, false),
            (
                &[
                    host,
                    ("x-forwarded-host", "home.example.com"),
                    ("origin", "https://home.example.com"),
                ],
                true,
                true,
            ),
            (
                &[
                    host,
                    ("x-forwarded-host", "home.example.com"),
                    ("origin", "https://evil.example.com"),
                ],
                false,
                false,
            ),
            (
                &[
                    ("host", "[2001:db8::1]:8123"),
                    ("origin", "http://[2001:db8::1]:8123"),
                ],
                true,
                true,
            ),
        ] {
            assert_eq!(
                (own(&Method::GET, headers), own(&Method::POST, headers)),
                (get, post),
                "{headers:?}"
            );
        }
    }
}
