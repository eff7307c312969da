//! Meaning of an answer, by the provider's words, its code and its status.
//!
//! Sources: Amazon S3's list of error codes (API reference, "Error responses"); for the codes of other providers the
//! comment beside the row.

use super::{Answer, Setting, words};
use crate::error::Reason;
use crate::store::error::Outcome;

/// Maps an answer by the provider's words, then by its code, then by its status.
pub(super) fn outcome_of(answer: &Answer) -> Outcome {
    let by_code = || by_code(&answer.code, &answer.message);
    by_words(answer)
        .or_else(by_code)
        .unwrap_or(match answer.status {
            // A proxy's page. A server that throttles says so in a document.
            503 if !answer.is_s3 => Outcome::Unreachable,
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

/// Outcome where the words say more than the code, which is the same for several causes.
fn by_words(answer: &Answer) -> Option<Outcome> {
    if !answer.is_s3 || !(400..500).contains(&answer.status) {
        return None;
    }
    let message = answer.message.to_lowercase();
    if words::name_a_lock(&message) {
        Some(Outcome::Locked)
    } else if words::name_the_clock(&message) {
        Some(Outcome::ClockSkew)
    } else if answer.code == "SignatureDoesNotMatch" && message.contains("region") {
        Some(Outcome::WrongRegion)
    } else {
        None
    }
}

/// Exact reason, beyond the outcome.
pub(super) fn reason_of(answer: &Answer) -> Option<Reason> {
    let outcome = outcome_of(answer);
    let message = answer.message.to_lowercase();
    match outcome {
        Outcome::WrongRegion if message.contains("secret key") => Some(Reason::RegionOrKey),
        Outcome::WrongRegion | Outcome::ClockSkew | Outcome::Locked if answer.is_s3 => None,
        _ => by_own_code(answer).or_else(|| by_outcome(answer, outcome, &message)),
    }
}

/// Reason that the code, or the code with certain words, proves.
///
/// Sources: Amazon's list of error codes; Garage 2.5 answers `AccessDenied` for keys and signatures as well.
fn by_own_code(answer: &Answer) -> Option<Reason> {
    let says = |words: &str| answer.message.contains(words);
    Some(match answer.code.as_str() {
        "InvalidAccessKeyId" => Reason::UnknownKey,
        "SignatureDoesNotMatch" => Reason::WrongSecret,
        "AccessDenied" if says("No such key") => Reason::UnknownKey,
        "AccessDenied" if says("nvalid signature") => Reason::WrongSecret,
        "InvalidArgument" if is_unknown_to_r2(&answer.message) => Reason::UnknownKey,
        "ExpiredToken" | "TokenRefreshRequired" => Reason::ExpiredToken,
        "InvalidToken" => Reason::InvalidToken,
        "InvalidStorageClass" => Reason::UnknownStorageClass,
        "InvalidObjectState" => Reason::Archived,
        "" if answer.status == 407 => Reason::ProxyFailed,
        "" if answer.status == 413 => Reason::BodyTooLarge,
        _ if answer.tls_at.is_some() => Reason::TlsNeeded,
        // Messages of nginx, and of servers written in Go.
        _ if says("HTTP request was sent to HTTPS") || says("HTTP request to an HTTPS server") => {
            Reason::TlsNeeded
        }
        code if words::is_suspension(code, &answer.message) => Reason::AccountSuspended,
        _ => return None,
    })
}

/// Reason among those of one outcome. `message` is in lower case.
fn by_outcome(answer: &Answer, outcome: Outcome, message: &str) -> Option<Reason> {
    Some(match outcome {
        Outcome::Forbidden if message.contains("kms:") => Reason::KmsDenied,
        Outcome::Forbidden if message.contains("explicit deny") => Reason::PolicyDenied,
        // `SeaweedFS` 4.48 and Amazon say no more about another key.
        Outcome::Forbidden if !answer.to_write && answer.sent.contains(&Setting::Customer) => {
            Reason::EncryptionKeyOrPermission
        }
        Outcome::Forbidden => Reason::ActionDenied,
        Outcome::NotS3 => Reason::NotS3,
        Outcome::Unreachable => Reason::GatewayFailed,
        Outcome::ServerError if answer.code.is_empty() && answer.status != 500 => {
            Reason::GatewayFailed
        }
        Outcome::ServerError if answer.to_write && answer.sent_encryption() => {
            Reason::EncryptionFailed
        }
        Outcome::ServerError => Reason::ServerFailed,
        Outcome::Refused => return of_refusal(answer, message),
        _ => return None,
    })
}

/// Reason of a refusal that no repetition changes: the setting that causes it.
fn of_refusal(answer: &Answer, message: &str) -> Option<Reason> {
    let has = |setting| answer.sent.contains(&setting);
    if words::name_a_storage_class(message) && has(Setting::StorageClass) {
        return Some(Reason::UnknownStorageClass);
    }
    if words::name_encryption(&answer.code, message) {
        return of_encryption(answer, message);
    }
    if message.contains("checksum") && has(Setting::Checksum) {
        return Some(Reason::ChecksumUnsupported);
    }
    let is_suspect = answer.to_write && words::name_nothing(&answer.code, message);
    if !is_suspect {
        return None;
    }
    if answer.sent_encryption() {
        Some(Reason::NoEncryption)
    } else if has(Setting::StorageClass) {
        Some(Reason::UnknownStorageClass)
    } else if has(Setting::Checksum) {
        Some(Reason::ChecksumUnsupported)
    } else {
        None
    }
}

/// Reason of a refusal about encryption.
///
/// Sources: the messages of Amazon, of `MinIO` (`cmd/api-errors.go`), of Garage 2.5 (`encryption.rs`: "Object is
/// encrypted", "Invalid encryption key", "Trying to decrypt a plaintext object") and of Ceph 18 (`rgw_crypt.cc`: "requires
/// HTTP header x-amz-server-side-encryption-aws-kms-key-id", "The calculated MD5 hash of the key did not match").
fn of_encryption(answer: &Answer, message: &str) -> Option<Reason> {
    let says = |words: &str| message.contains(words);
    if says("secure connection") || says("secure channel") {
        return Some(Reason::TlsNeeded);
    }
    let is_other_key = says("was stored using")
        || says("did not match the ones")
        || says("not applicable to this")
        || says("object is encrypted")
        || says("invalid encryption key")
        || says("decrypt a plaintext")
        || says("hash of the key did not match")
        || (!answer.to_write && says("customer provided keys must provide"));
    if is_other_key {
        return Some(Reason::EncryptionKeyNeeded);
    }
    if !answer.to_write {
        return None;
    }
    let is_of_key = answer.code.to_lowercase().starts_with("kms")
        || says("kms-key-id")
        || says("key does not exist");
    if is_of_key && answer.sent.contains(&Setting::Kms) {
        return Some(Reason::KmsKeyNeeded);
    }
    Some(Reason::NoEncryption)
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
        | "InvalidSecurity" => Outcome::Auth,
        // Garage answers AccessDenied for an unknown key and for a wrong signature as well.
        "InvalidArgument" if is_unknown_to_r2(message) => Outcome::Auth,
        // Garage's quota ("Bucket size quota is reached"), and Backblaze's cap.
        "AccessDenied"
            if message.contains("quota is reached") || message.contains("cap exceeded") =>
        {
            Outcome::Full
        }
        "AccessDenied"
            if message.contains("No such key") || message.contains("nvalid signature") =>
        {
            Outcome::Auth
        }
        "AccessDenied" | "Forbidden" => Outcome::Forbidden,
        code if words::is_suspension(code, message) => Outcome::Forbidden,
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
mod tests;
