//! The connection to a bucket's endpoint: certificates, proxy, limits.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::fingerprint::Fingerprint;
use super::pem;
use super::proxy::Proxy;
use super::reader::Reader;

/// The connection to the endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wire {
    /// PEM of the authorities to trust beside the system's.
    pub ca_certificate: Option<String>,
    /// The only certificate to trust.
    pub certificate_sha256: Option<Fingerprint>,
    /// The proxy.
    pub proxy: Option<Proxy>,
    /// Bytes a second for all uploads of the location together.
    pub upload_limit: Option<u64>,
    /// Bytes a second for all downloads together.
    pub download_limit: Option<u64>,
    /// Idle timeout of a request.
    pub idle: Option<Duration>,
}

impl Wire {
    pub(super) fn read(section: &mut Reader<'_>) -> Self {
        Self {
            ca_certificate: read_certificate(section),
            certificate_sha256: read_fingerprint(section),
            proxy: Proxy::read(section),
            upload_limit: section.number("upload_limit"),
            download_limit: section.number("download_limit"),
            idle: section.duration("idle_seconds"),
        }
    }
}

/// The largest PEM file that is read. All authorities of a system take some 250 KiB.
const MAX_PEM_BYTES: u64 = 2 * 1024 * 1024;

fn read_certificate(section: &mut Reader<'_>) -> Option<String> {
    let text = section.text("ca_certificate")?;
    let pem = match read_pem(&text, section.is_local()) {
        Ok(pem) => pem,
        Err(message) => {
            section
                .problem("ca_certificate", message)
                .of_kind("not_a_certificate", []);
            return None;
        }
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let (message, kind) = match certificates {
        Ok(found) if found.is_empty() && pem.contains("PRIVATE KEY-----") => (
            "holds a private key: name the certificate instead",
            "private_key",
        ),
        Ok(found) if found.is_empty() => (
            "holds no certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----",
            "not_a_certificate",
        ),
        Ok(found) if found.iter().all(is_parsable) => return Some(pem),
        _ => (
            "holds a certificate that is damaged or cut off: copy all of it again, with its first and its last line",
            "damaged_certificate",
        ),
    };
    section.problem("ca_certificate", message).of_kind(kind, []);
    None
}

/// Whether connections can trust the certificate.
fn is_parsable(certificate: &CertificateDer<'_>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

/// The PEM itself, or the PEM in the file that the text names.
fn read_pem(text: &str, is_local: bool) -> Result<String, String> {
    if text.contains(pem::BEGIN) {
        Ok(pem::with_lines(text))
    } else if is_local {
        read_small(text).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => format!(
                "\"{text}\" is not in PEM form: convert it with `openssl x509 -inform der -in {text} -out ca.pem`"
            ),
            _ => format!("\"{text}\" cannot be read: {error}"),
        })
    } else {
        Err("must be the certificate itself, from -----BEGIN to -----END".to_owned())
    }
}

fn read_fingerprint(section: &mut Reader<'_>) -> Option<Fingerprint> {
    let text = section.text("certificate_sha256")?;
    let fingerprint = Fingerprint::parse(&text);
    if fingerprint.is_none() {
        section
            .problem(
                "certificate_sha256",
                "must be 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` prints them",
            )
            .of_kind("not_a_fingerprint", []);
    }
    fingerprint
}

/// Reads a PEM, whose comments may have letters of any encoding.
fn read_small(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?.take(MAX_PEM_BYTES + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(io::Error::other("the file is too large"));
    }
    let text = String::from_utf8_lossy(&bytes);
    if text.contains(pem::BEGIN) || str::from_utf8(&bytes).is_ok() {
        Ok(text.into_owned())
    } else {
        Err(ErrorKind::InvalidData.into())
    }
}
