//! Notes on settings, which need no request.

use url::Host;

use crate::agent::model::CheckNote;
use crate::config::{Encryption, S3Settings};
use crate::error::Placeholders;

/// Names the secret that every request carries in plain text. The secret access key only signs.
pub(super) fn secret_on_the_wire(settings: &S3Settings) -> Option<&'static str> {
    match (&settings.encryption, &settings.session_token) {
        (Encryption::Customer(_), _) => Some("encryption key"),
        (_, Some(_)) => Some("session token"),
        _ => None,
    }
}

pub(super) fn note_plain_http(settings: &S3Settings) -> Option<CheckNote> {
    let secret = secret_on_the_wire(settings).filter(|_| settings.endpoint.scheme() == "http")?;
    let is_loopback = match settings.endpoint.host()? {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let message = format!(
        "The endpoint has no TLS: everybody on the way can read the {secret}. Use https:// instead."
    );
    (!is_loopback).then(|| CheckNote {
        code: "plain_http",
        reason: "plain_http",
        key: Some("endpoint".to_owned()),
        message,
        placeholders: Placeholders::new(),
        suggestion: None,
    })
}

pub(super) fn note_short_secret(settings: &S3Settings) -> Option<CheckNote> {
    Some(CheckNote {
        code: "short_secret",
        reason: "short_secret",
        key: Some("secret_access_key".to_owned()),
        message: settings.short_secret()?.to_owned(),
        placeholders: Placeholders::new(),
        suggestion: None,
    })
}

pub(super) fn note_unused_fingerprint(settings: &S3Settings) -> Option<CheckNote> {
    let is_unused =
        settings.endpoint.scheme() == "http" && settings.wire.certificate_sha256.is_some();
    is_unused.then(|| CheckNote {
        code: "fingerprint_unused",
        reason: "fingerprint_unused",
        key: Some("certificate_sha256".to_owned()),
        message: "The endpoint has no TLS, so there is no certificate to compare: certificate_sha256 protects nothing. Use \
                  https:// instead."
            .to_owned(),
        placeholders: Placeholders::new(),
        suggestion: None,
    })
}
