//! Requests that another site makes a browser send.
//!
//! A browser adds what lets it in by itself: that it is at an allowed address, the token that it was once given, the
//! session of Home Assistant. So another site could have it press *Check* or *Cancel*, only not read what comes of it.
//!
//! Every browser says with such a request where it is from. `Sec-Fetch-Site` is set by the browser alone, no page can
//! change it; it is sent over https and to loopback. `Origin` is sent with every POST, also over http, and no page can
//! change it either; it must be the host that the request is for. Behind a proxy that calls the agent by another name,
//! that host is in `X-Forwarded-Host`, which Home Assistant's ingress always sets. A page of another site cannot send that
//! header without asking the agent first (CORS), and the agent never agrees. A POST with neither is not from a browser's
//! form, and not wanted; a GET changes nothing. Cookies are not used, so there is nothing else to protect.
//!
//! Sources: "Fetch Metadata Request Headers" of the W3C, "Origin header" and "CORS" in the Fetch standard,
//! `homeassistant/components/hassio/ingress.py`.

use axum::extract::Request;
use axum::http::header::{HOST, HeaderMap, ORIGIN};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use url::Url;

/// Refuses what is from another site.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    if is_own(request.method(), request.headers()) {
        return next.run(request).await;
    }
    tracing::warn!(
        path = request.uri().path(),
        "refused a request that another site made a browser send"
    );
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
        // "none" is a person who typed the address, which makes no POST.
        return site == "same-origin" || (site == "none" && method == Method::GET);
    }
    match text(ORIGIN.as_str()) {
        Some(origin) => [text(HOST.as_str()), text("x-forwarded-host")]
            .into_iter()
            .flatten()
            .any(|host| {
                // What a browser leaves out of one of the two, it leaves out of the other.
                Url::parse(origin).is_ok_and(|origin| authority(&origin).eq_ignore_ascii_case(host))
            }),
        None => method == Method::GET,
    }
}

/// Host and port, as `Host` has them.
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
    fn what_a_browser_says_decides() {
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
