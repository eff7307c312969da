//! Verifies a request's signature over the path that arrives, and signs it for another one.
//!
//! Source: "Create a signed request" in Amazon's user guide of IAM.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, IF_MATCH, RANGE};
use http::request::Parts;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};

use crate::lab::Bucket;
use crate::lab::sample::hex;

/// Whether this secret made the signature.
pub(super) fn is_right(parts: &Parts, secret: &str) -> bool {
    signature(parts, secret).is_some_and(|(sent, own)| sent == own)
}

/// The signature that was sent, and the right one.
fn signature(parts: &Parts, secret: &str) -> Option<(String, String)> {
    let header = |name: &str| parts.headers.get(name)?.to_str().ok();
    let said = header("authorization")?;
    let field = |name: &str| {
        let (_, rest) = said.split_once(name)?;
        rest.split(',').next()
    };
    let signed = field("SignedHeaders=")?;
    let (_key, scope) = field("Credential=")?.split_once('/')?;
    let mut headers = String::new();
    for name in signed.split(';') {
        headers.extend([name, ":", header(name)?.trim(), "\n"]);
    }
    let query = parts.uri.query().unwrap_or_default().split('&');
    let mut query: Vec<_> = query.filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{signed}\n{}",
        parts.method,
        parts.uri.path(),
        query.join("&"),
        header("x-amz-content-sha256")?
    );
    let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}",
        header("x-amz-date")?
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/').chain([text.as_str()]) {
        key = sign(&Key::new(HMAC_SHA256, &key), part.as_bytes())
            .as_ref()
            .to_vec();
    }
    Some((field("Signature=")?.to_owned(), hex(&key)))
}

/// The headers that the server behind sees, signed for its address.
pub(super) fn renewed(parts: &Parts, url: &str, body: &Bytes, bucket: &Bucket) -> HeaderMap {
    let is_signed = |name: &str| {
        let is_own = matches!(name, "x-amz-date" | "x-amz-content-sha256");
        (name.starts_with("x-amz-") && !is_own) || name == CONTENT_TYPE
    };
    let mut signed = HttpRequest::new(HttpRequestBody::from(body.clone()));
    (*signed.method_mut(), *signed.uri_mut()) = (parts.method.clone(), url.parse().unwrap());
    *signed.headers_mut() = parts
        .headers
        .iter()
        .filter(|(name, _)| is_signed(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let credential = AwsCredential {
        key_id: bucket.key_id.clone(),
        secret_key: bucket.secret.clone(),
        token: None,
    };
    AwsAuthorizer::new(&credential, "s3", &bucket.region)
        .try_authorize(&mut signed, None)
        .unwrap();
    let mut headers = signed.headers().clone();
    for name in [RANGE, IF_MATCH] {
        headers.extend(parts.headers.get(&name).map(|value| (name, value.clone())));
    }
    headers
}
