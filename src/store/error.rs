//! What can come of a storage call, as a closed set, and how it is told from an answer.
//!
//! Sources: Amazon S3's list of error codes (API reference, "Error responses"); for the codes of other providers the
//! comment beside the row.

use std::error::Error as StdError;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::http::{Answer, NoSuchHost, ProxyFailed};
use super::reach::ahead_of;
use crate::error::{Error as AgentError, Kind, Reason};

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
        matches!(self, Self::Unreachable | Self::Timeout | Self::Throttled | Self::ServerError)
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
            Self::NotFound | Self::Changed | Self::NoSuchUpload | Self::NotS3 | Self::Refused => Kind::StorageError,
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
    /// What caused it.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a provider's words.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        let (message, reason) = (message.into(), None);
        Self { outcome, reason, message, provider_code: None, request_id: None, region: None, source: None }
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
            _ => transport_outcome(&error),
        };
        Self::from_failure(outcome, error, action)
    }

    pub(super) fn from_failure(outcome: Outcome, error: impl StdError + Send + Sync + 'static, action: &str) -> Self {
        let reason = transport_reason(&error);
        let at = if reason == Some(Reason::ProxyFailed) { "the proxy cannot be used: " } else { "" };
        let message = format!("Could not {action}: {at}{}", innermost(&error));
        Self { reason, ..Self::new(outcome, message) }.caused_by(error)
    }

    pub(super) fn from_answer(answer: &Answer, action: &str) -> Self {
        let said = match &answer.tls_at {
            Some(origin) => format!("the server redirects to {origin}"),
            None if answer.message.is_empty() => format!("the provider answered with HTTP status {}", answer.status),
            None => answer.message.clone(),
        };
        let outcome = outcome_of(answer);
        let said = match answer.date.as_deref().and_then(ahead_of).filter(|_| outcome == Outcome::ClockSkew) {
            Some(ahead) => format!("{said} This machine's clock is {}.", clock_offset(ahead)),
            None => said,
        };
        Self {
            reason: reason_of(answer),
            provider_code: (!answer.code.is_empty()).then(|| answer.code.clone()),
            request_id: answer.request_id.clone(),
            region: answer.region.clone(),
            ..Self::new(outcome, format!("Could not {action}: {said}"))
        }
    }

    pub(super) fn from_http(error: HttpError, action: &str) -> Self {
        if let Some(answer) = find::<Answer>(&error) {
            return Self::from_answer(answer, action);
        }
        Self::from_failure(transport_outcome(&error), error, action)
    }

    /// Whether something answered that was not HTTP, or hung up without a word.
    pub(super) fn is_broken_http(error: &HttpError) -> bool {
        matches!(error.kind(), HttpErrorKind::Interrupted | HttpErrorKind::Request | HttpErrorKind::Unknown)
    }

    /// Whether the answer is that nothing can be asked for in this way: without TLS, or with this proxy.
    pub(super) fn is_on_the_way(error: &HttpError) -> bool {
        matches!(find::<Answer>(error).and_then(reason_of), Some(Reason::TlsNeeded | Reason::ProxyFailed))
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
            (Outcome::WrongRegion, Some(region)) => Some(format!("Set the location's region to \"{region}\".")),
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

/// Maps an answer by the provider's code, then by its status.
fn outcome_of(answer: &Answer) -> Outcome {
    by_code(&answer.code, &answer.message).unwrap_or(match answer.status {
        // What proxies say, with a page of their own.
        408 | 504 => Outcome::Timeout,
        407 | 413 | 501 => Outcome::Refused,
        // A web page, or a service of another kind.
        200..=428 if !answer.is_s3 => Outcome::NotS3,
        401 => Outcome::Auth,
        403 => Outcome::Forbidden,
        301 | 307 | 308 => Outcome::WrongRegion,
        404 => Outcome::NotFound,
        412 => Outcome::Changed,
        429 | 503 => Outcome::Throttled,
        507 => Outcome::Full,
        500..=599 => Outcome::ServerError,
        _ => Outcome::Refused,
    })
}

/// What the answer says beyond its outcome.
///
/// Sources: Amazon's list of error codes; Garage 2.5 answers `AccessDenied` for keys and signatures as well.
fn reason_of(answer: &Answer) -> Option<Reason> {
    let says = |words: &str| answer.message.contains(words);
    Some(match answer.code.as_str() {
        "InvalidAccessKeyId" => Reason::UnknownKey,
        "SignatureDoesNotMatch" => Reason::WrongSecret,
        "AccessDenied" if says("No such key") => Reason::UnknownKey,
        "AccessDenied" if says("nvalid signature") => Reason::WrongSecret,
        "InvalidArgument" if is_unknown_to_r2(&answer.message) => Reason::UnknownKey,
        "ExpiredToken" | "TokenRefreshRequired" => Reason::ExpiredToken,
        "InvalidToken" => Reason::InvalidToken,
        "NotImplemented" | "InvalidArgument" | "InvalidRequest" if says("ncryption") => {
            return encryption_reason(answer);
        }
        "InvalidStorageClass" => Reason::UnknownStorageClass,
        "InvalidObjectState" => Reason::Archived,
        "" if answer.status == 407 => Reason::ProxyFailed,
        "" if answer.status == 413 => Reason::BodyTooLarge,
        _ if answer.tls_at.is_some() => Reason::TlsNeeded,
        // The words of nginx, and of servers written in Go.
        _ if says("HTTP request was sent to HTTPS") || says("HTTP request to an HTTPS server") => Reason::TlsNeeded,
        _ => match outcome_of(answer) {
            Outcome::Forbidden => Reason::ActionDenied,
            Outcome::NotS3 => Reason::NotS3,
            _ => return None,
        },
    })
}

/// What is wrong with encryption.
///
/// Sources: Amazon's and `MinIO`'s words for each (`cmd/api-errors.go` of `MinIO`).
fn encryption_reason(answer: &Answer) -> Option<Reason> {
    let says = |words: &str| answer.message.contains(words);
    if says("secure connection") {
        return Some(Reason::TlsNeeded);
    }
    let is_other_key = says("was stored using") || says("did not match the ones") || says("not applicable to this");
    if is_other_key {
        return Some(Reason::EncryptionKeyNeeded);
    }
    answer.to_write.then_some(Reason::NoEncryption)
}

/// Cloudflare R2 refuses an ID of another provider for its length: "Credential access key has length 20, should be 32".
fn is_unknown_to_r2(message: &str) -> bool {
    message.contains("Credential access key has length")
}

/// What kept the connection from coming up.
fn transport_reason(error: &(dyn StdError + 'static)) -> Option<Reason> {
    use rustls::CertificateError as Certificate;
    if find::<ProxyFailed>(error).is_some() {
        return Some(Reason::ProxyFailed);
    }
    if find::<NoSuchHost>(error).is_some() {
        return Some(Reason::HostUnknown);
    }
    if find::<NotEncrypted>(error).is_some() {
        return Some(Reason::NoEncryption);
    }
    if let Some(tls) = tls_error(error) {
        return Some(match tls {
            rustls::Error::InvalidCertificate(
                Certificate::Expired
                | Certificate::ExpiredContext { .. }
                | Certificate::NotValidYet
                | Certificate::NotValidYetContext { .. },
            ) => Reason::CertificateExpired,
            rustls::Error::InvalidCertificate(
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
            ) => Reason::CertificateOtherName,
            rustls::Error::InvalidCertificate(_) => Reason::CertificateUnknown,
            rustls::Error::InvalidMessage(_) => Reason::NoTls,
            _ => return None,
        });
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => Some(Reason::ConnectionRefused),
        _ => None,
    }
}

fn tls_error<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e rustls::Error> {
    find(error)
}

fn by_code(code: &str, message: &str) -> Option<Outcome> {
    Some(match code {
        "NoSuchKey" => Outcome::NotFound,
        "NoSuchUpload" => Outcome::NoSuchUpload,
        "PreconditionFailed" => Outcome::Changed,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "TokenRefreshRequired"
        | "InvalidSecurity"
        | "NotSignedUp" => Outcome::Auth,
        // Garage answers AccessDenied for an unknown key and for a wrong signature as well.
        "InvalidArgument" if is_unknown_to_r2(message) => Outcome::Auth,
        "AccessDenied" if message.contains("No such key") || message.contains("nvalid signature") => Outcome::Auth,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden" => Outcome::Forbidden,
        "NoSuchBucket" => Outcome::BucketNotFound,
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException" => Outcome::WrongRegion,
        "RequestTimeTooSkewed" | "RequestExpired" => Outcome::ClockSkew,
        "RequestTimeout" => Outcome::Timeout,
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "ServiceUnavailable" => Outcome::Throttled,
        "InternalError" => Outcome::ServerError,
        // The second is Garage's, the third Ceph's.
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "IncompleteBody" => Outcome::Damaged,
        // Its status, 501, says that the server is at fault, but trying again does not help.
        "NotImplemented" => Outcome::Refused,
        // The last two are MinIO's and Ceph's.
        "QuotaExceeded" | "StorageFull" | "InsufficientStorage" | "XMinioStorageFull" | "LimitExceeded" => {
            Outcome::Full
        }
        "ObjectLocked" | "ObjectUnderRetention" => Outcome::Locked,
        _ => return None,
    })
}

/// Tells connection failures apart from the rest.
fn transport_outcome(error: &(dyn StdError + 'static)) -> Outcome {
    // A password is not right the next time either (the words of hyper-util's `TunnelError`).
    if innermost(error) == "tunnel error: proxy authorization required" {
        return Outcome::Refused;
    }
    if tls_error(error).is_some() {
        return Outcome::Certificate;
    }
    if let Some(http) = find::<HttpError>(error) {
        return match http.kind() {
            HttpErrorKind::Timeout => Outcome::Timeout,
            HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Interrupted => Outcome::Unreachable,
            _ => Outcome::Refused,
        };
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Outcome::Full,
        Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => Outcome::Forbidden,
        Some(io::ErrorKind::NotFound) => Outcome::NotFound,
        Some(io::ErrorKind::TimedOut) => Outcome::Timeout,
        _ => Outcome::Refused,
    }
}

/// Looks for a `T` among the causes.
pub(super) fn find<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The words of the first cause, which name the real trouble without repeating the layers above.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let current = next?;
        // An I/O error that wraps another one gives that one's cause as its own.
        let wrapped = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| current.source());
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str, message: &str) -> Answer {
        Answer { status, code: code.into(), message: message.into(), is_s3: true, ..Answer::default() }
    }

    #[test]
    fn answers_map_by_code_then_by_status() {
        for (status, code, message, outcome) in [
            (403, "AccessDenied", "Forbidden: No such key: GK12", Outcome::Auth),
            (403, "AccessDenied", "", Outcome::Forbidden),
            (403, "RequestTimeTooSkewed", "", Outcome::ClockSkew),
            (404, "NoSuchBucket", "", Outcome::BucketNotFound),
            (404, "", "", Outcome::NotFound),
            (503, "", "", Outcome::Throttled),
            (502, "", "", Outcome::ServerError),
            (400, "Strange", "", Outcome::Refused),
        ] {
            assert_eq!(outcome_of(&answer(status, code, message)), outcome, "{status} {code}");
        }
    }

    #[test]
    fn what_a_person_has_to_do_is_in_what_the_provider_says() {
        let stored = "The object was stored using a form of Server Side Encryption.";
        let insecure = "Requests specifying Server Side Encryption with Customer provided keys must be made over a \
            secure connection.";
        for (code, message, reason) in [
            ("InvalidRequest", stored, Reason::EncryptionKeyNeeded),
            ("InvalidRequest", insecure, Reason::TlsNeeded),
            ("InvalidArgument", "Server Side Encryption is not supported", Reason::NoEncryption),
            ("InvalidArgument", "Credential access key has length 20, should be 32", Reason::UnknownKey),
            ("InvalidToken", "The provided token is malformed", Reason::InvalidToken),
            ("ExpiredToken", "The provided token has expired.", Reason::ExpiredToken),
        ] {
            let answer = Answer { to_write: true, ..answer(400, code, message) };
            assert_eq!(reason_of(&answer), Some(reason), "{message}");
        }
        assert_eq!(reason_of(&answer(400, "InvalidArgument", "Encryption is strange")), None);
        assert_eq!(outcome_of(&answer(400, "InvalidArgument", "Credential access key has length 3")), Outcome::Auth);
    }

    #[test]
    fn what_a_proxy_says_keeps_its_status() {
        let page = |status| Answer { is_s3: false, ..answer(status, "", "Request Entity Too Large nginx") };
        assert_eq!((outcome_of(&page(413)), reason_of(&page(413))), (Outcome::Refused, Some(Reason::BodyTooLarge)));
        assert_eq!((outcome_of(&page(407)), reason_of(&page(407))), (Outcome::Refused, Some(Reason::ProxyFailed)));
        assert_eq!((outcome_of(&page(408)), reason_of(&page(408))), (Outcome::Timeout, None));
        assert_eq!((outcome_of(&page(404)), reason_of(&page(404))), (Outcome::NotS3, Some(Reason::NotS3)));
    }

    #[test]
    fn a_redirect_to_tls_is_no_other_region() {
        let answer = Answer { is_s3: false, tls_at: Some("https://nas".into()), ..answer(301, "", "") };
        let error = Error::from_answer(&answer, "list bucket \"b\"");
        assert_eq!((error.outcome, error.reason), (Outcome::NotS3, Some(Reason::TlsNeeded)));
        assert!(error.message.ends_with("the server redirects to https://nas"), "{error}");
    }

    #[test]
    fn the_region_that_the_provider_names_becomes_the_hint() {
        let answer = Answer { region: Some("eu-1".into()), ..answer(400, "AuthorizationHeaderMalformed", "wrong") };
        let error = AgentError::from(Error::from_answer(&answer, "list bucket \"b\""));
        assert_eq!((error.kind(), error.hint()), (Kind::WrongRegion, "Set the location's region to \"eu-1\"."));
        assert_eq!(error.to_string(), "Could not list bucket \"b\": wrong (AuthorizationHeaderMalformed)");
    }
}
