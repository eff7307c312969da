//! The key of one's own (SSE-C) where object_store leaves it out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use md5::{Digest, Md5};
use object_store::client::HttpRequest;

use crate::config::Encryption;

/// The headers that name the key; none where the provider has it.
#[derive(Debug, Default)]
pub(super) struct CustomerKey(HeaderMap);

impl CustomerKey {
    pub(super) fn of(encryption: &Encryption) -> Self {
        let Encryption::Customer(key) = encryption else { return Self::default() };
        let md5 = BASE64.decode(key.expose()).map(|bytes| BASE64.encode(Md5::digest(bytes)));
        let values = [
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-server-side-encryption-customer-key", key.expose()),
            ("x-amz-server-side-encryption-customer-key-md5", md5.as_deref().unwrap_or_default()),
        ];
        let header = |(name, value)| {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_static(name), value))
        };
        Self(values.into_iter().filter_map(header).collect())
    }

    /// Completing needs the key too, when the parts carried checksums. Source: `CompleteMultipartUpload` in Amazon's API
    /// reference; Garage refuses without it ("Object is encrypted").
    pub(super) fn add_to(&self, request: &mut HttpRequest) {
        let completes = request.uri().query().is_some_and(|query| query.contains("uploadId="));
        if request.method() == Method::POST && completes {
            request.headers_mut().extend(self.0.clone());
        }
    }
}
