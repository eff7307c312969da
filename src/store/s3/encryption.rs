//! Encryption at the provider: its headers, and whether the provider honours them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use md5::{Digest, Md5};

use super::request::Request;
use super::transport::Reply;
use crate::config::Encryption;

/// Headers that a provider repeats when it encrypts.
///
/// Source: the response headers of `PutObject`, `CopyObject` and `CreateMultipartUpload` in Amazon's API reference.
/// `OpenStack` Swift 2.38 ignores SSE-C, and stores the bytes in the clear.
const REPEATED: [&str; 2] = [
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-customer-algorithm",
];

/// Headers of one location's encryption.
#[derive(Debug, Clone, Default)]
pub(super) struct Headers {
    /// For requests that begin an object.
    pub(super) begin: HeaderMap,
    /// For all requests about an object with a customer's key; empty without one.
    ///
    /// Completing and listing parts need the key too when the parts have checksums. Source: `CompleteMultipartUpload` and
    /// `ListParts` in Amazon's API reference; Garage refuses without it ("Object is encrypted").
    pub(super) customer: HeaderMap,
}

impl Headers {
    pub(super) fn of(encryption: &Encryption) -> Self {
        match encryption {
            Encryption::None => Self::default(),
            Encryption::Aes256 => Self::at_provider("AES256", None),
            Encryption::Kms(key) => Self::at_provider("aws:kms", key.as_deref()),
            Encryption::Customer(key) => {
                let md5 = BASE64
                    .decode(key.expose())
                    .map(|bytes| BASE64.encode(Md5::digest(bytes)));
                let customer = map(&[
                    ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
                    ("x-amz-server-side-encryption-customer-key", key.expose()),
                    (
                        "x-amz-server-side-encryption-customer-key-md5",
                        md5.as_deref().unwrap_or_default(),
                    ),
                ]);
                Self {
                    begin: customer.clone(),
                    customer,
                }
            }
        }
    }

    fn at_provider(algorithm: &str, key: Option<&str>) -> Self {
        let mut headers = vec![("x-amz-server-side-encryption", algorithm)];
        headers.extend(key.map(|key| ("x-amz-server-side-encryption-aws-kms-key-id", key)));
        Self {
            begin: map(&headers),
            customer: HeaderMap::new(),
        }
    }
}

fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
    let header = |&(name, value): &(&'static str, &str)| {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_static(name), value))
    };
    headers.iter().filter_map(header).collect()
}

/// Whether the provider ignored the encryption that a request asked for, which it confirms when an object begins.
pub(super) fn is_ignored(request: &Request, reply: &Reply) -> bool {
    let begins = matches!(request.method, Method::PUT | Method::POST) && !request.is_of_upload();
    begins && !is_confirmed(request, reply)
}

/// Whether an answer confirms the encryption that `request` asked for.
pub(super) fn is_confirmed(request: &Request, reply: &Reply) -> bool {
    let is_missing =
        |name: &str| request.headers.contains_key(name) && !reply.headers.contains_key(name);
    !REPEATED.into_iter().any(is_missing)
}
