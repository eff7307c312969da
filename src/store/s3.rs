//! A bucket: object_store for objects, and one signed request of our own for listings.
//!
//! object_store fails a whole listing over one key that it cannot address (a control character, `//`), and asks for
//! keys unescaped, which XML cannot carry. So pages are asked for here, with `encoding-type=url`.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use object_store::ObjectStore;
use object_store::RetryConfig;
use object_store::aws::{self, AmazonS3, AmazonS3Builder, AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use super::error::{Error, Outcome};
use super::http::Connector;
use super::key::Key;
use super::retry::{Patience, retry};
use super::{Object, Objects};
use crate::config::{Addressing, Checksum, S3Settings, Secret};

/// What a query may hold unescaped, so that the signature's canonical form and the request are the same text.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A listing that never ends is a broken server: 10,000 pages hold ten million objects.
const MAX_PAGES: usize = 10_000;

/// A bucket.
#[derive(Debug)]
pub(super) struct S3 {
    objects: Arc<AmazonS3>,
    http: HttpClient,
    credential: AwsCredential,
    region: String,
    bucket_url: String,
}

impl S3 {
    pub(super) fn open(settings: &S3Settings) -> Result<Self, Error> {
        let unusable = |message: String| Error::new(Outcome::Refused, message);
        let connector = Connector::new(secrets(settings))
            .map_err(|error| unusable(format!("Could not set up the HTTP client: {error}")))?;
        let http = connector.client();
        let bucket_url = bucket_url(settings);
        let is_virtual = settings.addressing == Addressing::Virtual;
        let endpoint = if is_virtual { bucket_url.clone() } else { origin(settings) };
        let builder = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_region(&settings.region)
            .with_bucket_name(&settings.bucket)
            .with_access_key_id(&settings.access_key_id)
            .with_secret_access_key(settings.secret_access_key.expose())
            .with_virtual_hosted_style_request(is_virtual)
            .with_allow_http(true)
            .with_disable_tagging(true)
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_http_connector(connector);
        let builder = match &settings.session_token {
            Some(token) => builder.with_token(token.expose()),
            None => builder,
        };
        let builder = match settings.checksum {
            Checksum::Sha256 => builder,
            Checksum::Crc64Nvme => {
                builder.with_unsigned_payload(true).with_checksum_algorithm(aws::Checksum::CRC64NVME)
            }
        };
        let objects = builder.build().map_err(|error| Error::from_object_store(error, "set up the location"))?;
        let credential = AwsCredential {
            key_id: settings.access_key_id.clone(),
            secret_key: settings.secret_access_key.expose().to_owned(),
            token: settings.session_token.as_ref().map(|token| token.expose().to_owned()),
        };
        Ok(Self { objects: Arc::new(objects), http, credential, region: settings.region.clone(), bucket_url })
    }

    pub(super) fn objects(&self) -> Arc<dyn ObjectStore> {
        self.objects.clone()
    }

    pub(super) fn multipart(&self) -> Arc<AmazonS3> {
        self.objects.clone()
    }

    pub(super) async fn list(&self, folder: &str, patience: Patience, action: &str) -> Result<Objects, Error> {
        let mut objects = Objects::default();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let token_now = token.as_deref();
            let page = retry(patience, || self.list_page(folder, token_now, action)).await?;
            token = page.next_continuation_token.clone().filter(|_| page.is_truncated);
            page.add_to(&mut objects);
            if token.is_none() {
                return Ok(objects);
            }
        }
        Err(Error::new(Outcome::Refused, format!("Could not {action}: the listing has no end")))
    }

    async fn list_page(&self, folder: &str, token: Option<&str>, action: &str) -> Result<Page, Error> {
        let mut query = vec![("encoding-type", "url"), ("list-type", "2"), ("prefix", folder)];
        query.extend(token.map(|token| ("continuation-token", token)));
        let text = self.get(&query).await.map_err(|error| Error::from_http(error, action))?;
        quick_xml::de::from_reader(text.reader()).map_err(|error| {
            Error::new(Outcome::Refused, format!("Could not {action}: the answer is not a listing: {error}"))
        })
    }

    /// A signed GET of the bucket itself, one attempt.
    async fn get(&self, query: &[(&str, &str)]) -> Result<Bytes, HttpError> {
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY))).collect();
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let address = format!("{}/?{}", self.bucket_url.trim_end_matches('/'), pairs.join("&"));
        *request.uri_mut() =
            address.parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, BadAddress(error)))?;
        AwsAuthorizer::new(&self.credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        self.http.execute(request).await?.into_body().bytes().await
    }
}

