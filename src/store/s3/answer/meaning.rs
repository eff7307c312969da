//! Meaning of an answer, by the provider's code, its words and its status.
//!
//! Sources: Amazon S3's list of error codes (API reference, "Error responses"); for the codes of other providers the
//! comment beside the row.

use super::Answer;
use crate::error::Reason;
use crate::store::error::Outcome;

/// Maps an answer by the provider's code, then by its status.
pub(super) fn outcome_of(answer: &Answer) -> Outcome {
    by_code(&answer.code, &answer.message).unwrap_or(match answer.status {
        // Proxies answer with a page of their own.
        408 | 504 => Outcome::Timeout,
        407 | 413 | 501 => Outcome::Refused,
        // A proxy compares the tag of what it compressed.
        412 => Outcome::Changed,
        // A web page, or another kind of service.
        200..=428 if !answer.is_s3 => Outcome::NotS3,
        401 => Outcome::Auth,
        403 => Outcome::Forbidden,
        301 | 307 | 308 => Outcome::WrongRegion,
        404 => Outcome::NotFound,
        429 | 503 => Outcome::Throttled,
        507 => Outcome::Full,
        500..=599 => Outcome::ServerError,
        _ => Outcome::Refused,
    })
}

/// Whether the same request may succeed later although the storage itself refuses nothing: this machine's clock is set, or
/// a proxy that answers for its server reaches it again.
pub(super) fn may_pass(answer: &Answer, outcome: Outcome) -> bool {
    match outcome {
        Outcome::ClockSkew => true,
        Outcome::NotS3 => answer.was_s3 && answer.tls_at.is_none(),
        _ => false,
    }
}

/// Exact reason, beyond the outcome.
///
/// Sources: Amazon's list of error codes; Garage 2.5 answers `AccessDenied` for keys and signatures as well.
pub(super) fn reason_of(answer: &Answer) -> Option<Reason> {
    let says = |words: &str| answer.message.contains(words);
    Some(match answer.code.as_str() {
        "InvalidAccessKeyId" => Reason::UnknownKey,
        "SignatureDoesNotMatch" => Reason::WrongSecret,
        "AccessDenied" if says("No such key") => Reason::UnknownKey,
        "AccessDenied" if says("nvalid signature") => Reason::WrongSecret,
        "InvalidArgument" if is_unknown_to_r2(&answer.message) => Reason::UnknownKey,
        "ExpiredToken" | "TokenRefreshRequired" => Reason::ExpiredToken,
        "InvalidToken" => Reason::InvalidToken,
        "NotImplemented" | "InvalidArgument" | "InvalidRequest" if says("ncryption") => {
            return encryption_reason(answer);
        }
        "InvalidStorageClass" => Reason::UnknownStorageClass,
        "InvalidObjectState" => Reason::Archived,
        "" if answer.status == 407 => Reason::ProxyFailed,
        "" if answer.status == 413 => Reason::BodyTooLarge,
        _ if answer.tls_at.is_some() => Reason::TlsNeeded,
        // Messages of nginx, and of servers written in Go.
        _ if says("HTTP request was sent to HTTPS") || says("HTTP request to an HTTPS server") => {
            Reason::TlsNeeded
        }
        _ => match outcome_of(answer) {
            Outcome::Forbidden => Reason::ActionDenied,
            Outcome::NotS3 => Reason::NotS3,
            _ => return None,
        },
    })
}

/// Reason of a refusal about encryption.
///
/// Sources: the messages of Amazon and `MinIO` (`cmd/api-errors.go` of `MinIO`).
fn encryption_reason(answer: &Answer) -> Option<Reason> {
    let says = |words: &str| answer.message.contains(words);
    if says("secure connection") {
        return Some(Reason::TlsNeeded);
    }
    let is_other_key = says("was stored using")
        || says("did not match the ones")
        || says("not applicable to this");
    if is_other_key {
        return Some(Reason::EncryptionKeyNeeded);
    }
    answer.to_write.then_some(Reason::NoEncryption)
}

/// Cloudflare R2 refuses an ID of another provider for its length: "Credential access key has length 20, should be 32".
fn is_unknown_to_r2(message: &str) -> bool {
    message.contains("Credential access key has length")
}

