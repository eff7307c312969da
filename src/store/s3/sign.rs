//! The one place where requests are aimed, given their checksum and signed; `object_store` hands them over unsigned.
//!
//! A refusal that teaches something (see [`super::dialect`]) is followed by the same request once more, in the new way.
//! That is no retry: each thing is learned once in a request.
//!
//! The credential can be replaced while requests are under way. One that is refused for the credential that was replaced
//! goes out again with the new one: whoever changes a key deletes the old one at the provider next.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use futures_util::FutureExt;
use http::HeaderValue;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpService,
};
use tracing::{info, warn};
use url::Url;

use super::dialect::{Algorithm, Dialect, Freedom, has_content, starts_multipart};
use super::encryption::{self, CustomerKey};
use crate::config::S3Settings;
use crate::provider::Checksum;
use crate::store::error::{Error, find};
use crate::store::http::Answer;

/// What signs the requests of one location.
#[derive(Debug)]
pub(super) struct Signing {
    http: HttpClient,
    bucket: String,
    /// What `object_store` puts before every key.
    origin: String,
    /// Shared with the location's earlier and later settings.
    credential: Arc<RwLock<Arc<AwsCredential>>>,
    initial: Dialect,
    dialect: RwLock<Dialect>,
    freedom: Freedom,
    customer_key: CustomerKey,
}

/// The signing, as `object_store` takes it.
#[derive(Debug, Clone)]
pub(super) struct Signer(pub(super) Arc<Signing>);

impl HttpConnector for Signer {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Signer {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.0.execute(request).await
    }
}

impl Signing {
    pub(super) fn new(http: HttpClient, settings: &S3Settings, previous: Option<&Self>) -> Self {
        let (initial, freedom) = (Dialect::of(settings), Freedom::of(settings));
        let credential = previous.map_or_else(
            || Arc::new(RwLock::new(Arc::new(credential(settings)))),
            |previous| Arc::clone(&previous.credential),
        );
        let alike =
            previous.filter(|previous| previous.initial == initial && previous.freedom == freedom);
        let dialect = alike.map_or_else(|| initial.clone(), Self::dialect);
        Self {
            http,
            bucket: settings.bucket.clone(),
            origin: format!("/{}", settings.bucket),
            credential,
            initial,
            dialect: RwLock::new(dialect),
            freedom,
            customer_key: CustomerKey::of(&settings.encryption),
        }
    }

    /// Signs with the credential of these settings from now on, whatever is under way.
    pub(super) fn use_credential(&self, settings: &S3Settings) {
        *self
            .credential
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(credential(settings));
    }

    /// How the provider is spoken to, as far as is known now.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes a request whose path is `/BUCKET/…`, whatever the addressing.
    pub(super) async fn execute(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let known = self.dialect();
        let (mut dialect, mut result) = (known.clone(), self.send(&known, request.clone()).await);
        let mut learned = Vec::new();
        while let Some(answer) = result
            .as_ref()
            .err()
            .and_then(|error| find::<Answer>(error))
        {
            let lesson = dialect
                .lesson(&self.freedom, answer, &request)
                .filter(|lesson| !learned.contains(&lesson.subject));
            let Some(lesson) = lesson else { break };
            let next = self.send(&lesson.dialect, request.clone()).await;
            if !lesson.leads_on(&next) {
                break;
            }
            learned.push(lesson.subject);
            (dialect, result) = (lesson.dialect, next);
        }
        self.remember(&known, &dialect);
        self.confirmed(&request, result?).await
    }

    /// Keeps what is new; another request may have learned something else meanwhile.
    fn remember(&self, known: &Dialect, learned: &Dialect) {
        for (setting, value) in learned.difference(known) {
            info!("the provider wants {setting} \"{value}\"");
        }
        if learned != known {
            self.dialect
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take_from(known, learned);
        }
    }

    /// Takes back what is not encrypted although it should be.
    async fn confirmed(
        &self,
        request: &HttpRequest,
        answer: HttpResponse,
    ) -> Result<HttpResponse, HttpError> {
        let Err(not_encrypted) = encryption::confirm(request, &answer) else {
            return Ok(answer);
        };
        let text = answer.into_body().bytes().await?;
        if let Some(undo) = encryption::undo(request, &text)
            && let Err(error) = self.send(&self.dialect(), undo).await
        {
            warn!(
                "\"{}\" is left behind without encryption: {error}",
                request.uri().path()
            );
        }
        Err(HttpError::new(HttpErrorKind::Unknown, not_encrypted))
    }

