//! Copies inside the storage, between buckets of one endpoint: no byte passes the agent.
//!
//! Sources: "Copying, moving, and renaming objects" in Amazon's user guide, `CopyObject` and `UploadPartCopy` in its API
//! reference.

use std::ops::Range;

use http::Method;

use super::client::{Client, MAX_ANSWER_BYTES};
use super::multipart::part;
use super::request::{Request, encode_key};
use super::xml;
use crate::config::Encryption;
use crate::store::backend::{CopySource, Object, Session};
use crate::store::error::Error;
use crate::store::key::Key;
use crate::store::retry::Call;

impl Client {
    /// Whether both buckets are at one endpoint, and the server can read what it copies: not with a customer's key.
    pub(in crate::store) fn can_copy_to(&self, to: &Self) -> bool {
        let has_own_key = |client: &Self| matches!(client.encryption, Encryption::Customer(_));
        self.dialect().endpoint.origin() == to.dialect().endpoint.origin()
            && !has_own_key(self)
            && !has_own_key(to)
    }

    /// An object of this bucket as the source of copies.
    pub(in crate::store) fn copy_source(&self, object: &Object) -> CopySource {
        // Where a server gives no ETag in a listing, the version is a time.
        let e_tag = Some(&object.version).filter(|version| version.starts_with('"'));
        CopySource {
            bucket: self.bucket.clone(),
            key: object.key.clone(),
            e_tag: e_tag.cloned(),
        }
    }

    /// Makes one `CopyObject` request.
    pub(super) async fn copy(
        &self,
        call: &Call,
        source: &CopySource,
        key: &Key,
    ) -> Result<(), Error> {
        // A copy is encrypted as the request says, not as its source is.
        let mut request = Request::of(Method::PUT, key).headers(&self.headers.begin);
        if let Some(class) = &self.storage_class {
            request = request.header("x-amz-storage-class", class);
        }
        self.copied(call, request, source, None).await.map(drop)
    }

    /// Makes one `UploadPartCopy` request.
    pub(super) async fn copy_part(
        &self,
        call: &Call,
        session: &Session,
        number: usize,
        source: &CopySource,
        range: Range<u64>,
    ) -> Result<String, Error> {
        self.copied(call, part(session, number), source, Some(range))
            .await
    }

    async fn copied(
        &self,
        call: &Call,
        request: Request,
        source: &CopySource,
        range: Option<Range<u64>>,
    ) -> Result<String, Error> {
        let from = format!("{}/{}", source.bucket, encode_key(&source.key));
        let mut request = request.header("x-amz-copy-source", &from).may_fail_late();
        // An object that is replaced between two parts would be neither the one nor the other.
        if let Some(e_tag) = &source.e_tag {
            request = request.header("x-amz-copy-source-if-match", e_tag);
        }
        if let Some(range) = range {
            let bytes = format!("bytes={}-{}", range.start, range.end - 1);
            request = request.header("x-amz-copy-source-range", &bytes);
        }
        let (_, text) = self.document(call, request, MAX_ANSWER_BYTES).await?;
        // A server without copies ignores the header, stores an empty object and answers without a document.
        xml::e_tag(&text)
            .ok_or_else(|| Error::refused(&call.action, "the answer is not that of a copy"))
    }
}
