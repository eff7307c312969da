//! Encryption at the provider: the key of one's own where object_store leaves it out, and whether there is any at all.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use md5::{Digest, Md5};
use object_store::client::{HttpRequest, HttpResponse};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;

use super::QUERY;
use crate::config::Encryption;
use crate::store::error::NotEncrypted;

/// The headers that name the key; none where the provider has it.
#[derive(Debug, Default)]
pub(super) struct CustomerKey(HeaderMap);

impl CustomerKey {
    pub(super) fn of(encryption: &Encryption) -> Self {
        let Encryption::Customer(key) = encryption else {
            return Self::default();
        };
        let md5 = BASE64
            .decode(key.expose())
            .map(|bytes| BASE64.encode(Md5::digest(bytes)));
        let values = [
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-server-side-encryption-customer-key", key.expose()),
            (
                "x-amz-server-side-encryption-customer-key-md5",
                md5.as_deref().unwrap_or_default(),
            ),
        ];
        let header = |(name, value)| {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_static(name), value))
        };
        Self(values.into_iter().filter_map(header).collect())
    }

    /// Completing and listing parts need the key too, when the parts carried checksums. Source: `CompleteMultipartUpload`
    /// and `ListParts` in Amazon's API reference; Garage refuses without it ("Object is encrypted").
    pub(super) fn add_to(&self, request: &mut HttpRequest) {
        let is_of_upload = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("uploadId="));
        if matches!(*request.method(), Method::GET | Method::POST) && is_of_upload {
            request.headers_mut().extend(self.0.clone());
        }
    }
}

/// What a request asks for is said again in the answer by who does it. Others ignore the headers, and store the bytes as
/// they are: `OpenStack` Swift 2.38 does with SSE-C.
///
/// Source: the response headers of `PutObject`, `CopyObject` and `CreateMultipartUpload` in Amazon's API reference.
pub(super) fn confirm(request: &HttpRequest, answer: &HttpResponse) -> Result<(), NotEncrypted> {
    let begins = request
        .uri()
        .query()
        .is_none_or(|query| !query.contains("uploadId="));
    let writes = matches!(*request.method(), Method::PUT | Method::POST) && begins;
    let is_ignored =
        |name: &str| request.headers().contains_key(name) && !answer.headers().contains_key(name);
    let names = [
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-customer-algorithm",
    ];
    if writes && names.into_iter().any(is_ignored) {
        Err(NotEncrypted)
    } else {
        Ok(())
    }
}

/// The request that takes back what was begun or written without encryption.
pub(super) fn undo(request: &HttpRequest, answer: &[u8]) -> Option<HttpRequest> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Started {
        upload_id: String,
    }
    let mut undo = HttpRequest::new(object_store::client::HttpRequestBody::empty());
    *undo.method_mut() = Method::DELETE;
    let mut address = request.uri().path().to_owned();
    if request.method() == Method::POST {
        let started: Started = quick_xml::de::from_reader(answer).ok()?;
        address.push_str("?uploadId=");
        address.extend(utf8_percent_encode(&started.upload_id, QUERY));
    }
    *undo.uri_mut() = address.parse().ok()?;
    Some(undo)
}
