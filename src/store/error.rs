//! What can come of a storage call, as a closed set.

mod answer;
mod transport;

use std::error::Error as StdError;

use object_store::client::{HttpError, HttpErrorKind};

use super::http::Answer;
use super::reach::ahead_of;
use crate::error::{Error as AgentError, Kind, Reason};
pub(super) use transport::{find, innermost};

/// The outcome of a storage call that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The object does not exist.
    NotFound,
    /// The object is no longer the one that was asked for (`If-Match`).
    Changed,
    /// The multipart upload does not exist: aborted, or already completed.
    NoSuchUpload,
    /// The key or the signature is not accepted.
    Auth,
    /// The key may not do this.
    Forbidden,
    /// The bucket does not exist.
    BucketNotFound,
    /// The bucket is in another region.
    WrongRegion,
    /// This machine's clock is off.
    ClockSkew,
    /// The certificate is not accepted, or TLS does not come up.
    Certificate,
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The provider asks to slow down.
    Throttled,
    /// The provider had an error of its own (5xx).
    ServerError,
    /// What arrived there is not what was sent.
    Damaged,
    /// No space or quota left.
    Full,
    /// Retention or object lock forbids it.
    Locked,
    /// What answers is no S3 server.
    NotS3,
    /// Anything else.
    Refused,
}

impl Outcome {
    /// Whether the same call may succeed when it is made again.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Timeout | Self::Throttled | Self::ServerError
        )
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Auth => Kind::StorageAuth,
            Self::Forbidden => Kind::StorageForbidden,
            Self::BucketNotFound => Kind::BucketNotFound,
            Self::WrongRegion => Kind::WrongRegion,
            Self::ClockSkew => Kind::ClockSkew,
            Self::Certificate => Kind::StorageCertificate,
            // A proxy's 502 is the usual way for storage to be down.
            Self::Unreachable | Self::ServerError => Kind::StorageUnreachable,
            Self::Timeout => Kind::StorageTimeout,
            Self::Throttled => Kind::StorageThrottled,
            Self::Damaged => Kind::ChecksumMismatch,
            Self::Full => Kind::StorageFull,
            Self::Locked => Kind::ObjectLocked,
            Self::NotFound | Self::Changed | Self::NoSuchUpload | Self::NotS3 | Self::Refused => {
                Kind::StorageError
            }
        }
    }
}

/// The provider took what it was to encrypt, and did not encrypt it.
#[derive(Debug, thiserror::Error)]
#[error("the provider took the backup without encrypting it")]
pub(super) struct NotEncrypted;

