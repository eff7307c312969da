//! Valid and invalid certificates, from a certification authority of the tests.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::TlsAcceptor;

/// Made once by `openssl x509 -req -signkey`, without extensions.
const VERSION_1: &str = include_str!("certificates/version-1.pem");

/// Made once by `openssl req -x509 -newkey rsa:1024`.
const WEAK_KEY: &str = include_str!("certificates/weak-key.pem");

/// The state of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// Valid for `localhost` and `127.0.0.1`, for clients that trust the authority.
    Good,
    /// Expired.
    Expired,
    /// Issued for another host.
    OtherName,
    /// Self-signed, as on appliances.
    SelfSigned,
    /// Self-signed as its own authority, as `openssl req -x509` does, and trusted by clients.
    OwnAuthority,
    /// The same, issued for another host.
    OwnAuthorityOfOtherName,
    /// Signed by another authority than the one that clients trust.
    OtherAuthority,
    /// Of version 1, as `openssl x509 -req` makes it, and trusted by clients.
    Version1,
    /// With a common name only.
    WithoutNames,
    /// For clients, not for servers.
    ForClients,
    /// With an RSA key of 1024 bits, and trusted by clients.
    WeakKey,
}

/// A server's certificate and key, and the authority that its clients must trust.
pub(in crate::lab) struct Identity {
    pub(in crate::lab) acceptor: TlsAcceptor,
    /// The authority's certificate, PEM.
    pub(in crate::lab) authority: String,
}

impl Identity {
    pub(in crate::lab) fn new(certificate: Certificate) -> Self {
        let (issuer, other) = (authority(), authority());
        let key = KeyPair::generate().unwrap();
        let params = params(certificate);
        let signed = match certificate {
            Certificate::SelfSigned
            | Certificate::OwnAuthority
            | Certificate::OwnAuthorityOfOtherName => params.self_signed(&key),
            Certificate::OtherAuthority => params.signed_by(&key, &other),
            _ => params.signed_by(&key, &issuer),
        };
        let signed = signed.unwrap();
        let (shown, authority) = match certificate {
            Certificate::Version1 => (from_pem(VERSION_1), VERSION_1.to_owned()),
            Certificate::WeakKey => (from_pem(WEAK_KEY), WEAK_KEY.to_owned()),
            Certificate::OwnAuthority | Certificate::OwnAuthorityOfOtherName => {
                (signed.der().clone(), signed.pem())
            }
            _ => (signed.der().clone(), issuer.pem()),
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        // Clients refuse a certificate from a file before they see that the key is another one.
        let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![shown], key));
        let config = config
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority,
        }
    }
}

fn from_pem(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "The tests' authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn params(certificate: Certificate) -> CertificateParams {
    let names: &[&str] = match certificate {
        Certificate::OtherName | Certificate::OwnAuthorityOfOtherName => &["storage.example.com"],
        Certificate::WithoutNames => &[],
        _ => &["localhost", "*.localhost", "127.0.0.1"],
    };
    let mut params =
        CertificateParams::new(names.iter().copied().map(str::to_owned).collect::<Vec<_>>())
            .unwrap();
    match certificate {
        Certificate::OwnAuthority | Certificate::OwnAuthorityOfOtherName => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        Certificate::ForClients => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        _ => {}
    }
    if certificate == Certificate::Expired {
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    }
    params
}
