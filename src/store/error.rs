//! Outcome of a storage call, as a closed set.

use std::any::Any;
use std::error::Error as StdError;
use std::sync::Arc;
use std::{fmt, io};

use crate::config::ProxyVariable;
use crate::error::{Error as AgentError, Kind, Placeholders, Reason, find, innermost};

/// Outcome of a storage call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The object does not exist.
    NotFound,
    /// The object was replaced (`If-Match`).
    Changed,
    /// The multipart upload does not exist: aborted, or already completed.
    NoSuchUpload,
    /// The provider does not accept the key or the signature.
    Auth,
    /// The key lacks the permission.
    Forbidden,
    /// The bucket does not exist.
    BucketNotFound,
    /// The bucket is in another region.
    WrongRegion,
    /// This machine's clock is off.
    ClockSkew,
    /// The certificate is not accepted, or the TLS handshake failed.
    Certificate,
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The provider asks to slow down.
    Throttled,
    /// The provider had an error of its own (5xx).
    ServerError,
    /// Checksum mismatch: the provider received other bytes than were sent.
    Damaged,
    /// No space or quota left.
    Full,
    /// Retention or object lock forbids it.
    Locked,
    /// The server that answers is no S3 server.
    NotS3,
    /// Anything else.
    Refused,
}

impl Outcome {
    /// Whether the same call may succeed when it is retried.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Timeout | Self::Throttled | Self::ServerError
        )
    }

    /// Whether the storage refuses for good what it may allow for another name.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Forbidden | Self::Locked | Self::Changed | Self::Refused
        )
    }

    /// Whether the provider refused the call before it had an effect.
    const fn is_without_effect(self) -> bool {
        use Outcome::{
            Auth, BucketNotFound, Changed, ClockSkew, Forbidden, Full, Locked, NoSuchUpload,
            NotFound, WrongRegion,
        };
        matches!(
            self,
            Auth | BucketNotFound
                | Changed
                | ClockSkew
                | Forbidden
                | Full
                | Locked
                | NoSuchUpload
                | NotFound
                | WrongRegion
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
            // A proxy answers 502 when storage is down.
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

/// Reason to retry at once, without back-off: the attempt learned something that the next one needs.
#[derive(Debug, Clone)]
pub struct AtOnce(Arc<Box<dyn Any + Send + Sync>>);

impl AtOnce {
    /// Wraps what a backend learned; the retry layer hands it to the next attempt unread.
    pub(super) fn with(learned: impl Any + Send + Sync) -> Self {
        Self(Arc::new(Box::new(learned)))
    }

    /// Returns what the backend learned.
    pub(super) fn learned<T: Any>(&self) -> Option<&T> {
        (**self.0).downcast_ref()
    }
}

/// A storage call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Outcome.
    pub outcome: Outcome,
    /// Exact reason, where it is known.
    pub reason: Option<Reason>,
    /// Sentence that names the bucket and key.
    pub message: String,
    /// The provider's own code.
    pub provider_code: Option<String>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
    /// What it is about, by name, for sentences in other languages: `region` is the one that the provider named, `host` that of a
    /// rejected certificate. One field, so that results stay small.
    pub placeholders: Arc<Placeholders>,
    /// The variable that names a proxy, while the location uses none.
    pub unused_proxy: Option<ProxyVariable>,
    /// Whether it may pass although the outcome is not [transient](Outcome::is_transient): a clock is set, or a proxy
    /// finds its server again. Transfers wait for that; interactive calls do not.
    pub may_pass: bool,
    /// Whether an attempt of the call may have had its effect.
    pub may_have_succeeded: bool,
    /// Set when the next attempt is due at once.
    pub at_once: Option<AtOnce>,
    /// Cause.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Builds an error without a provider's words.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            reason: None,
            message: message.into(),
            provider_code: None,
            request_id: None,
            placeholders: Arc::default(),
            unused_proxy: None,
            may_pass: false,
            may_have_succeeded: !outcome.is_without_effect(),
            at_once: None,
            source: None,
        }
    }

    /// Builds "Could not `action`: `why`".
    pub(super) fn could_not(action: &str, outcome: Outcome, why: impl fmt::Display) -> Self {
        Self::new(outcome, format!("Could not {action}: {why}"))
    }

    /// Builds a refusal that this agent makes itself.
    pub(super) fn refused(action: &str, why: impl fmt::Display) -> Self {
        Self::could_not(action, Outcome::Refused, why)
    }

    /// Builds an error by the I/O error among the causes of `error`.
    pub(super) fn from_io(error: impl StdError + Send + Sync + 'static, action: &str) -> Self {
        let outcome = match find::<io::Error>(&error).map(io::Error::kind) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Outcome::Full,
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                Outcome::Forbidden
            }
            Some(io::ErrorKind::NotFound) => Outcome::NotFound,
            Some(io::ErrorKind::TimedOut) => Outcome::Timeout,
            _ => Outcome::Refused,
        };
        Self::could_not(action, outcome, innermost(&error)).caused_by(error)
    }

    /// Copies the error without its cause.
    #[must_use]
    pub fn replica(&self) -> Self {
        Self {
            outcome: self.outcome,
            reason: self.reason,
            message: self.message.clone(),
            provider_code: self.provider_code.clone(),
            request_id: self.request_id.clone(),
            placeholders: Arc::clone(&self.placeholders),
            unused_proxy: self.unused_proxy,
            may_pass: self.may_pass,
            may_have_succeeded: self.may_have_succeeded,
            at_once: None,
            source: None,
        }
    }

    /// Adds the unused proxy to the error of a connection that may need one.
    #[must_use]
    pub(super) fn without_proxy(self, unused: Option<ProxyVariable>) -> Self {
        let is_of_way = matches!(self.outcome, Outcome::Unreachable | Outcome::Timeout)
            && matches!(
                self.reason,
                None | Some(Reason::HostUnknown | Reason::ConnectionRefused)
            );
        Self {
            unused_proxy: unused.filter(|_| is_of_way),
            ..self
        }
    }

    pub(super) fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Box::new(source)),
            ..self
        }
    }
}

