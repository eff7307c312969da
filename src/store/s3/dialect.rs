//! Dialect of a provider, and how its refusals change it.
//!
//! Explicit settings stay. A setting on `auto` starts from the provider table and changes when an answer names another
//! region, asks for the bucket in the host name, or refuses a checksum header.

use url::Url;

use super::answer::Answer;
use super::failure::Failure;
use super::request::{Request, encode_path};
use super::transport::Reply;
use crate::config::S3Settings;
use crate::provider::{Addressing, Checksum};

/// Dialect: how requests are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// URL of the S3 API, without the bucket.
    pub endpoint: Url,
    /// Region that requests are signed for.
    pub region: String,
    /// Where the bucket's name goes.
    pub addressing: Addressing,
    /// How the provider verifies content.
    pub checksum: Checksum,
}

/// A change of dialect that a refusal asks for.
#[derive(Clone)]
pub(super) struct Lesson {
    pub(super) dialect: Dialect,
    pub(super) subject: Subject,
    /// Whether the provider did not ask for it itself.
    pub(super) is_guess: bool,
}

/// Setting that a lesson changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Region,
    Addressing,
    Checksum,
}

impl Dialect {
    /// Dialect that the settings start with.
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
            Addressing::Path => format!("{origin}/{}", encode_path(bucket)),
            Addressing::Virtual => origin.replacen("://", &format!("://{bucket}."), 1),
        }
    }

    /// Returns the change that a refusal asks for.
    pub(super) fn lesson(
        &self,
        settings: &S3Settings,
        answer: &Answer,
        request: &Request,
    ) -> Option<Lesson> {
        let lesson = |subject, dialect| Lesson {
            dialect,
            subject,
            is_guess: false,
        };
        if let Some(dialect) = self.other_region(settings, answer) {
            return Some(lesson(Subject::Region, dialect));
        }
        if self.addressing == Addressing::Path
            && !settings.addressing.is_given
            && self.may_go_before_host(&settings.bucket)
        {
            let dialect = Self {
                addressing: Addressing::Virtual,
                ..self.clone()
            };
            let is_guess = !wants_virtual(answer);
            // A guess is only for providers that the table does not know, and only for reads.
            let may_guess = settings.provider.id == "other" && request.reads();
            if !is_guess || (may_guess && may_want_virtual(answer)) {
                return Some(Lesson {
                    is_guess,
                    ..lesson(Subject::Addressing, dialect)
                });
            }
        }
        let has_checksum = matches!(self.checksum, Checksum::Crc32c | Checksum::Crc64Nvme)
            && (request.has_content() || request.starts_multipart());
        (has_checksum && !settings.checksum.is_given && refuses_checksum(answer)).then(|| {
            let checksum = Checksum::Sha256;
            lesson(
                Subject::Checksum,
                Self {
                    checksum,
                    ..self.clone()
                },
            )
        })
    }

    fn other_region(&self, settings: &S3Settings, answer: &Answer) -> Option<Self> {
        let region = answer
            .region
            .clone()
            .filter(|region| *region != self.region && is_region(region))
            .filter(|_| !settings.region.is_given && names_region(answer))?;
        let endpoint = settings.provider.moved_to(&self.endpoint, &region);
        Some(Self {
            endpoint: endpoint.unwrap_or_else(|| self.endpoint.clone()),
            region,
            ..self.clone()
        })
    }

    /// An address takes no name before it, and a name before a single label would be another party's host. A gateway below a
    /// path has its buckets there, and a tenant's bucket is in the path alone.
    fn may_go_before_host(&self, bucket: &str) -> bool {
        let is_host = |host: &str| host.contains('.') || host == "localhost";
        self.endpoint.path() == "/"
            && !bucket.contains(':')
            && self.endpoint.domain().is_some_and(is_host)
    }

    /// Takes over the differences between the two; another request may have learned something else meanwhile.
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

    /// Settings that differ from `other`, with the values of this dialect.
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

/// Whether both settings start from the same dialect and leave the same open to change.
pub(super) fn are_alike(one: &S3Settings, other: &S3Settings) -> bool {
    one.provider == other.provider
        && one.endpoint == other.endpoint
        && one.region == other.region
        && one.addressing == other.addressing
        && one.checksum == other.checksum
}

impl Lesson {
    /// Whether the request came further in the new dialect.
    pub(super) fn leads_on(&self, result: &Result<Reply, Failure>) -> bool {
        let failure = match result {
            // A web page answers every request.
            Ok(reply) => return !self.is_guess || is_s3(reply),
            Err(failure) => failure,
        };
        failure.refused().is_some_and(|answer| match self.subject {
            Subject::Region => !names_region(answer),
            Subject::Addressing if self.is_guess => {
                answer.is_s3 && (matches!(answer.status, 401 | 403) || answer.code == "NoSuchKey")
            }
            Subject::Addressing => !wants_virtual(answer),
            Subject::Checksum => !refuses_checksum(answer),
        })
    }
}

fn is_s3(reply: &Reply) -> bool {
    let content_type = reply.header("content-type").unwrap_or_default();
    reply.headers.contains_key("etag") || content_type.contains("xml")
}

/// A region becomes part of a signature, a header and a host name.
fn is_region(region: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&region.len()) && region.bytes().all(allowed)
}

/// Other refusals carry the region too, and mean something else. An answer to HEAD has no document with a code.
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

/// Sources: Alibaba's "Error code: 0003-00000201" (`SecondLevelDomainForbidden`), Tencent's `PathStyleDomainForbidden`,
/// Volcengine's `InvalidPathAccess`.
fn wants_virtual(answer: &Answer) -> bool {
    matches!(
        answer.code.as_str(),
        "SecondLevelDomainForbidden" | "PathStyleDomainForbidden" | "InvalidPathAccess"
    )
}

/// Servers without path style take the bucket for an object, or redirect.
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
    // Its words name checksums and headers, too.
    if answer.demands_digest() {
        return false;
    }
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
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::config::{Backend, Location};

    fn lesson_for(endpoint: &str, method: Method, answer: &Answer) -> Option<Dialect> {
        let settings = json!({"endpoint": endpoint, "bucket": "my-bucket", "access_key_id": "a", "secret_access_key": "s"});
        let (location, _) = Location::from_json(&settings).unwrap();
        let Backend::S3(settings) = location.backend else {
            panic!("not a bucket")
        };
        let dialect = Dialect {
            endpoint: endpoint.parse().unwrap(),
            region: "us-east-1".into(),
            addressing: Addressing::Path,
            checksum: Checksum::Crc32c,
        };
        let request = Request::of_bucket(method);
        dialect
            .lesson(&settings, answer, &request)
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
    fn region_is_learned_only_from_refusals_about_it() {
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
        assert_eq!(of("AccessDenied", "eu-1"), None, "another refusal");
        for nonsense in ["eu 1", "eu/1", "ü", "", "a\u{0}"] {
            assert_eq!(
                of("AuthorizationHeaderMalformed", nonsense),
                None,
                "{nonsense:?}"
            );
        }
    }

    #[test]
    fn bucket_goes_only_before_hosts_of_the_same_owner() {
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
            !of("https://s3.example.com/s3", Method::GET, "NoSuchBucket"),
            "below a path"
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
