//! Failures of one request: a refusal, or no answer at all.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::proxy::BadVariable;
use super::resolve::NoSuchHost;
use super::trust::Rejected;
use crate::error::{Placeholders, Reason, causes, find, innermost};
use crate::store::error::{Error, Outcome};

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum Failure {
    /// The server refused.
    #[error(transparent)]
    Refused(Box<Answer>),
    /// No byte moved for this long.
    #[error("the connection was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection failed.
    #[error(transparent)]
    Connection(reqwest::Error),
    /// The proxy is unreachable, or refuses the agent.
    #[error("the proxy cannot be used: {0}")]
    Proxy(#[source] reqwest::Error),
    /// The answer is larger than any such document.
    #[error("the answer is larger than {0} KiB")]
    TooLarge(usize),
    /// The provider stored without the encryption that was asked for.
    #[error("the provider took the backup without encrypting it")]
    NotEncrypted,
    /// No request can be sent with these settings.
    #[error(transparent)]
    Unusable(Unusable),
    /// The request cannot be built with these settings.
    #[error("the request cannot be made: {0}")]
    Invalid(Box<dyn StdError + Send + Sync>),
}

/// Settings with which nothing can be sent.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Proxy(#[from] BadVariable),
    #[error("the HTTP client cannot be set up: {0}")]
    Client(Arc<str>),
}

impl Failure {
    pub(super) fn refused(&self) -> Option<&Answer> {
        match self {
            Self::Refused(answer) => Some(answer),
            _ => None,
        }
    }

    pub(super) fn invalid(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Invalid(error.into())
    }

    /// Sorts a client's error. Without a proxy between, a connection that fails to open is the endpoint's.
    pub(super) fn of(error: reqwest::Error, has_proxy: bool) -> Self {
        // The message has the address already, and its query holds the upload id.
        let error = error.without_url();
        // A TLS error is the endpoint's.
        let is_of_proxy = has_proxy
            && error.is_connect()
            && !error.is_timeout()
            && find::<rustls::Error>(&error).is_none()
            && !is_behind_proxy(&error);
        if is_of_proxy {
            Self::Proxy(error)
        } else {
            Self::Connection(error)
        }
    }

    /// Whether an open connection fell silent: no byte moved, or the kernel got no acknowledgement any more.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Silent(_) => true,
            Self::Connection(error) if !error.is_connect() && !error.is_timeout() => {
                find::<io::Error>(error)
                    .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
            }
            _ => false,
        }
    }

    /// Whether the server answered something other than HTTP, or hung up without an answer.
    pub(super) fn is_broken_http(&self) -> bool {
        match self {
            Self::Connection(error) => !error.is_connect() && !error.is_timeout(),
            Self::Invalid(_) => true,
            _ => false,
        }
    }

    /// Converts it to an error; `action` completes "could not …".
    pub(in crate::store) fn error(self, action: &str) -> Error {
        let outcome = match &self {
            Self::Refused(answer) => return answer.error(action),
            Self::Silent(_) => Outcome::Timeout,
            Self::Connection(error) | Self::Proxy(error) => outcome_of(error),
            Self::TooLarge(_) | Self::NotEncrypted | Self::Unusable(_) | Self::Invalid(_) => {
                Outcome::Refused
            }
        };
        let reason = self.reason();
        let at = if reason == Some(Reason::ProxyFailed) {
            "the proxy cannot be used: "
        } else {
            ""
        };
        let rejected = find(&self).and_then(Rejected::of);
        let placeholders = match rejected {
            Some(rejected) => rejected.placeholders(),
            None => Placeholders::from([("said", innermost(&self))]),
        };
        let why = rejected.map_or_else(|| innermost(&self), ToString::to_string);
        let why = format!("{at}{why}");
        Error {
            reason,
            placeholders: placeholders.into(),
            may_pass: is_not_valid_yet(&self),
            ..Error::could_not(action, outcome, why)
        }
        .caused_by(self)
    }

    fn reason(&self) -> Option<Reason> {
        use rustls::CertificateError as Certificate;
        match self {
            Self::Proxy(_) | Self::Unusable(Unusable::Proxy(_)) => {
                return Some(Reason::ProxyFailed);
            }
            Self::NotEncrypted => return Some(Reason::NoEncryption),
            _ => {}
        }
        if find::<NoSuchHost>(self).is_some() {
            return Some(Reason::HostUnknown);
        }
        if let Some(tls) = find::<rustls::Error>(self) {
            let rejected = Rejected::of(tls);
            if let Some(reason) = rejected.and_then(Rejected::reason) {
                return Some(reason);
            }
            return Some(match rejected.map_or(tls, |rejected| &rejected.cause) {
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
        let is_refused = find::<io::Error>(self)
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
            || innermost(self) == "SOCKS error: connection refused";
        is_refused.then_some(Reason::ConnectionRefused)
    }
}

/// Whether a proxy answered that it does not reach the endpoint, or the endpoint's name is unknown here.
///
/// The words are those of hyper-util's `TunnelError` and `SocksError`, and of reqwest.
fn is_behind_proxy(error: &reqwest::Error) -> bool {
    let is_local =
        causes(error).any(|cause| cause.to_string() == "error resolving for socks proxy");
    let words = [
        "tunnel error: unsuccessful",
        "SOCKS error: general server failure",
        "SOCKS error: network unreachable",
        "SOCKS error: host unreachable",
        "SOCKS error: connection refused",
        "SOCKS error: ttl expired",
    ];
    is_local || words.contains(&innermost(error).as_str())
}

fn outcome_of(error: &reqwest::Error) -> Outcome {
    // A wrong password is final (the words of hyper-util's `TunnelError` and `SocksError`).
    let refusals = [
        "tunnel error: proxy authorization required",
        "SOCKS error: server does not support user/pass authentication",
        "SOCKS error: credentials not accepted",
        "SOCKS error: connection not allowed",
    ];
    if refusals.contains(&innermost(error).as_str()) {
        Outcome::Refused
    } else if find::<rustls::Error>(error).is_some() {
        Outcome::Certificate
    } else if error.is_timeout() {
        Outcome::Timeout
    } else if !error.is_connect() && error.is_builder() {
        Outcome::Refused
    } else {
        Outcome::Unreachable
    }
}

/// Whether a certificate is not valid yet: then this machine's clock is wrong, as at the start of one without a battery.
fn is_not_valid_yet(error: &(dyn StdError + 'static)) -> bool {
    use rustls::CertificateError::{NotValidYet, NotValidYetContext};
    matches!(
        find(error).and_then(Rejected::of).map(|it| &it.cause),
        Some(rustls::Error::InvalidCertificate(
            NotValidYet | NotValidYetContext { .. }
        ))
    )
}
