//! Copies inside the storage, between buckets of one endpoint: no byte passes the agent.
//!
//! Sources: "Copying, moving, and renaming objects" in Amazon's user guide, `CopyObject` and `UploadPartCopy` in its API
//! reference.

use std::ops::Range;

use super::client::Client;
use super::request::{Request, encode_key, encode_path};
use crate::config::Encryption;
use crate::store::backend::{CopySource, Object};

impl Client {
    /// Whether both buckets are at one endpoint, and the server can read what it copies: not with a customer's key.
    pub(in crate::store) fn can_copy_to(&self, to: &Self) -> bool {
        let has_own_key =
            |client: &Self| matches!(client.settings.encryption, Encryption::Customer(_));
        self.dialect().endpoint == to.dialect().endpoint && !has_own_key(self) && !has_own_key(to)
    }

    /// An object of this bucket as the source of copies.
    pub(in crate::store) fn copy_source(&self, object: &Object) -> CopySource {
        // Where a server gives no ETag in a listing, the version is a time.
        let e_tag = Some(&object.version).filter(|version| version.starts_with('"'));
        CopySource {
            bucket: self.settings.bucket.clone(),
            key: object.key.clone(),
            e_tag: e_tag.cloned(),
        }
    }
}

/// Makes the request that copies `source`, or a range of it.
pub(super) fn copying(
    request: Request,
    source: &CopySource,
    range: Option<&Range<u64>>,
) -> Request {
    let from = format!(
        "{}/{}",
        encode_path(&source.bucket),
        encode_key(&source.key)
    );
    let request = request
        .header("x-amz-copy-source", &from)
        .range("x-amz-copy-source-range", range);
    // An object that is replaced between two parts would be neither the one nor the other.
    match &source.e_tag {
        Some(e_tag) => request.header("x-amz-copy-source-if-match", e_tag),
        None => request,
    }
}