fn by_code(code: &str, message: &str) -> Option<Outcome> {
    Some(match code {
        "NoSuchKey" => Outcome::NotFound,
        "NoSuchUpload" => Outcome::NoSuchUpload,
        "PreconditionFailed" => Outcome::Changed,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "TokenRefreshRequired"
        | "InvalidSecurity"
        | "NotSignedUp" => Outcome::Auth,
        // Garage answers AccessDenied for an unknown key and for a wrong signature as well.
        "InvalidArgument" if is_unknown_to_r2(message) => Outcome::Auth,
        // Garage's quota ("Bucket size quota is reached"), and Backblaze's cap.
        "AccessDenied"
            if message.contains("quota is reached") || message.contains("cap exceeded") =>
        {
            Outcome::Full
        }
        // Garage, when the clock is more than a day behind.
        "InvalidRequest" if message.contains("Date is too old") => Outcome::ClockSkew,
        "AccessDenied"
            if message.contains("No such key") || message.contains("nvalid signature") =>
        {
            Outcome::Auth
        }
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden" => Outcome::Forbidden,
        "NoSuchBucket" => Outcome::BucketNotFound,
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException" => Outcome::WrongRegion,
        "RequestTimeTooSkewed" | "RequestExpired" => Outcome::ClockSkew,
        "RequestTimeout" => Outcome::Timeout,
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "ServiceUnavailable" => Outcome::Throttled,
        "InternalError" => Outcome::ServerError,
        // The second is Garage's, the third Ceph's.
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "IncompleteBody" => Outcome::Damaged,
        // Its status, 501, suggests a fault of the server, but a retry does not help.
        "NotImplemented" => Outcome::Refused,
        // The last three are MinIO's and Ceph's.
        "QuotaExceeded"
        | "StorageFull"
        | "InsufficientStorage"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "LimitExceeded" => Outcome::Full,
        "ObjectLocked" | "ObjectUnderRetention" => Outcome::Locked,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str, message: &str) -> Answer {
        Answer {
            status,
            code: code.into(),
            message: message.into(),
            is_s3: true,
            ..Answer::default()
        }
    }

    #[test]
    fn answer_maps_by_code_then_by_status() {
        for (status, code, message, outcome) in [
            (
                403,
                "AccessDenied",
                "Forbidden: No such key: GK12",
                Outcome::Auth,
            ),
            (403, "AccessDenied", "", Outcome::Forbidden),
            (403, "RequestTimeTooSkewed", "", Outcome::ClockSkew),
            (
                400,
                "InvalidRequest",
                "Bad request: Date is too old",
                Outcome::ClockSkew,
            ),
            (
                403,
                "AccessDenied",
                "Forbidden: Bucket size quota is reached, maximum total size",
                Outcome::Full,
            ),
            (
                400,
                "XMinioAdminBucketQuotaExceeded",
                "Bucket quota exceeded",
                Outcome::Full,
            ),
            (404, "NoSuchBucket", "", Outcome::BucketNotFound),
            (404, "", "", Outcome::NotFound),
            (503, "", "", Outcome::Throttled),
            (502, "", "", Outcome::ServerError),
            (400, "Strange", "", Outcome::Refused),
        ] {
            assert_eq!(
                outcome_of(&answer(status, code, message)),
                outcome,
                "{status} {code}"
            );
        }
    }

    #[test]
    fn reason_follows_from_the_provider_message() {
        let stored = "The object was stored using a form of Server Side Encryption.";
        let insecure = "Requests specifying Server Side Encryption with Customer provided keys must be made over a \
            secure connection.";
        for (code, message, reason) in [
            ("InvalidRequest", stored, Reason::EncryptionKeyNeeded),
            ("InvalidRequest", insecure, Reason::TlsNeeded),
            (
                "InvalidArgument",
                "Server Side Encryption is not supported",
                Reason::NoEncryption,
            ),
            (
                "InvalidArgument",
                "Credential access key has length 20, should be 32",
                Reason::UnknownKey,
            ),
            (
                "InvalidToken",
                "The provided token is malformed",
                Reason::InvalidToken,
            ),
            (
                "ExpiredToken",
                "The provided token has expired.",
                Reason::ExpiredToken,
            ),
        ] {
            let answer = Answer {
                to_write: true,
                ..answer(400, code, message)
            };
            assert_eq!(reason_of(&answer), Some(reason), "{message}");
        }
        assert_eq!(
            reason_of(&answer(400, "InvalidArgument", "Encryption is strange")),
            None
        );
        assert_eq!(
            outcome_of(&answer(
                400,
                "InvalidArgument",
                "Credential access key has length 3"
            )),
            Outcome::Auth
        );
    }

    #[test]
    fn proxy_page_keeps_the_meaning_of_its_status() {
        let page = |status| Answer {
            is_s3: false,
            ..answer(status, "", "Request Entity Too Large nginx")
        };
        assert_eq!(
            (outcome_of(&page(413)), reason_of(&page(413))),
            (Outcome::Refused, Some(Reason::BodyTooLarge))
        );
        assert_eq!(
            (outcome_of(&page(407)), reason_of(&page(407))),
            (Outcome::Refused, Some(Reason::ProxyFailed))
        );
        assert_eq!(
            (outcome_of(&page(408)), reason_of(&page(408))),
            (Outcome::Timeout, None)
        );
        assert_eq!(
            (outcome_of(&page(404)), reason_of(&page(404))),
            (Outcome::NotS3, Some(Reason::NotS3))
        );
    }

    #[test]
    fn web_page_may_pass_where_s3_answered_before() {
        let page = Answer {
            is_s3: false,
            ..answer(404, "", "404 page not found")
        };
        assert!(!may_pass(&page, outcome_of(&page)), "a wrong endpoint");
        let page = Answer {
            was_s3: true,
            ..page
        };
        assert!(may_pass(&page, outcome_of(&page)));
        let page = Answer {
            tls_at: Some("https://nas".into()),
            ..page
        };
        assert!(
            !may_pass(&page, outcome_of(&page)),
            "it says where it is now"
        );
        let refused = Answer {
            was_s3: true,
            ..answer(403, "AccessDenied", "")
        };
        assert!(!may_pass(&refused, outcome_of(&refused)));
    }
}