/// A storage call that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What came of it.
    pub outcome: Outcome,
    /// What exactly, where that is known.
    pub reason: Option<Reason>,
    /// A sentence with the bucket and key.
    pub message: String,
    /// The provider's own code.
    pub provider_code: Option<String>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
    /// The region that the provider named.
    pub region: Option<String>,
    /// Whether it may pass although it is no [transient](Outcome::is_transient) outcome: a clock is set, or a proxy finds
    /// its server again. A transfer waits for that, and nobody in front of a screen does.
    pub may_pass: bool,
    /// What caused it.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a provider's words.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        let (message, reason, may_pass) = (message.into(), None, false);
        Self {
            outcome,
            reason,
            message,
            provider_code: None,
            request_id: None,
            region: None,
            may_pass,
            source: None,
        }
    }

    /// Tells what came of a call from the error that `object_store` gives. `action` completes "could not …".
    pub(super) fn from_object_store(error: object_store::Error, action: &str) -> Self {
        if let Some(answer) = find::<Answer>(&error) {
            return Self::from_answer(answer, action);
        }
        let outcome = match &error {
            object_store::Error::NotFound { .. } => Outcome::NotFound,
            object_store::Error::Precondition { .. } => Outcome::Changed,
            object_store::Error::PermissionDenied { .. } => Outcome::Forbidden,
            _ => transport::outcome_of(&error),
        };
        Self::from_failure(outcome, error, action)
    }

    pub(super) fn from_failure(
        outcome: Outcome,
        error: impl StdError + Send + Sync + 'static,
        action: &str,
    ) -> Self {
        let reason = transport::reason_of(&error);
        let at = if reason == Some(Reason::ProxyFailed) {
            "the proxy cannot be used: "
        } else {
            ""
        };
        let message = format!("Could not {action}: {at}{}", innermost(&error));
        let may_pass = transport::is_not_valid_yet(&error);
        Self {
            reason,
            may_pass,
            ..Self::new(outcome, message)
        }
        .caused_by(error)
    }

    pub(super) fn from_answer(answer: &Answer, action: &str) -> Self {
        let said = match &answer.tls_at {
            Some(origin) => format!("the server redirects to {origin}"),
            None if answer.message.is_empty() => {
                format!("the provider answered with HTTP status {}", answer.status)
            }
            None => answer.message.clone(),
        };
        let outcome = answer::outcome_of(answer);
        let said = match answer
            .date
            .as_deref()
            .and_then(ahead_of)
            .filter(|_| outcome == Outcome::ClockSkew)
        {
            Some(ahead) => format!("{said} This machine's clock is {}.", clock_offset(ahead)),
            None => said,
        };
        Self {
            reason: answer::reason_of(answer),
            provider_code: (!answer.code.is_empty()).then(|| answer.code.clone()),
            request_id: answer.request_id.clone(),
            region: answer.region.clone(),
            may_pass: answer::may_pass(answer, outcome),
            ..Self::new(outcome, format!("Could not {action}: {said}"))
        }
    }

    pub(super) fn from_http(error: HttpError, action: &str) -> Self {
        if let Some(answer) = find::<Answer>(&error) {
            return Self::from_answer(answer, action);
        }
        Self::from_failure(transport::outcome_of(&error), error, action)
    }

    /// Whether something answered that was not HTTP, or hung up without a word.
    pub(super) fn is_broken_http(error: &HttpError) -> bool {
        matches!(
            error.kind(),
            HttpErrorKind::Interrupted | HttpErrorKind::Request | HttpErrorKind::Unknown
        )
    }

    /// Whether the answer is that nothing can be asked for in this way: without TLS, or with this proxy.
    pub(super) fn is_on_the_way(error: &HttpError) -> bool {
        matches!(
            find::<Answer>(error).and_then(answer::reason_of),
            Some(Reason::TlsNeeded | Reason::ProxyFailed)
        )
    }

    /// Whether the answer is that the credential is not accepted, or not for this.
    pub(super) fn is_of_credential(error: &HttpError) -> bool {
        let outcome = find::<Answer>(error).map(answer::outcome_of);
        matches!(outcome, Some(Outcome::Auth | Outcome::Forbidden))
    }

    /// The same without its cause, for one more who is told.
    #[must_use]
    pub fn replica(&self) -> Self {
        Self {
            outcome: self.outcome,
            reason: self.reason,
            message: self.message.clone(),
            provider_code: self.provider_code.clone(),
            request_id: self.request_id.clone(),
            region: self.region.clone(),
            may_pass: self.may_pass,
            source: None,
        }
    }

    fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}

impl From<Error> for AgentError {
    fn from(error: Error) -> Self {
        let hint = match (&error.outcome, &error.region) {
            (Outcome::WrongRegion, Some(region)) => {
                Some(format!("Set the location's region to \"{region}\"."))
            }
            _ => None,
        };
        let converted = Self::new(error.outcome.kind(), error.message)
            .with_reason(error.reason)
            .with_provider(error.provider_code, error.request_id);
        let converted = match error.source {
            Some(source) => converted.with_source(source),
            None => converted,
        };
        match hint {
            Some(hint) => converted.with_hint(hint),
            None => converted,
        }
    }
}

/// How far a clock is behind or ahead, in words.
#[must_use]
pub fn clock_offset(ahead: chrono::Duration) -> String {
    let seconds = ahead.num_seconds();
    let direction = if seconds < 0 { "behind" } else { "ahead" };
    match seconds.unsigned_abs() {
        seconds @ 0..120 => format!("{seconds} seconds {direction}"),
        seconds => format!("{} minutes {direction}", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::answer::tests::answer;
    use super::*;

    #[test]
    fn a_redirect_to_tls_is_no_other_region() {
        let answer = Answer {
            is_s3: false,
            tls_at: Some("https://nas".into()),
            ..answer(301, "", "")
        };
        let error = Error::from_answer(&answer, "list bucket \"b\"");
        assert_eq!(
            (error.outcome, error.reason),
            (Outcome::NotS3, Some(Reason::TlsNeeded))
        );
        assert!(
            error
                .message
                .ends_with("the server redirects to https://nas"),
            "{error}"
        );
    }

    #[test]
    fn the_region_that_the_provider_names_becomes_the_hint() {
        let answer = Answer {
            region: Some("eu-1".into()),
            ..answer(400, "AuthorizationHeaderMalformed", "wrong")
        };
        let error = AgentError::from(Error::from_answer(&answer, "list bucket \"b\""));
        assert_eq!(
            (error.kind(), error.hint()),
            (Kind::WrongRegion, "Set the location's region to \"eu-1\".")
        );
        assert_eq!(
            error.to_string(),
            "Could not list bucket \"b\": wrong (AuthorizationHeaderMalformed)"
        );
    }
}
