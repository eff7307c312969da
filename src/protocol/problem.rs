//! Errors as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::body::to_bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::{error, info};

use crate::error::{Error, Kind};

/// The router's own refusals are a sentence.
const MAX_REFUSAL_BYTES: usize = 4096;

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Problem(Error);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

#[derive(Serialize)]
struct Body<'e> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'e str,
    code: &'static str,
    reason: &'static str,
    provider_code: Option<&'e str>,
    request_id: Option<&'e str>,
    retryable: bool,
    hint: &'e str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let facts = self.0.kind().facts();
        let status = StatusCode::from_u16(facts.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // The one place where an error of a call is logged.
        if self.0.kind() == Kind::Internal {
            error!(code = facts.code, source = source(&self.0), "{}", self.0);
        } else {
            info!(code = facts.code, "answered with an error: {}", self.0);
        }
        let body = Body {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: facts.status,
            detail: self.0.detail(),
            code: facts.code,
            reason: self.0.reason(),
            provider_code: self.0.provider_code(),
            request_id: self.0.request_id(),
            retryable: facts.retryable,
            hint: self.0.hint(),
        };
        let mut response = (status, Json(body)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Makes a problem of what the router refuses by itself, such as a path that is not UTF-8.
pub(super) async fn from_refusal(response: Response) -> Response {
    let is_text =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !response.status().is_client_error() || !is_text {
        return response;
    }
    let said = to_bytes(response.into_body(), MAX_REFUSAL_BYTES).await.unwrap_or_default();
    let detail = format!("The request cannot be read: {}", String::from_utf8_lossy(&said));
    Problem(Error::new(Kind::InvalidRequest, detail)).into_response()
}

fn source(error: &Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}
