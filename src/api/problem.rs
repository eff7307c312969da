//! Errors as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::body::to_bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::info;

use crate::config;
use crate::error::{Error, Kind, Reason};

/// The router's own refusals are a sentence.
const MAX_REFUSAL_BYTES: usize = 4096;

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct Problem {
    error: Error,
    settings: Vec<config::Problem>,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self {
            error,
            settings: Vec::new(),
        }
    }
}

impl Problem {
    /// Settings of a location that cannot be used, each with what is wrong with it.
    pub(super) fn of_settings(settings: Vec<config::Problem>) -> Self {
        let detail = settings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        let error = Error::new(
            Kind::InvalidRequest,
            format!("The location's settings cannot be used: {detail}."),
        );
        let reason = settings.first().and_then(|problem| problem.reason);
        Self {
            error: error.with_reason(reason),
            settings,
        }
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Setting<'e>>,
}

/// One setting that is wrong.
#[derive(Serialize)]
struct Setting<'e> {
    key: &'e str,
    reason: &'static str,
    message: &'e str,
    suggestion: Option<&'e str>,
}

impl<'e> From<&'e config::Problem> for Setting<'e> {
    fn from(problem: &'e config::Problem) -> Self {
        Self {
            key: &problem.key,
            reason: problem
                .reason
                .map_or(Kind::InvalidRequest.code(), Reason::code),
            message: &problem.message,
            suggestion: problem.suggestion.as_deref(),
        }
    }
}

impl Problem {
    /// The problem as the last line of an answer that began well.
    pub(super) fn into_line(self) -> Value {
        self.log();
        let mut line = json!(self.body());
        line["type"] = json!("error");
        line
    }

    /// The one place where an error of a call is logged.
    fn log(&self) {
        let (error, code) = (&self.error, self.error.kind().code());
        if error.kind() == Kind::Internal {
            tracing::error!(code, source = source(error), "{error}");
        } else {
            info!(code, "answered with an error: {error}");
        }
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.error.kind().facts().status)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn body(&self) -> Body<'_> {
        let (error, status) = (&self.error, self.status());
        let facts = error.kind().facts();
        Body {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: facts.status,
            detail: error.detail(),
            code: facts.code,
            reason: error.reason(),
            provider_code: error.provider_code(),
            request_id: error.request_id(),
            retryable: facts.retryable,
            hint: error.hint(),
            problems: self.settings.iter().map(Setting::from).collect(),
        }
    }
}

impl Problem {
    /// The answer, without a word in the log.
    pub(super) fn into_quiet_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self.body())).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            // In a new connection, each guess takes its sender as much work as us.
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.log();
        self.into_quiet_response()
    }
}

/// Makes a problem of what the router refuses by itself, such as a path that is not UTF-8.
pub(super) async fn from_refusal(response: Response) -> Response {
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !response.status().is_client_error() || !is_text {
        return response;
    }
    let said = to_bytes(response.into_body(), MAX_REFUSAL_BYTES)
        .await
        .unwrap_or_default();
    let detail = format!(
        "The request cannot be read: {}",
        String::from_utf8_lossy(&said)
    );
    Problem::from(Error::new(Kind::InvalidRequest, detail)).into_response()
}

fn source(error: &Error) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}
