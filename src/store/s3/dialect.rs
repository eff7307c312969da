//! How a provider wants to be spoken to, and what its refusals teach of that.
//!
//! Settings that a person made stay as they are. What was left to `auto` begins as the provider table says and changes
//! when an answer names another region, asks for the bucket in the host name, or refuses a checksum header.

use http::Method;
use object_store::client::{HttpError, HttpRequest, HttpRequestBody, HttpResponse};
use url::Url;

use crate::config::S3Settings;
use crate::provider::{Addressing, Checksum, Provider};
use crate::store::error::find;
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
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Freedom {
    region: bool,
    addressing: bool,
    checksum: bool,
    provider: &'static Provider,
}

/// What a refusal teaches.
pub(super) struct Lesson {
    pub(super) dialect: Dialect,
    pub(super) subject: Subject,
    /// The provider did not say so itself.
    is_guess: bool,
}

/// What a lesson is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Region,
    Addressing,
    Checksum,
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
            Checksum::Crc32c => Some(Algorithm {
                name: "CRC32C",
                header: "x-amz-checksum-crc32c",
            }),
            Checksum::Crc64Nvme => Some(Algorithm {
                name: "CRC64NVME",
                header: "x-amz-checksum-crc64nvme",
            }),
        }
    }

    /// What to change before the request is made once more, if the answer says so.
    pub(super) fn lesson(
        &self,
        freedom: &Freedom,
        answer: &Answer,
        request: &HttpRequest,
    ) -> Option<Lesson> {
        let learned = |subject, dialect, is_guess| {
            Some(Lesson {
                dialect,
                subject,
                is_guess,
            })
        };
        let region = answer
            .region
            .as_ref()
            .filter(|region| **region != self.region && is_region(region));
        if let Some(region) = region.filter(|_| freedom.region && names_region(answer)) {
            let endpoint = freedom
                .provider
                .moved_to(&self.endpoint, region)
                .unwrap_or_else(|| self.endpoint.clone());
            return learned(
                Subject::Region,
                Self {
                    endpoint,
                    region: region.clone(),
                    ..self.clone()
                },
                false,
            );
        }
        if self.addressing == Addressing::Path && freedom.addressing && self.may_go_before_host() {
            let dialect = Self {
                addressing: Addressing::Virtual,
                ..self.clone()
            };
            if wants_virtual(answer) {
                return learned(Subject::Addressing, dialect, false);
            }
            // Only the table's unknown are guessed at, and nothing is sent there but a question.
            let is_question = matches!(*request.method(), Method::GET | Method::HEAD);
            if freedom.provider.id == "other" && is_question && may_want_virtual(answer) {
                return learned(Subject::Addressing, dialect, true);
            }
        }
        if self.header().is_some()
            && freedom.checksum
            && names_checksum(request)
            && refuses_checksum(answer)
        {
            return learned(
                Subject::Checksum,
                Self {
                    checksum: Checksum::Sha256,
                    ..self.clone()
                },
                false,
            );
        }
        None
    }

    /// No name goes before an address; before a name without a dot it would be somebody else's host.
    fn may_go_before_host(&self) -> bool {
        self.endpoint
            .domain()
            .is_some_and(|host| host.contains('.') || host == "localhost")
    }

    /// Takes over what is different between the two.
    pub(super) fn take_from(&mut self, known: &Self, learned: &Self) {
        if learned.region != known.region {
            (self.region, self.endpoint) = (learned.region.clone(), learned.endpoint.clone());
        }
        if learned.addressing != known.addressing {
            self.addressing = learned.addressing;
        }
        if learned.checksum != known.checksum {
            self.checksum = learned.checksum;
        }
    }

    /// The settings that are different in `other`, as this one has them.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Vec<(&'static str, String)> {
        let mut changes = Vec::new();
        if self.endpoint != other.endpoint {
            changes.push((
                "endpoint",
                self.endpoint.as_str().trim_end_matches('/').to_owned(),
            ));
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

impl Lesson {
    /// Whether the request came further with what was learned.
    pub(super) fn leads_on(&self, result: &Result<HttpResponse, HttpError>) -> bool {
        match result {
            // A web page answers every question.
            Ok(answer) if self.is_guess => is_s3(answer),
            Ok(_) => true,
            Err(error) => find::<Answer>(error).is_some_and(|answer| match self.subject {
                Subject::Region => !names_region(answer),
                Subject::Addressing if self.is_guess => {
                    answer.is_s3
                        && (matches!(answer.status, 401 | 403) || answer.code == "NoSuchKey")
                }
                Subject::Addressing => !wants_virtual(answer),
                Subject::Checksum => !refuses_checksum(answer),
            }),
        }
    }
}

fn is_s3(answer: &HttpResponse) -> bool {
    let content_type = answer
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    answer.headers().contains_key("etag") || content_type.contains("xml")
}

/// It becomes part of a signature, a header and a host name.
fn is_region(region: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&region.len()) && region.bytes().all(allowed)
}

