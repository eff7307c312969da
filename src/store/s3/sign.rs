//! Aims, checksums and signs requests.

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use url::Url;

use super::checksum;
use super::dialect::Dialect;
use super::failure::Failure;
use super::request::Request;
use crate::config::S3Settings;
use crate::provider::Checksum;
use crate::store::digest::Algorithm;

/// A request as it goes out.
pub(super) struct Signed {
    pub(super) url: Url,
    pub(super) request: Request,
}

/// Aims `request` at `bucket` in this dialect, adds its checksum and signs it.
///
/// The digest that the payload comes with is used as it is: in a header, or as the hash that the signature covers.
///
/// The signature covers the host, `x-amz-*` and `Content-Type`, without which Ceph refuses. Caches and proxies rewrite other
/// headers: nginx drops `Range` and `If-Match` from a request that it caches. Sources: "Create a signed request" in Amazon's
/// user guide of IAM; `proxy_cache` in nginx's documentation of `ngx_http_proxy_module`.
pub(super) fn signed(
    request: &Request,
    bucket: &str,
    dialect: &Dialect,
    credential: &AwsCredential,
) -> Result<Signed, Failure> {
    let address = dialect.bucket_url(bucket) + &request.path_and_query();
    let url = Url::parse(&address).map_err(Failure::invalid)?;
    let mut request = request.clone();
    checksum::add(&mut request, dialect.checksum)?;
    let is_signed = !request.has_content() || dialect.checksum == Checksum::Sha256;
    let hash = is_signed.then(|| checksum::digest(&request, Algorithm::Sha256));
    let mut signing = HttpRequest::new(HttpRequestBody::empty());
    *signing.method_mut() = request.method.clone();
    *signing.uri_mut() = address
        .parse()
        .map_err(|error: http::uri::InvalidUri| Failure::invalid(error))?;
    *signing.headers_mut() = request
        .headers
        .iter()
        .filter(|(name, _)| {
            name.as_str().starts_with("x-amz-") || *name == http::header::CONTENT_TYPE
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    AwsAuthorizer::new(credential, "s3", &dialect.region)
        .with_sign_payload(is_signed)
        .try_authorize(&mut signing, hash.as_deref())
        .map_err(Failure::invalid)?;
    request.headers.extend(signing.into_parts().0.headers);
    Ok(Signed { url, request })
}

/// The credential of these settings.
pub(super) fn credential(settings: &S3Settings) -> AwsCredential {
    AwsCredential {
        key_id: settings.access_key_id.clone(),
        secret_key: settings.secret_access_key.expose().to_owned(),
        token: settings
            .session_token
            .as_ref()
            .map(|token| token.expose().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use bytes::Bytes;
    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Backend, Location};
    use crate::provider;
    use crate::store::backend::Payload;
    use crate::store::key::Key;
    use crate::units::hex;

    const CONTENT: &[u8] = b"a tar";

    /// By another implementation: the SHA-256 of the content.
    const SHA256_OF_CONTENT: &str = "b3c5732cece487803a8a8b3bd8b2be0b";

    /// The upload of a small tar to `my-bucket`, as it goes out with these settings.
    fn put(settings: &Value, payload: Payload) -> Signed {
        let (location, _) = Location::from_json(settings).unwrap();
        let Backend::S3(settings) = location.backend else {
            panic!("not a bucket")
        };
        let request = Request::of(Method::PUT, &Key::new("backups/home.tar")).payload(payload);
        signed(
            &request,
            "my-bucket",
            &Dialect::of(&settings),
            &credential(&settings),
        )
        .unwrap()
    }

    fn content() -> Payload {
        Payload {
            bytes: Bytes::from_static(CONTENT),
            ..Payload::default()
        }
    }

    fn header<'h>(signed: &'h Signed, name: &str) -> &'h str {
        signed
            .request
            .headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn settings(checksum: &str) -> Value {
        json!({"endpoint": "https://s3.example.com", "bucket": "my-bucket", "access_key_id": "a",
            "secret_access_key": "b", "checksum": checksum})
    }

    #[test]
    fn every_preset_makes_the_right_request() {
        for provider in provider::all() {
            let mut settings = json!({"provider": provider.id, "bucket": "my-bucket", "access_key_id": "AKIDEXAMPLE",
                "secret_access_key": "hunter2hunter2"});
            for (key, value) in &provider.example.settings {
                settings[key] = json!(value);
            }
            let (request, id) = (put(&settings, content()), &provider.id);
            let url = &request.url;
            assert_eq!(url.authority(), provider.example.host, "{id}");
            assert_eq!(url.path(), provider.example.path, "{id}");
            let scope = format!(
                "Credential=AKIDEXAMPLE/{}/{}/s3/aws4_request",
                &header(&request, "x-amz-date")[..8],
                provider.example.region
            );
            assert!(header(&request, "authorization").contains(&scope), "{id}");
            let (hash, crc) = (
                header(&request, "x-amz-content-sha256"),
                header(&request, "x-amz-checksum-crc64nvme"),
            );
            match provider.checksum {
                Checksum::Sha256 => {
                    let expected = hex(Algorithm::Sha256.digest(CONTENT).value());
                    assert_eq!((hash, crc), (&*expected, ""), "{id}");
                }
                _ => assert!(hash == "UNSIGNED-PAYLOAD" && !crc.is_empty(), "{id}"),
            }
            assert!(
                !format!("{:?}", request.request).contains("hunter2"),
                "{id}"
            );
        }
    }

    #[test]
    fn checksums_are_those_of_the_specifications() {
        let of = |checksum: &str| put(&settings(checksum), content());
        let (sha256, crc32c, off) = (of("sha256"), of("crc32c"), of("off"));
        assert!(header(&sha256, "x-amz-content-sha256").starts_with(SHA256_OF_CONTENT));
        // By another implementation: `base64(crc32c("a tar"))`.
        assert_eq!(header(&crc32c, "x-amz-checksum-crc32c"), "TX/pPQ==");
        for request in [&crc32c, &off] {
            assert_eq!(header(request, "x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
        }
        let names = off.request.headers.keys();
        assert!(
            names
                .into_iter()
                .all(|name| !name.as_str().contains("checksum"))
        );
    }

    /// Given the digest of other bytes, the request repeats that digest: nothing is computed again.
    #[test]
    fn given_digest_is_not_computed_again() {
        for (checksum, algorithm, name) in [
            ("sha256", Algorithm::Sha256, "x-amz-content-sha256"),
            ("crc32c", Algorithm::Crc32c, "x-amz-checksum-crc32c"),
            (
                "crc64nvme",
                Algorithm::Crc64Nvme,
                "x-amz-checksum-crc64nvme",
            ),
        ] {
            let given = algorithm.digest(b"other bytes");
            let payload = Payload {
                digest: Some(given.clone()),
                ..content()
            };
            let sent = put(&settings(checksum), payload);
            let expected = [hex(given.value()), BASE64.encode(given.value())];
            assert!(expected.iter().any(|value| header(&sent, name) == value));
            // A digest of another algorithm does not replace it.
            let payload = Payload {
                digest: Some(Algorithm::Md5.digest(CONTENT)),
                ..content()
            };
            let sent = put(&settings(checksum), payload);
            assert_eq!(
                header(&sent, name),
                header(&put(&settings(checksum), content()), name)
            );
        }
    }
}
