//! A bucket: object_store for objects, signed requests of our own for what it has no call for.
//!
//! object_store fails a whole listing over one key that it cannot address (a control character, `//`), and asks for
//! keys unescaped, which XML cannot carry. So pages are asked for in [`listing`], with `encoding-type=url`. All
//! requests, its and ours, go through [`sign`].

mod dialect;
mod encryption;
pub(super) mod listing;
mod sign;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use object_store::ObjectStore;
use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpError, HttpRequest, HttpRequestBody, HttpResponse};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use dialect::Dialect;

use super::e_tag::ETags;
use super::error::{Error, Outcome};
use super::http::{Http, Shared, Traffic};
use super::key::Key;
use super::pace::Pace;
use crate::config::{Encryption, S3Settings, Secret};
pub(super) use sign::unusable;
use sign::{Signer, Signing};

/// What a query may hold unescaped, so that the signature's canonical form and the request are the same text.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same for a path, whose slashes stay.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// A bucket.
#[derive(Debug)]
pub(super) struct S3 {
    objects: Arc<AmazonS3>,
    signing: Arc<Signing>,
    bucket: String,
    encryption: Encryption,
    shared: Shared,
}

impl S3 {
    /// `location` is the id of the location, for the log.
    pub(super) fn open(settings: &S3Settings, location: &str) -> Result<Self, Error> {
        Self::with(settings, Shared::of(location), None)
    }

    /// The same bucket with other settings. Transfers under way have the new key and the new limits too; what was learned
    /// of the provider is kept while it is asked in the same way.
    pub(super) fn reopen(&self, settings: &S3Settings) -> Result<Self, Error> {
        Self::with(settings, self.shared.clone(), Some(&self.signing))
    }

    fn with(
        settings: &S3Settings,
        shared: Shared,
        previous: Option<&Signing>,
    ) -> Result<Self, Error> {
        let http = Http::new(&settings.wire, shared.clone()).map_err(|error| {
            Error::new(
                Outcome::Refused,
                format!(
                    "Could not set up the HTTP client: {}",
                    super::error::innermost(&error)
                ),
            )
        })?;
        let signing = Arc::new(Signing::new(http.into_client(), settings, previous));
        let builder = AmazonS3Builder::new()
            .with_endpoint(settings.endpoint.as_str().trim_end_matches('/'))
            .with_region(&settings.region.value)
            .with_bucket_name(&settings.bucket)
            .with_virtual_hosted_style_request(false)
            .with_allow_http(true)
            .with_disable_tagging(true)
            .with_disable_bulk_delete(true)
            .with_skip_signature(true)
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            })
            .with_http_connector(Signer(Arc::clone(&signing)));
        let objects = with_encryption(builder, &settings.encryption).build();
        let objects =
            objects.map_err(|error| Error::from_object_store(error, "set up the location"))?;
        signing.use_credential(settings);
        shared.update(&settings.wire, secrets(settings));
        Ok(Self {
            shared,
            objects: Arc::new(objects),
            signing,
            bucket: settings.bucket.clone(),
            encryption: settings.encryption.clone(),
        })
    }

    /// What the requests came to so far.
    pub(super) fn traffic(&self) -> Traffic {
        self.shared.traffic()
    }

    pub(super) fn objects(&self) -> Arc<dyn ObjectStore> {
        self.objects.clone()
    }

    pub(super) fn multipart(&self) -> Arc<AmazonS3> {
        self.objects.clone()
    }

    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// How many parts the provider takes at the same time.
    pub(super) fn pace(&self) -> &Pace {
        self.shared.pace()
    }

    /// What its `ETag`s are.
    pub(super) fn e_tags(&self) -> &ETags {
        self.shared.e_tags()
    }

    /// How objects of this bucket are encrypted.
    pub(super) fn encryption(&self) -> &Encryption {
        &self.encryption
    }

    /// How the provider is spoken to, as far as is known now.
    pub(super) fn dialect(&self) -> Dialect {
        self.signing.dialect()
    }

    /// A request that object_store has no call for, in one attempt. Without a key it is about the bucket itself.
    pub(super) async fn request(
        &self,
        method: Method,
        key: Option<&Key>,
        query: &[(&str, &str)],
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<HttpResponse, HttpError> {
        let mut address = format!(
            "/{}/{}",
            self.bucket,
            key.map(encode_key).unwrap_or_default()
        );
        for (index, (name, value)) in query.iter().enumerate() {
            address.push(if index == 0 { '?' } else { '&' });
            address.extend(
                [name, "="]
                    .into_iter()
                    .chain(utf8_percent_encode(value, QUERY)),
            );
        }
        let mut request = HttpRequest::new(HttpRequestBody::from(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        *request.uri_mut() = address
            .parse()
            .map_err(|error: http::uri::InvalidUri| unusable(error))?;
        self.signing.execute(request).await
    }
}

/// A key as it stands in an address, and in the header that names the source of a copy.
pub(super) fn encode_key(key: &Key) -> String {
    utf8_percent_encode(key.as_str(), PATH).to_string()
}

fn with_encryption(builder: AmazonS3Builder, encryption: &Encryption) -> AmazonS3Builder {
    match encryption {
        Encryption::None => builder,
        Encryption::Aes256 => with_option(builder, "aws_server_side_encryption", "AES256"),
        Encryption::Kms(Some(key)) => builder.with_sse_kms_encryption(key),
        Encryption::Kms(None) => with_option(builder, "aws_server_side_encryption", "aws:kms"),
        Encryption::Customer(key) => builder.with_ssec_encryption(key.expose()),
    }
}

/// object_store has this option, but gives it no method.
fn with_option(builder: AmazonS3Builder, name: &str, value: &str) -> AmazonS3Builder {
    match name.parse::<AmazonS3ConfigKey>() {
        Ok(key) => builder.with_config(key, value),
        Err(_) => builder,
    }
}

fn secrets(settings: &S3Settings) -> Vec<Secret> {
    let key = [
        Secret::of_id(settings.access_key_id.as_str()),
        settings.secret_access_key.clone(),
    ];
    let customer = match &settings.encryption {
        Encryption::Customer(key) => Some(key.clone()),
        _ => None,
    };
    key.into_iter()
        .chain(settings.session_token.clone())
        .chain(customer)
        .collect()
}