/// Other refusals carry the region too, and mean something else. HEAD has no document to say so in.
fn names_region(answer: &Answer) -> bool {
    match answer.code.as_str() {
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException"
        | "SignatureDoesNotMatch"
        | "InvalidRegion" => true,
        code => code.is_empty() && matches!(answer.status, 301 | 307 | 308 | 400),
    }
}

/// Content is what a PUT carries; a copy carries none.
pub(super) fn has_content(request: &HttpRequest) -> bool {
    request.method() == Method::PUT && HttpRequestBody::content_length(request.body()) > 0
}

pub(super) fn starts_multipart(request: &HttpRequest) -> bool {
    request.method() == Method::POST
        && matches!(request.uri().query(), Some("uploads" | "uploads="))
}

fn names_checksum(request: &HttpRequest) -> bool {
    has_content(request) || starts_multipart(request)
}

/// Sources: Alibaba's "Error code: 0003-00000201" (`SecondLevelDomainForbidden`), Tencent's `PathStyleDomainForbidden`,
/// Volcengine's `InvalidPathAccess`.
fn wants_virtual(answer: &Answer) -> bool {
    matches!(
        answer.code.as_str(),
        "SecondLevelDomainForbidden" | "PathStyleDomainForbidden" | "InvalidPathAccess"
    )
}

/// Servers that know no path style take the bucket for an object, or redirect.
fn may_want_virtual(answer: &Answer) -> bool {
    wants_virtual(answer)
        || matches!(
            answer.code.as_str(),
            "PermanentRedirect" | "MethodNotAllowed" | "NoSuchBucket"
        )
        || (answer.code.is_empty() && matches!(answer.status, 301 | 307 | 308 | 405))
}

/// Sources: "Unsupported header 'x-amz-checksum-…' received for this API call" with `InvalidArgument` (Backblaze B2),
/// `XAmzContentSHA256Mismatch` (Hetzner), `NotImplemented` with "A header you provided implies functionality that is
/// not implemented" (Amazon's list of error codes, used by many).
fn refuses_checksum(answer: &Answer) -> bool {
    let message = answer.message.to_ascii_lowercase();
    match answer.code.as_str() {
        "NotImplemented" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => true,
        "InvalidArgument" | "InvalidRequest" | "BadRequest" | "MalformedHeader"
        | "AccessDenied" => message.contains("checksum") || message.contains("header"),
        _ => answer.code.is_empty() && matches!(answer.status, 400 | 501),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;

    fn lesson_for(endpoint: &str, method: Method, answer: &Answer) -> Option<Dialect> {
        let provider = provider::other().unwrap();
        let dialect = Dialect {
            endpoint: endpoint.parse().unwrap(),
            region: "us-east-1".into(),
            addressing: Addressing::Path,
            checksum: Checksum::Crc32c,
        };
        let freedom = Freedom {
            region: true,
            addressing: true,
            checksum: true,
            provider,
        };
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        dialect
            .lesson(&freedom, answer, &request)
            .map(|lesson| lesson.dialect)
    }

    fn answer(status: u16, code: &str) -> Answer {
        Answer {
            status,
            code: code.into(),
            is_s3: true,
            ..Answer::default()
        }
    }

    #[test]
    fn a_region_is_taken_from_those_who_speak_of_it() {
        let of = |code: &str, region: &str| {
            let answer = Answer {
                region: Some(region.into()),
                ..answer(400, code)
            };
            lesson_for("https://s3.example.com", Method::GET, &answer).map(|dialect| dialect.region)
        };
        assert_eq!(
            of("AuthorizationHeaderMalformed", "eu-1").as_deref(),
            Some("eu-1")
        );
        assert_eq!(of("AccessDenied", "eu-1"), None, "it says something else");
        for nonsense in ["eu 1", "eu/1", "ü", "", "a\u{0}"] {
            assert_eq!(
                of("AuthorizationHeaderMalformed", nonsense),
                None,
                "{nonsense:?}"
            );
        }
    }

    #[test]
    fn the_bucket_goes_before_hosts_of_the_same_owner_only() {
        let of = |endpoint: &str, method: Method, code: &str| {
            lesson_for(endpoint, method, &answer(404, code)).is_some()
        };
        assert!(of("https://s3.example.com", Method::GET, "NoSuchBucket"));
        assert!(
            !of("http://storage:9000", Method::GET, "NoSuchBucket"),
            "a name of the local network"
        );
        assert!(
            !of(
                "http://192.0.2.7:9000",
                Method::GET,
                "SecondLevelDomainForbidden"
            ),
            "an address"
        );
        assert!(
            !of("https://s3.example.com", Method::PUT, "NoSuchBucket"),
            "no backup is sent on a guess"
        );
        assert!(
            of(
                "https://s3.example.com",
                Method::PUT,
                "SecondLevelDomainForbidden"
            ),
            "the provider asked for it"
        );
    }
}
