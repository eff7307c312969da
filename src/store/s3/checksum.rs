//! Checksum headers of content.
//!
//! Ceph 20 verifies one only when `x-amz-sdk-checksum-algorithm` names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use tokio::sync::OnceCell;

use super::failure::Failure;
use super::request::Request;
use crate::provider::Checksum;
use crate::store::digest::Algorithm;

/// Whether damage between the agent and the provider is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verification {
    /// The provider refuses wrong content, or its `ETag`s are MD5.
    Proven,
    /// It takes wrong content, and no `ETag` tells.
    Missing,
    /// It refused the question.
    Unknown,
}

/// Verification at a location, once it is known; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Proof(Arc<(OnceCell<Verification>, AtomicUsize)>);

/// Failed attempts to find out, after which no more are made.
const MAX_TRIES: usize = 3;

impl Proof {
    pub(super) fn get(&self) -> Option<Verification> {
        self.0.0.get().copied()
    }

    /// Whether it is worth to find it out.
    pub(super) fn is_open(&self) -> bool {
        let (found, tries) = &*self.0;
        !found.initialized() && tries.load(Ordering::Relaxed) < MAX_TRIES
    }

    /// Finds it out by `asked`, once for all parts that ask; an error leaves it unknown.
    pub(super) async fn find_out<E>(
        &self,
        asked: impl Future<Output = Result<Verification, E>>,
    ) -> Result<Verification, E> {
        let (found, tries) = &*self.0;
        let asked = found.get_or_try_init(|| asked).await;
        asked.copied().inspect_err(|_| {
            tries.fetch_add(1, Ordering::Relaxed);
        })
    }
}

/// A checksum in a header of its own.
pub(super) struct Header {
    algorithm: Algorithm,
    /// Amazon's name of the algorithm.
    label: &'static str,
    pub(super) name: &'static str,
}

impl Header {
    pub(super) fn of(checksum: Checksum) -> Option<Self> {
        let (algorithm, label, name) = match checksum {
            Checksum::Sha256 | Checksum::Off => return None,
            Checksum::Crc32c => (Algorithm::Crc32c, "CRC32C", "x-amz-checksum-crc32c"),
            Checksum::Crc64Nvme => (
                Algorithm::Crc64Nvme,
                "CRC64NVME",
                "x-amz-checksum-crc64nvme",
            ),
        };
        Some(Self {
            algorithm,
            label,
            name,
        })
    }

    /// Its value for the content of a request.
    pub(super) fn value(&self, request: &Request) -> String {
        BASE64.encode(digest(request, self.algorithm))
    }
}

/// Adds the checksum of content, or tells a multipart upload beforehand which one its parts will have.
///
/// The provider then computes the whole object's checksum, so completing needs none of the parts'. Source: "Checking
/// object integrity" in Amazon's user guide (`FULL_OBJECT`).
pub(super) fn add(request: &mut Request, checksum: Checksum) -> Result<(), Failure> {
    let Some(header) = Header::of(checksum) else {
        return Ok(());
    };
    let label = HeaderValue::from_static(header.label);
    if request.has_content() {
        let value = header.value(request);
        let value = HeaderValue::from_str(&value).map_err(Failure::invalid)?;
        request.headers.insert(header.name, value);
        request
            .headers
            .insert("x-amz-sdk-checksum-algorithm", label);
    } else if request.starts_multipart() {
        let whole = HeaderValue::from_static("FULL_OBJECT");
        request.headers.insert("x-amz-checksum-algorithm", label);
        request.headers.insert("x-amz-checksum-type", whole);
    }
    Ok(())
}

/// The payload's digest, computed only when it comes with another one or none.
pub(super) fn digest(request: &Request, algorithm: Algorithm) -> Vec<u8> {
    let payload = &request.payload;
    match &payload.digest {
        Some(digest) if digest.algorithm() == algorithm => digest.value().to_vec(),
        _ => algorithm.digest(&payload.bytes).value().to_vec(),
    }
}
