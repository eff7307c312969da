//! Copies inside the storage, from one bucket of an endpoint to another: no byte passes here.
//!
//! Sources: "Copying, moving, and renaming objects" in Amazon's user guide, `CopyObject` and `UploadPartCopy` in its API
//! reference. object_store copies within one bucket only.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;

use super::error::{Error, Outcome};
use super::retry::Patience;
use super::s3::{S3, encode_key};
use super::{Key, Object, Store, StoreBackend};
use crate::config::Encryption;

/// Names and values.
pub(super) type Headers = Vec<(&'static str, String)>;

/// An object that is copied from.
#[derive(Debug, Clone)]
pub struct CopySource {
    bucket: String,
    key: Key,
    e_tag: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Copied {
    #[serde(default, rename = "ETag")]
    e_tag: String,
}

impl CopySource {
    pub(super) fn headers(&self, range: Option<Range<u64>>) -> Headers {
        let mut headers = vec![(
            "x-amz-copy-source",
            format!("{}/{}", self.bucket, encode_key(&self.key)),
        )];
        // An object that is replaced between two parts would be neither the one nor the other.
        headers.extend(
            self.e_tag
                .clone()
                .map(|e_tag| ("x-amz-copy-source-if-match", e_tag)),
        );
        headers.extend(range.map(|range| {
            (
                "x-amz-copy-source-range",
                format!("bytes={}-{}", range.start, range.end - 1),
            )
        }));
        headers
    }

    /// What tells it from other sources: its place, and its `ETag` when it was found.
    #[must_use]
    pub fn name(&self) -> String {
        format!(
            "{}/{} {}",
            self.bucket,
            self.key,
            self.e_tag.as_deref().unwrap_or_default()
        )
    }
}

impl Store {
    /// Whether both are buckets at one endpoint, and the server can read what it copies: not with a key that only a
    /// location has.
    #[must_use]
    pub fn can_copy_inside_to(&self, to: &Self) -> bool {
        let (StoreBackend::S3(from), StoreBackend::S3(to)) = (&*self.backend, &*to.backend) else {
            return false;
        };
        let has_own_key = |s3: &S3| matches!(s3.encryption(), Encryption::Customer(_));
        from.dialect().endpoint.origin() == to.dialect().endpoint.origin()
            && !has_own_key(from)
            && !has_own_key(to)
    }

    /// An object of this store as the source of copies. Whether another location's key may read it, only a try tells.
    #[must_use]
    pub fn copy_source(&self, object: &Object) -> Option<CopySource> {
        let StoreBackend::S3(from) = &*self.backend else {
            return None;
        };
        // Where a server gives no ETag in a listing, the version is a time.
        let e_tag = Some(&object.version)
            .filter(|version| version.starts_with('"'))
            .cloned();
        Some(CopySource {
            bucket: from.bucket().to_owned(),
            key: object.key.clone(),
            e_tag,
        })
    }

    /// Makes the object `key` of another one of up to 5 GiB.
    ///
    /// # Errors
    /// What a copy can come to; afterwards the object is there whole, or not at all.
    pub async fn copy(
        &self,
        source: &CopySource,
        key: &Key,
        patience: Patience,
    ) -> Result<(), Error> {
        let action = &self.action("copy", key);
        let StoreBackend::S3(s3) = &*self.backend else {
            return Err(Error::new(
                Outcome::Refused,
                format!("Could not {action}: a directory cannot"),
            ));
        };
        let mut headers = source.headers(None);
        headers.extend(
            self.storage_class
                .as_deref()
                .map(|class| ("x-amz-storage-class", class.to_owned())),
        );
        headers.extend(encryption(s3.encryption()));
        self.retry(patience, || copied(s3, key, &[], &headers, action))
            .await
            .map(drop)
    }
}

/// A copy is encrypted as the request says, not as its source is.
fn encryption(encryption: &Encryption) -> Headers {
    let by = |name: &str| ("x-amz-server-side-encryption", name.to_owned());
    match encryption {
        Encryption::None | Encryption::Customer(_) => Vec::new(),
        Encryption::Aes256 => vec![by("AES256")],
        Encryption::Kms(None) => vec![by("aws:kms")],
        Encryption::Kms(Some(key)) => {
            vec![
                by("aws:kms"),
                ("x-amz-server-side-encryption-aws-kms-key-id", key.clone()),
            ]
        }
    }
}

/// Has something copied, in one attempt, and gives the `ETag` of what came of it.
pub(super) async fn copied(
    s3: &S3,
    key: &Key,
    query: &[(&str, &str)],
    headers: &Headers,
    action: &str,
) -> Result<String, Error> {
    let refused = |why: String| Error::new(Outcome::Refused, format!("Could not {action}: {why}"));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(
            *name,
            HeaderValue::from_str(value).map_err(|error| refused(error.to_string()))?,
        );
    }
    let answer = match s3
        .request(Method::PUT, Some(key), query, map, Bytes::new())
        .await
    {
        Ok(answer) => answer.into_body().bytes().await,
        Err(error) => Err(error),
    };
    let text = answer.map_err(|error| Error::from_http(error, action))?;
    match quick_xml::de::from_reader::<_, Copied>(&text[..]) {
        Ok(copied) if !copied.e_tag.is_empty() => Ok(copied.e_tag),
        // A server that takes the header for nothing has stored an empty object and answers without a document.
        _ => Err(refused("the answer is not that of a copy".into())),
    }
}
