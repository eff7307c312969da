//! Trust in a server's certificate: the system's authorities, those of `ca_certificate`, and the certificates in it themselves.
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

use crate::error::Reason;

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
}

impl Flaw {
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Version1 => Reason::CertificateVersion1,
            Self::NoNames => Reason::CertificateWithoutNames,
            Self::NotForServers => Reason::CertificateNotForServers,
            Self::WeakKey => Reason::CertificateWeakKey,
            Self::OtherIssuer => Reason::CertificateOtherIssuer,
        }
    }

    /// Returns the flaw that a TLS error is about.
    pub(super) fn of(error: &Error) -> Option<Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => {
                cause.downcast_ref().copied()
            }
            _ => None,
        }
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
        })
    }
}

impl std::error::Error for Flaw {}

impl From<Flaw> for Error {
    fn from(flaw: Flaw) -> Self {
        CertificateError::Other(OtherError(Arc::new(flaw))).into()
    }
}

/// Builds the settings of TLS connections that trust the certificates in `pem`, too.
pub(super) fn config(
    pem: Option<&str>,
) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(default_provider());
    let pem = pem.unwrap_or_default().as_bytes();
    let given: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let given = given.map_err(|error| error.to_string())?;
    let system = Verifier::new_with_extra_roots(given.clone(), Arc::clone(&provider))?;
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trust { system, given }))
        .with_no_client_auth())
}

#[derive(Debug)]
struct Trust {
    system: Verifier,
    given: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Accepts a certificate that the settings hold byte for byte, when its names fit. Its time and its purpose are right:
    /// `webpki` compares them before it asks for the issuer.
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

    fn explain(&self, error: Error) -> Error {
        let Error::InvalidCertificate(why) = &error else {
            return error;
        };
        let flaw = match why {
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                Flaw::NoNames
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Flaw::NotForServers
            }
            CertificateError::Other(cause) => match cause.to_string().as_str() {
                "UnsupportedCertVersion" => Flaw::Version1,
                // The words of `rustls-platform-verifier` 0.7 for another purpose.
                "certificate had invalid extensions" => Flaw::NotForServers,
                _ if self.given.is_empty() => return error,
                _ => Flaw::OtherIssuer,
            },
            // An authority that was made anew has the same name, and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature
                if !self.given.is_empty() =>
            {
                Flaw::OtherIssuer
            }
            _ => return error,
        };
        flaw.into()
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
            return Err(Flaw::WeakKey.into());
        }
        self.system
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .or_else(|error| self.accept_given(end_entity, server_name, error))
            .map_err(|error| self.explain(error))
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
