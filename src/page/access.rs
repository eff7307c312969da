//! Access to the page: the gate's refusals in the visitor's language.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LANGUAGE, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::escape::Own;
use super::words::Words;
use crate::server::auth::{PageRefusal, Peer, TokenRefusal};

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
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CONTENT_LANGUAGE, words.language),
    ];
    let mut response = (status, headers, format!("{text}\n")).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let asked = HeaderValue::from_static("Basic realm=\"S3 Backup Agent\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, asked);
    }
    response
}
