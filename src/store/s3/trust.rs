//! Trust in a server's certificate: the system's authorities, those of `ca_certificate`, and the certificates in it themselves;
//! or only the one with the fingerprint of `certificate_sha256`, whatever its issuer, names, purpose and dates.
//!
//! `webpki` refuses a certificate that is its own authority, as every `openssl req -x509` makes it and as appliances have
//! it, although the user names exactly this one (<https://github.com/rustls/webpki/issues/205>).

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};
use rustls_platform_verifier::Verifier;

use crate::config::{Fingerprint, Wire};
use crate::error::{Placeholders, Reason};

/// Object identifier of an RSA key, DER. Source: RFC 3279, section 2.3.1.
const RSA: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];

/// A public RSA key of 2048 bits takes 294 bytes, one of 1536 bits 230.
const SHORTEST_RSA_BYTES: usize = 290;

/// What is wrong with a certificate, beyond the words of `rustls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It has version 1.
    Version1,
    /// It has a common name only.
    NoNames,
    /// Its purpose is another than to authenticate a server.
    NotForServers,
    /// Its RSA key has fewer than 2048 bits.
    WeakKey,
    /// Another authority signed it than the settings name.
    OtherIssuer,
    /// It has another fingerprint than the settings name.
    OtherFingerprint,
}

/// A certificate that is not accepted.
#[derive(Debug)]
pub(super) struct Rejected {
    /// What is wrong with it, beyond the words of `rustls`.
    flaw: Option<Flaw>,
    /// The error of `rustls`.
    pub(super) cause: Error,
    /// The host that it should be for.
    pub(super) host: ServerName<'static>,
    seen: Fingerprint,
    pinned: Option<Fingerprint>,
}

impl Flaw {
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Version1 => Reason::CertificateVersion1,
            Self::NoNames => Reason::CertificateWithoutNames,
            Self::NotForServers => Reason::CertificateNotForServers,
            Self::WeakKey => Reason::CertificateWeakKey,
            Self::OtherIssuer => Reason::CertificateOtherIssuer,
            Self::OtherFingerprint => Reason::CertificateOtherFingerprint,
        }
    }
}

impl Rejected {
    /// Returns the certificate that a TLS error is about.
    pub(super) fn of(error: &Error) -> Option<&Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => {
                cause.downcast_ref()
            }
            _ => None,
        }
    }

    /// The fingerprint, for a sentence in another language.
    pub(super) fn placeholders(&self) -> Placeholders {
        let shown = self.is_pinnable().then(|| self.seen.to_string());
        let shown = shown.map(|it| ("fingerprint", it));
        let host = self.host.to_str().into_owned();
        let kind = match self.host {
            ServerName::IpAddress(_) => "IP",
            _ => "DNS",
        };
        let alt_name = format!("{kind}:{host}");
        let named = [("host", host), ("alt_name", alt_name)];
        shown.into_iter().chain(named).collect()
    }

    /// Whether its fingerprint in the settings would make it acceptable.
    const fn is_pinnable(&self) -> bool {
        !matches!(self.flaw, Some(Flaw::Version1 | Flaw::WeakKey))
    }

    /// The reason of its flaw.
    pub(super) fn reason(&self) -> Option<Reason> {
        self.flaw.map(Flaw::reason)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version1 => "the server's certificate has version 1",
            Self::NoNames => "the server's certificate has no subjectAltName",
            Self::NotForServers => "the server's certificate is not for servers",
            Self::WeakKey => "the server's certificate has an RSA key of fewer than 2048 bits",
            Self::OtherIssuer => "ca_certificate did not sign the server's certificate",
            Self::OtherFingerprint => {
                "the server has another certificate than certificate_sha256 names"
            }
        })
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flaw {
            Some(flaw) => flaw.fmt(f)?,
            None if is_about_issuer(&self.cause) => {
                f.write_str("no CA that the agent trusts signed the server's certificate")?;
            }
            None => self.cause.fmt(f)?,
        }
        if self.is_pinnable() {
            write!(f, "; its SHA-256 fingerprint is {}", self.seen)?;
        }
        match (&self.pinned, self.flaw) {
            (Some(pinned), Some(Flaw::OtherFingerprint)) => write!(f, ", not {pinned}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Rejected {}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        CertificateError::Other(OtherError(Arc::new(rejected))).into()
    }
}