    async fn send(
        &self,
        dialect: &Dialect,
        request: HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        loop {
            let credential = self.credential();
            let signed = self.signed(dialect, &credential, request.clone())?;
            let result = self.http.execute(signed).await;
            let is_refused = result.as_ref().is_err_and(Error::is_of_credential);
            if !is_refused || Arc::ptr_eq(&credential, &self.credential()) {
                return result;
            }
        }
    }

    fn credential(&self) -> Arc<AwsCredential> {
        Arc::clone(
            &self
                .credential
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// The request as it goes out.
    pub(super) fn signed(
        &self,
        dialect: &Dialect,
        credential: &AwsCredential,
        mut request: HttpRequest,
    ) -> Result<HttpRequest, HttpError> {
        self.aim(dialect, &mut request)?;
        let is_content = has_content(&request);
        self.customer_key.add_to(&mut request);
        if let Some(algorithm) = dialect.header() {
            add_checksum(&mut request, algorithm)?;
        }
        let sign_payload = !is_content || dialect.checksum == Checksum::Sha256;
        let digest = sign_payload.then(|| sha256(request.body()));
        AwsAuthorizer::new(credential, "s3", &dialect.region)
            .with_sign_payload(sign_payload)
            .try_authorize(&mut request, digest.as_ref().map(AsRef::as_ref))
            .map_err(unusable)?;
        Ok(request)
    }

    fn aim(&self, dialect: &Dialect, request: &mut HttpRequest) -> Result<(), HttpError> {
        let path_and_query = request
            .uri()
            .path_and_query()
            .map_or("", |path| path.as_str());
        let rest = path_and_query
            .strip_prefix(&self.origin)
            .unwrap_or(path_and_query);
        let slash = if rest.starts_with('/') { "" } else { "/" };
        let address = format!("{}{slash}{rest}", dialect.bucket_url(&self.bucket));
        // The signature is made of what this parser reads, and it takes no less for an answer.
        Url::parse(&address).map_err(unusable)?;
        *request.uri_mut() = address
            .parse()
            .map_err(|error: http::uri::InvalidUri| unusable(error))?;
        Ok(())
    }
}

/// Content carries its checksum; a multipart upload is told beforehand which one its parts will carry.
///
/// The whole object's checksum is then the server's to make, so completing needs none of the parts'. Source: "Checking
/// object integrity" in Amazon's user guide (`FULL_OBJECT`).
fn add_checksum(request: &mut HttpRequest, algorithm: Algorithm) -> Result<(), HttpError> {
    if has_content(request) {
        let value = BASE64.encode(crc(request.body(), algorithm));
        let value = HeaderValue::from_str(&value).map_err(unusable)?;
        request.headers_mut().insert(algorithm.header, value);
    } else if starts_multipart(request) {
        let headers = request.headers_mut();
        headers.insert(
            "x-amz-checksum-algorithm",
            HeaderValue::from_static(algorithm.name),
        );
        headers.insert(
            "x-amz-checksum-type",
            HeaderValue::from_static("FULL_OBJECT"),
        );
    }
    Ok(())
}

fn crc(body: &HttpRequestBody, algorithm: Algorithm) -> Vec<u8> {
    if algorithm.name == "CRC32C" {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        pieces(body).for_each(|piece| digest.update(&piece));
        let crc = digest.finalize().to_be_bytes();
        return crc[4..].to_vec();
    }
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    pieces(body).for_each(|piece| digest.update(&piece));
    digest.finalize().to_be_bytes().to_vec()
}

fn sha256(body: &HttpRequestBody) -> aws_lc_rs::digest::Digest {
    let mut context = Context::new(&SHA256);
    pieces(body).for_each(|piece| context.update(&piece));
    context.finish()
}

/// The bytes of a body, all of which are in memory.
fn pieces(body: &HttpRequestBody) -> impl Iterator<Item = Bytes> {
    let mut body = body.clone();
    std::iter::from_fn(move || body.frame().now_or_never()??.ok()?.into_data().ok())
}

fn credential(settings: &S3Settings) -> AwsCredential {
    AwsCredential {
        key_id: settings.access_key_id.clone(),
        secret_key: settings.secret_access_key.expose().to_owned(),
        token: settings
            .session_token
            .as_ref()
            .map(|token| token.expose().to_owned()),
    }
}

pub(in crate::store) fn unusable(
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, Unusable(error.into()))
}

#[derive(Debug, thiserror::Error)]
#[error("the request cannot be made: {0}")]
struct Unusable(Box<dyn std::error::Error + Send + Sync>);

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Backend, Location};
    use crate::provider;
    use crate::units::hex;

    /// Signs and goes nowhere.
    #[derive(Debug)]
    struct Nowhere;

    #[async_trait]
    impl HttpService for Nowhere {
        async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
            Err(unusable("this client sends nothing"))
        }
    }

    /// The upload of a small tar to `my-bucket`, as it would go out with these settings.
    fn request(settings: &Value) -> HttpRequest {
        let (location, _) = Location::from_json(settings).unwrap();
        let Backend::S3(settings) = location.backend else {
            panic!("not a bucket")
        };
        let signing = Signing::new(HttpClient::new(Nowhere), &settings, None);
        let mut request = HttpRequest::new(HttpRequestBody::from(Bytes::from_static(b"a tar")));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = "/my-bucket/backups/home.tar".parse().unwrap();
        signing
            .signed(&signing.dialect(), &signing.credential(), request)
            .unwrap()
    }

    fn header<'r>(request: &'r HttpRequest, name: &str) -> &'r str {
        request
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    const SHA256_OF_CONTENT: &str = "b3c5732cece487803a8a8b3bd8b2be0b";

    #[test]
    fn every_preset_makes_the_right_request() {
        for provider in provider::all() {
            let mut settings = json!({"provider": provider.id, "bucket": "my-bucket", "access_key_id": "AKIDEXAMPLE",
                "secret_access_key": "hunter2hunter2"});
            for (key, value) in &provider.example.settings {
                settings[key] = json!(value);
            }
            let (request, id) = (request(&settings), &provider.id);
            let uri = request.uri();
            assert_eq!(
                uri.authority().unwrap().as_str(),
                provider.example.host,
                "{id}"
            );
            assert_eq!(uri.path(), provider.example.path, "{id}");
            let scope = format!(
                "Credential=AKIDEXAMPLE/{}/",
                &header(&request, "x-amz-date")[..8]
            );
            let scope = format!("{scope}{}/s3/aws4_request", provider.example.region);
            assert!(
                header(&request, "authorization").contains(&scope),
                "{id}: {request:?}"
            );
            let (hash, crc) = (
                header(&request, "x-amz-content-sha256"),
                header(&request, "x-amz-checksum-crc64nvme"),
            );
            match provider.checksum {
                Checksum::Sha256 => {
                    assert_eq!((hash, crc), (&*hex(sha256(request.body())), ""), "{id}");
                }
                _ => assert!(
                    hash == "UNSIGNED-PAYLOAD" && !crc.is_empty(),
                    "{id}: {request:?}"
                ),
            }
            assert!(!format!("{request:?}").contains("hunter2"), "{id}");
        }
    }

    #[test]
    fn checksums_are_those_of_the_specifications() {
        let of = |checksum: &str| {
            request(
                &json!({"endpoint": "https://s3.example.com", "bucket": "my-bucket", "access_key_id": "a",
                "secret_access_key": "b", "checksum": checksum}),
            )
        };
        // By other implementations: `base64(crc32c("a tar"))` and the SHA-256 of the same five bytes.
        let (sha256, crc32c, off) = (of("sha256"), of("crc32c"), of("off"));
        assert!(
            header(&sha256, "x-amz-content-sha256").starts_with(SHA256_OF_CONTENT),
            "{sha256:?}"
        );
        assert_eq!(header(&crc32c, "x-amz-checksum-crc32c"), "TX/pPQ==");
        for request in [&crc32c, &off] {
            assert_eq!(header(request, "x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
        }
        assert!(
            off.headers()
                .keys()
                .all(|name| !name.as_str().contains("checksum")),
            "{off:?}"
        );
    }
}
