//! How a provider wants to be spoken to, and what its refusals teach of that.
//!
//! Settings that a person made stay as they are. What was left to `auto` begins as the provider table says and changes
//! when an answer names another region, asks for the bucket in the host name, or refuses a checksum header.

use object_store::client::{HttpRequest, HttpRequestBody};
use url::Url;

use crate::config::S3Settings;
use crate::provider::{Addressing, Checksum, Provider};
use crate::store::http::Answer;

/// How requests are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// URL of the S3 API, without the bucket.
    pub endpoint: Url,
    /// Region that requests are signed for.
    pub region: String,
    /// Where the bucket's name goes.
    pub addressing: Addressing,
    /// How content is checked on its arrival.
    pub checksum: Checksum,
}

/// What may change by itself.
#[derive(Debug)]
pub(super) struct Freedom {
    region: bool,
    addressing: bool,
    checksum: bool,
    provider: &'static Provider,
}

/// What a refusal teaches.
pub(super) struct Lesson {
    pub(super) dialect: Dialect,
    /// The provider did not say so itself: it holds only when it leads on.
    pub(super) is_guess: bool,
}

impl Dialect {
    /// What the settings begin with.
    #[must_use]
    pub fn of(settings: &S3Settings) -> Self {
        Self {
            endpoint: settings.endpoint.clone(),
            region: settings.region.value.clone(),
            addressing: settings.addressing.value,
            checksum: settings.checksum.value,
        }
    }

    /// URL of the bucket, without a slash at its end.
    pub(in crate::store) fn bucket_url(&self, bucket: &str) -> String {
        let origin = self.endpoint.as_str().trim_end_matches('/');
        match self.addressing {
            Addressing::Path => format!("{origin}/{bucket}"),
            Addressing::Virtual => origin.replacen("://", &format!("://{bucket}."), 1),
        }
    }

    /// The algorithm of the checksum header for content, and whether the signature leaves its hash out.
    pub(super) fn header(&self) -> Option<Algorithm> {
        match self.checksum {
            Checksum::Sha256 | Checksum::Off => None,
            Checksum::Crc32c => Some(Algorithm { name: "CRC32C", header: "x-amz-checksum-crc32c" }),
            Checksum::Crc64Nvme => Some(Algorithm { name: "CRC64NVME", header: "x-amz-checksum-crc64nvme" }),
        }
    }

    /// What to change before the request is made once more, if the answer says so.
    pub(super) fn lesson(&self, freedom: &Freedom, answer: &Answer, request: &HttpRequest) -> Option<Lesson> {
        let learned = |dialect, is_guess| Some(Lesson { dialect, is_guess });
        if let Some(region) = answer.region.as_ref().filter(|region| **region != self.region && freedom.region) {
            let endpoint = freedom.provider.moved_to(&self.endpoint, region).unwrap_or_else(|| self.endpoint.clone());
            return learned(Self { endpoint, region: region.clone(), ..self.clone() }, false);
        }
        // No name goes before an address.
        let has_name = self.endpoint.domain().is_some();
        if self.addressing == Addressing::Path && freedom.addressing && has_name && may_want_virtual(answer) {
            let dialect = Self { addressing: Addressing::Virtual, ..self.clone() };
            return learned(dialect, !wants_virtual(answer));
        }
        if self.header().is_some() && freedom.checksum && names_checksum(request) && refuses_checksum(answer) {
            return learned(Self { checksum: Checksum::Sha256, ..self.clone() }, false);
        }
        None
    }

    /// The settings that are different in `other`, as this one has them.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Vec<(&'static str, String)> {
        let mut changes = Vec::new();
        if self.endpoint != other.endpoint {
            changes.push(("endpoint", self.endpoint.as_str().trim_end_matches('/').to_owned()));
        }
        if self.region != other.region {
            changes.push(("region", self.region.clone()));
        }
        if self.addressing != other.addressing {
            changes.push(("addressing", self.addressing.as_str().to_owned()));
        }
        if self.checksum != other.checksum {
            changes.push(("checksum", self.checksum.as_str().to_owned()));
        }
        changes
    }
}

/// A checksum that travels in a header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Algorithm {
    pub(super) name: &'static str,
    pub(super) header: &'static str,
}

impl Freedom {
    pub(super) fn of(settings: &S3Settings) -> Self {
        Self {
            region: !settings.region.is_given,
            addressing: !settings.addressing.is_given,
            checksum: !settings.checksum.is_given,
            provider: settings.provider,
        }
    }
}

/// Content is what a PUT carries; a copy carries none.
pub(super) fn has_content(request: &HttpRequest) -> bool {
    request.method() == http::Method::PUT && HttpRequestBody::content_length(request.body()) > 0
}

pub(super) fn starts_multipart(request: &HttpRequest) -> bool {
    request.method() == http::Method::POST && matches!(request.uri().query(), Some("uploads" | "uploads="))
}

fn names_checksum(request: &HttpRequest) -> bool {
    has_content(request) || starts_multipart(request)
}

/// Sources: Alibaba's "Error code: 0003-00000201" (`SecondLevelDomainForbidden`), Tencent's `PathStyleDomainForbidden`,
/// Volcengine's `InvalidPathAccess`.
fn wants_virtual(answer: &Answer) -> bool {
    matches!(answer.code.as_str(), "SecondLevelDomainForbidden" | "PathStyleDomainForbidden" | "InvalidPathAccess")
}

/// Servers that know no path style take the bucket for an object, or redirect.
fn may_want_virtual(answer: &Answer) -> bool {
    wants_virtual(answer)
        || matches!(answer.code.as_str(), "PermanentRedirect" | "MethodNotAllowed" | "NoSuchBucket")
        || (answer.code.is_empty() && matches!(answer.status, 301 | 307 | 308 | 405))
}

/// Sources: "Unsupported header 'x-amz-checksum-…' received for this API call" with `InvalidArgument` (Backblaze B2),
/// `XAmzContentSHA256Mismatch` (Hetzner), `NotImplemented` with "A header you provided implies functionality that is
/// not implemented" (Amazon's list of error codes, used by many).
fn refuses_checksum(answer: &Answer) -> bool {
    let message = answer.message.to_ascii_lowercase();
    match answer.code.as_str() {
        "NotImplemented" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => true,
        "InvalidArgument" | "InvalidRequest" | "BadRequest" | "MalformedHeader" | "AccessDenied" => {
            message.contains("checksum") || message.contains("header")
        }
        _ => answer.code.is_empty() && matches!(answer.status, 400 | 501),
    }
}
