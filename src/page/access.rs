//! Access to the page: the gate's refusals in the visitor's language.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LANGUAGE, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::escape::Own;
use super::words::Words;
use crate::server::auth::{PageRefusal, Peer, TokenRefusal};

/// Id of the user who is logged in to Home Assistant.
const USER: HeaderName = HeaderName::from_static("x-remote-user-id");

/// Serves a request that the gate admits.
pub(super) async fn guard(
    State(state): State<super::State>,
    request: Request,
    next: Next,
) -> Response {
    let peer = Peer::of(&request);
    match state.api.gate.check_page(peer, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => answer(refusal, peer.0, state.languages.of(request.headers())),
    }
}

/// Serves a request that only an administrator may make: Supervisor's ingress names the user, and removes a name that the
/// browser sends. Source: `_init_header` in Supervisor's `supervisor/api/ingress.py`.
pub(super) async fn administrator(
    State(state): State<super::State>,
    request: Request,
    next: Next,
) -> Response {
    let user = request.headers().get(USER).and_then(|id| id.to_str().ok());
    let is_administrator = user.is_some_and(|id| state.api.home_assistant.is_administrator(id));
    if is_administrator || !state.api.gate.is_from_ingress(Peer::of(&request)) {
        return next.run(request).await;
    }
    let words = state.languages.of(request.headers());
    let text = words.access.administrator.to_string();
    refusal(StatusCode::FORBIDDEN, words, &text)
}

fn answer(refusal: PageRefusal, address: Option<IpAddr>, words: &Words) -> Response {
    let words_of = &words.access;
    let (status, text) = match refusal {
        PageRefusal::Address => {
            let address = address.map(|address| address.to_string());
            let text = words_of
                .address
                .with("address", Own::new(address.unwrap_or_default()));
            (StatusCode::FORBIDDEN, text.to_string())
        }
        PageRefusal::Host => (StatusCode::FORBIDDEN, words_of.name.to_string()),
        PageRefusal::Token(TokenRefusal::Throttled) => {
            (StatusCode::TOO_MANY_REQUESTS, words_of.wait.to_string())
        }
        PageRefusal::Token(_) => (StatusCode::UNAUTHORIZED, words_of.token.to_string()),
    };
    let mut response = self::refusal(status, words, &text);
    if status == StatusCode::UNAUTHORIZED {
        let asked = HeaderValue::from_static("Basic realm=\"S3 Backup Agent\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, asked);
    }
    response
}

fn refusal(status: StatusCode, words: &Words, text: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CONTENT_LANGUAGE, words.language),
    ];
    (status, headers, format!("{text}\n")).into_response()
}