/// Builds the settings of TLS connections that trust what a location's settings name, too. No fingerprint is compared with
/// the certificate of `proxy`.
pub(super) fn config(
    wire: &Wire,
    proxy: Option<ServerName<'static>>,
) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(default_provider());
    let pem = wire
        .ca_certificate
        .as_deref()
        .unwrap_or_default()
        .as_bytes();
    let given: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let given = given.map_err(|error| error.to_string())?;
    let system = Verifier::new_with_extra_roots(given.clone(), Arc::clone(&provider))?;
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trust {
            system,
            given,
            pinned: wire.certificate_sha256.clone(),
            proxy,
        }))
        .with_no_client_auth())
}

#[derive(Debug)]
struct Trust {
    system: Verifier,
    given: Vec<CertificateDer<'static>>,
    pinned: Option<Fingerprint>,
    /// Name of the proxy, which has a certificate of its own.
    proxy: Option<ServerName<'static>>,
}

impl Trust {
    /// Accepts only the certificate with this fingerprint. It is still parsed: the handshake needs its key.
    fn accept_pinned(
        pinned: &Fingerprint,
        certificate: &CertificateDer<'_>,
    ) -> Result<ServerCertVerified, Error> {
        if Fingerprint::of(certificate) != *pinned {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        ParsedCertificate::try_from(certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    /// Accepts a certificate that the settings hold byte for byte, when its names fit. Its time is right: `webpki` compares it
    /// before it asks for the issuer. The purpose of one that is an authority's, too, is left to the user.
    fn accept_given(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        error: Error,
    ) -> Result<ServerCertVerified, Error> {
        let is_given = self.given.iter().any(|given| given == certificate);
        if is_given && is_about_issuer(&error) {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        Err(error)
    }

    /// Returns what is wrong, beyond the words of the error.
    fn flaw(&self, error: &Error) -> Option<Flaw> {
        let Error::InvalidCertificate(why) = error else {
            return None;
        };
        match why {
            CertificateError::ApplicationVerificationFailure if self.pinned.is_some() => {
                Some(Flaw::OtherFingerprint)
            }
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                Some(Flaw::NoNames)
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Some(Flaw::NotForServers)
            }
            CertificateError::Other(cause) => match cause.to_string().as_str() {
                "UnsupportedCertVersion" => Some(Flaw::Version1),
                // The words of `rustls-platform-verifier` 0.7 for another purpose.
                "certificate had invalid extensions" => Some(Flaw::NotForServers),
                _ if self.given.is_empty() => None,
                _ => Some(Flaw::OtherIssuer),
            },
            // An authority that was made anew has the same name, and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature
                if !self.given.is_empty() =>
            {
                Some(Flaw::OtherIssuer)
            }
            _ => None,
        }
    }

    fn reject(
        &self,
        certificate: &CertificateDer<'_>,
        host: &ServerName<'_>,
        flaw: Option<Flaw>,
        cause: Error,
    ) -> Error {
        Rejected {
            flaw,
            cause,
            host: host.to_owned(),
            seen: Fingerprint::of(certificate),
            pinned: self.pinned.clone(),
        }
        .into()
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if has_weak_key(end_entity) {
            let cause = CertificateError::BadEncoding.into();
            return Err(self.reject(end_entity, server_name, Some(Flaw::WeakKey), cause));
        }
        let is_proxy = self.proxy.as_ref() == Some(server_name);
        let verified = if let Some(pinned) = self.pinned.as_ref().filter(|_| !is_proxy) {
            Self::accept_pinned(pinned, end_entity)
        } else {
            self.system
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .or_else(|error| self.accept_given(end_entity, server_name, error))
        };
        verified.map_err(|error| self.reject(end_entity, server_name, self.flaw(&error), error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.system
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.system
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.system.supported_verify_schemes()
    }
}

/// Whether only the issuer of a certificate is not trusted.
fn is_about_issuer(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(cause)) => {
            cause.to_string() == "CaUsedAsEndEntity"
        }
        _ => false,
    }
}

/// Whether the key is one that no handshake accepts.
fn has_weak_key(certificate: &CertificateDer<'_>) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    let key = parsed.subject_public_key_info();
    key.len() < SHORTEST_RSA_BYTES && key.windows(RSA.len()).any(|bytes| bytes == RSA)
}
