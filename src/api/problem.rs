//! Errors as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::body::to_bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::{debug, info};
use utoipa::ToSchema;

use crate::config;
use crate::error::{Error, Kind, Placeholders};

/// Size limit of the router's own refusals, which are a sentence.
const MAX_REFUSAL_BYTES: usize = 4096;

/// An error that a call answers with.
#[derive(Debug)]
pub(crate) struct Problem {
    error: Error,
    settings: Vec<config::Problem>,
}

/// RFC 9457.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// `about:blank`; `error` in the last line of a stream.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened, to which bucket and key.
    detail: String,
    #[schema(value_type = Kind)]
    code: &'static str,
    /// A finer code, or the same as `code`.
    reason: &'static str,
    /// The storage provider's own error code.
    provider_code: Option<String>,
    /// The storage provider's id of the request.
    request_id: Option<String>,
    /// Whether the same call may succeed later without a change.
    retryable: bool,
    /// What to change; empty if the detail is enough.
    hint: String,
    /// What it is about, by name, for a sentence in another language: `said` is the provider's or the system's own words.
    #[serde(skip_serializing_if = "Placeholders::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, String>, required = false)]
    placeholders: Placeholders,
    /// Invalid settings of a location, if they are the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    problems: Vec<InvalidSetting>,
}

/// An invalid setting.
#[derive(Serialize, ToSchema)]
struct InvalidSetting {
    key: String,
    reason: &'static str,
    message: String,
    suggestion: Option<String>,
    /// What it is about, by name, for a sentence in another language.
    #[serde(skip_serializing_if = "Placeholders::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, String>, required = false)]
    placeholders: Placeholders,
}

impl From<&config::Problem> for InvalidSetting {
    fn from(problem: &config::Problem) -> Self {
        Self {
            key: problem.key.clone(),
            reason: problem.code(),
            message: problem.message.clone(),
            suggestion: problem.suggestion.clone(),
            placeholders: problem.placeholders.clone(),
        }
    }
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
    /// Reports invalid settings of a location.
    pub(super) fn of_settings(settings: Vec<config::Problem>) -> Self {
        let details: Vec<_> = settings.iter().map(ToString::to_string).collect();
        let error = Error::new(
            Kind::InvalidRequest,
            format!(
                "The location's settings cannot be used: {}.",
                details.join("; ")
            ),
        );
        let reason = settings.first().and_then(|problem| problem.reason);
        Self {
            error: error.with_reason(reason),
            settings,
        }
    }

    /// Logs the problem and returns it as the last line of a stream.
    pub(super) fn into_line(self) -> ProblemBody {
        self.log();
        ProblemBody {
            kind: "error",
            ..self.body()
        }
    }

    /// Logs the error; the only place that logs an error of a call.
    fn log(&self) {
        let error = &self.error;
        let code = error.kind().code();
        match error.kind() {
            Kind::Internal => {
                let source = std::error::Error::source(error).map(ToString::to_string);
                tracing::error!(code, source = source.unwrap_or_default(), "{error}");
            }
            // Home Assistant asks every location for each backup; a location logs the beginning and the end of an outage.
            Kind::BackupNotFound | Kind::StorageUnreachable | Kind::StorageTimeout => {
                debug!(code, "answered with an error: {error}");
            }
            _ => info!(code, "answered with an error: {error}"),
        }
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.error.kind().facts().status)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn body(&self) -> ProblemBody {
        let error = &self.error;
        let facts = error.kind().facts();
        ProblemBody {
            kind: "about:blank",
            title: self.status().canonical_reason().unwrap_or("Error"),
            status: facts.status,
            detail: error.detail().to_owned(),
            code: facts.code,
            reason: error.reason(),
            provider_code: error.provider_code().map(str::to_owned),
            request_id: error.request_id().map(str::to_owned),
            retryable: facts.retryable,
            hint: error.hint().to_owned(),
            placeholders: error.placeholders().clone(),
            problems: self.settings.iter().map(InvalidSetting::from).collect(),
        }
    }

    /// Answers without a log record.
    pub(super) fn into_quiet_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self.body())).into_response();
        let mut put = |name, value| {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        };
        put(header::CONTENT_TYPE, "application/problem+json");
        if status == StatusCode::UNAUTHORIZED {
            put(header::WWW_AUTHENTICATE, "Bearer");
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            // A new connection for each guess costs the client as much as the agent.
            put(header::CONNECTION, "close");
            put(header::RETRY_AFTER, "10");
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

/// Turns the router's own refusals into problems, such as a path that is not UTF-8.
pub(super) async fn from_refusal(response: Response) -> Response {
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !response.status().is_client_error() || !is_text {
        return response;
    }
    let text = to_bytes(response.into_body(), MAX_REFUSAL_BYTES).await;
    let detail = format!(
        "The request cannot be read: {}",
        String::from_utf8_lossy(&text.unwrap_or_default())
    );
    Problem::from(Error::new(Kind::InvalidRequest, detail)).into_response()
}
