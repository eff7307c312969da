//! What a call came to that got no answer.

use std::error::Error as StdError;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::{NotEncrypted, Outcome};
use crate::error::Reason;
use crate::store::http::{NoSuchHost, ProxyFailed};

/// What kept the connection from coming up.
pub(super) fn reason_of(error: &(dyn StdError + 'static)) -> Option<Reason> {
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

/// Whether a certificate is of the future: it is the clock that is wrong then, as that of a machine without one is at its
/// start.
pub(super) fn is_not_valid_yet(error: &(dyn StdError + 'static)) -> bool {
    use rustls::CertificateError::{NotValidYet, NotValidYetContext};
    matches!(
        tls_error(error),
        Some(rustls::Error::InvalidCertificate(
            NotValidYet | NotValidYetContext { .. }
        ))
    )
}

fn tls_error<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e rustls::Error> {
    find(error)
}

/// Tells connection failures apart from the rest.
pub(super) fn outcome_of(error: &(dyn StdError + 'static)) -> Outcome {
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
            HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Interrupted => {
                Outcome::Unreachable
            }
            _ => Outcome::Refused,
        };
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Outcome::Full,
        Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            Outcome::Forbidden
        }
        Some(io::ErrorKind::NotFound) => Outcome::NotFound,
        Some(io::ErrorKind::TimedOut) => Outcome::Timeout,
        _ => Outcome::Refused,
    }
}

/// Looks for a `T` among the causes.
pub(in crate::store) fn find<'e, T: StdError + 'static>(
    error: &'e (dyn StdError + 'static),
) -> Option<&'e T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The words of the first cause, which name the real trouble without repeating the layers above.
pub(in crate::store) fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let current = next?;
        // An I/O error that wraps another one gives that one's cause as its own.
        let wrapped = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = wrapped
            .map(|inner| inner as &(dyn StdError + 'static))
            .or_else(|| current.source());
        Some(current)
    })
}