impl From<Error> for AgentError {
    fn from(error: Error) -> Self {
        let mut placeholders = Placeholders::clone(&error.placeholders);
        if error.outcome != Outcome::WrongRegion {
            placeholders.remove("region");
        }
        let variable = error.unused_proxy.map(ProxyVariable::name);
        placeholders.extend(variable.map(|name| ("variable", name.to_owned())));
        let named = |name| placeholders.get(name).cloned();
        let (region, host) = (named("region"), named("host"));
        let mut converted = Self::new(error.outcome.kind(), error.message)
            .with_reason(error.reason)
            .with_provider(error.provider_code, error.request_id)
            .with_placeholders(placeholders);
        if let Some(source) = error.source {
            converted = converted.with_source(source);
        }
        if let Some(name) = variable {
            let hint = format!(
                "{name} is set, but this location doesn't use it: set proxy to \"environment\" if the agent needs a proxy. {}",
                converted.hint()
            );
            converted = converted.with_hint(hint.trim_end());
        }
        match (region, host, error.reason) {
            (Some(region), _, _) => {
                converted.with_hint(format!("Set the location's region to \"{region}\"."))
            }
            (None, Some(host), Some(reason)) => converted.with_hint(reason.hint_at(&host)),
            _ => converted,
        }
    }
}

/// Words how far a clock is behind or ahead.
#[must_use]
pub fn clock_offset(ahead: chrono::Duration) -> String {
    let seconds = ahead.num_seconds();
    let direction = if seconds < 0 { "behind" } else { "ahead" };
    match seconds.unsigned_abs() {
        seconds @ 0..120 => format!("{seconds} seconds {direction}"),
        seconds => format!("{} minutes {direction}", seconds / 60),
    }
}
