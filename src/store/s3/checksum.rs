//! Checksum headers of content, and whether the provider verified one: then its answer repeats it.
//!
//! Source: the response headers of `PutObject` and `UploadPart` in Amazon's API reference. Ceph 20 verifies one only when
//! `x-amz-sdk-checksum-algorithm` names it; `rclone serve s3` 1.75 and `JuiceFS` 1.4 verify none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;

use super::client::Client;
use super::dialect::Dialect;
use super::failure::Failure;
use super::request::Request;
use super::transport::Reply;
use crate::config::Encryption;
use crate::provider::Checksum;
use crate::store::digest::Algorithm;
use crate::store::error::{AtOnce, Error, Outcome};
use crate::store::retry::Call;

/// A checksum in a header of its own.
struct Header {
    algorithm: Algorithm,
    /// Amazon's name of the algorithm.
    label: &'static str,
    name: &'static str,
}

impl Header {
    fn of(checksum: Checksum) -> Option<Self> {
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

    fn value(&self, request: &Request) -> String {
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

impl Client {
    /// Compares the checksum of content with the one that the provider repeats. One that repeats none may have verified
    /// none: from then on the `ETag` is compared, beginning with this one, or the signature covers the content.
    pub(super) fn verified(
        &self,
        call: &Call,
        request: &Request,
        reply: Reply,
        dialect: &Dialect,
    ) -> Result<Reply, Error> {
        let Some(header) = Header::of(dialect.checksum).filter(|_| request.has_content()) else {
            return Ok(reply);
        };
        if let Some(repeated) = reply.header(header.name) {
            if repeated == header.value(request) {
                return Ok(reply);
            }
            let why = "the provider received content with another checksum";
            return Err(Error::could_not(&call.action, Outcome::Damaged, why));
        }
        match self.settings.encryption {
            // No ETag is an MD5.
            Encryption::Kms(_) | Encryption::Customer(_) => Err(self.sign_content(call)),
            Encryption::None | Encryption::Aes256 => {
                self.use_checksum(Checksum::Off);
                Ok(reply)
            }
        }
    }

    /// Lets the signature cover content from now on. Returns the error that repeats a request.
    pub(super) fn sign_content(&self, call: &Call) -> Error {
        self.use_checksum(Checksum::Sha256);
        Error {
            at_once: Some(AtOnce::with(())),
            ..Error::refused(&call.action, "the provider verifies no checksum")
        }
    }

    fn use_checksum(&self, checksum: Checksum) {
        let known = self.dialect();
        let learned = Dialect {
            checksum,
            ..known.clone()
        };
        self.remember(&known, &learned);
    }
}