fn secrets(settings: &S3Settings) -> Vec<Secret> {
    let key = [Secret::new(&settings.access_key_id), settings.secret_access_key.clone()];
    key.into_iter().chain(settings.session_token.clone()).collect()
}

#[derive(Debug, thiserror::Error)]
#[error("the address is not valid: {0}")]
struct BadAddress(http::uri::InvalidUri);

fn origin(settings: &S3Settings) -> String {
    settings.endpoint.as_str().trim_end_matches('/').to_owned()
}

fn bucket_url(settings: &S3Settings) -> String {
    let origin = origin(settings);
    match settings.addressing {
        Addressing::Path => format!("{origin}/{}", settings.bucket),
        Addressing::Virtual => origin.replacen("://", &format!("://{}.", settings.bucket), 1),
    }
}

/// One page of `ListObjectsV2`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    encoding_type: Option<String>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_continuation_token: Option<String>,
    #[serde(default)]
    contents: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    size: u64,
    #[serde(default, rename = "ETag")]
    e_tag: Option<String>,
    #[serde(default)]
    last_modified: String,
}

impl Page {
    fn add_to(self, listing: &mut Objects) {
        let encoded = self.encoding_type.as_deref() == Some("url");
        for entry in self.contents {
            let key = if encoded { decode(&entry.key) } else { Some(entry.key.clone()) };
            // What object_store would not send back unchanged cannot be read, so it is only mentioned.
            match key.filter(|key| Path::parse(key).is_ok_and(|path| path.as_ref() == key)) {
                Some(key) => listing.objects.push(Object {
                    key: Key::new(key),
                    size: entry.size,
                    version: entry.e_tag.filter(|e_tag| !e_tag.is_empty()).unwrap_or(entry.last_modified),
                }),
                None => listing.unreachable.push(entry.key),
            }
        }
    }
}

/// `encoding-type=url` is form encoding: a space may arrive as `+`, a plus sign as `%2B`.
fn decode(key: &str) -> Option<String> {
    let key = key.replace('+', " ");
    percent_decode_str(&key).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Objects {
        let mut objects = Objects::default();
        quick_xml::de::from_str::<Page>(xml).unwrap().add_to(&mut objects);
        objects
    }

    #[test]
    fn keys_arrive_byte_for_byte() {
        let objects = read(
            r#"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>
            <Contents><Key>p/backups/a+b%2B%23%25%5B%22%C3%A4%F0%9F%98%80.tar</Key><Size>7</Size><ETag>"x"</ETag></Contents>
            <Contents><Key>p/backups/a%2F%2Fb.tar</Key><Size>1</Size></Contents></ListBucketResult>"#,
        );
        assert_eq!(objects.objects.len(), 1);
        assert_eq!(objects.objects[0].key.as_str(), "p/backups/a b+#%[\"ä😀.tar");
        assert_eq!(objects.unreachable, ["p/backups/a%2F%2Fb.tar"]);
    }

    #[test]
    fn a_server_without_encoding_is_read_as_it_is() {
        let objects = read(
            "<ListBucketResult><Contents><Key>a+b&amp;c.tar</Key><Size>1</Size><LastModified>t</LastModified></Contents></ListBucketResult>",
        );
        assert_eq!((objects.objects[0].key.as_str(), objects.objects[0].version.as_str()), ("a+b&c.tar", "t"));
    }
}
