//! Words of providers that mean the same under any code. All take the message in lower case, unless they say otherwise.

/// Words of a lock or a retention that keeps an object. Not the demand for a digest that a lock makes, nor a bucket
/// without locks.
///
/// Sources: "Access Denied because object protected by object lock." (Amazon, <https://github.com/versity/versitygw/issues/1565>),
/// "Object is WORM protected and cannot be overwritten." (`MinIO`, with `InvalidRequest`,
/// <https://github.com/versity/versitygw/issues/1330>), "is subject to bucket's retention policy and cannot be deleted"
/// (Google, <https://github.com/sitespeedio/sitespeed.io/issues/2749>), "is under active Temporary hold" and
/// "Event-Based hold" (Google, <https://github.com/googleapis/google-cloud-ruby>, `storage_object_lock_test.rb`).
pub(super) fn name_a_lock(message: &str) -> bool {
    const LOCKS: [&str; 8] = [
        "object lock",
        "objectlock",
        "retention policy",
        "retention period",
        "under retention",
        "legal hold",
        "temporary hold",
        "event-based hold",
    ];
    const OTHERS: [&str; 5] = [
        "content-md5",
        "header is required",
        "missing",
        "not enabled",
        "not implemented",
    ];
    let mut words = message.split(|letter: char| !letter.is_alphanumeric());
    let is_lock = has_any(message, &LOCKS) || words.any(|word| word == "worm");
    is_lock && !has_any(message, &OTHERS)
}

/// Words of a lock that takes content only with a digest.
///
/// Sources: "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters", and
/// "Put Part requests" (Amazon, `InvalidRequest`, <https://github.com/apache/arrow-rs-object-store/issues/190>,
/// <https://github.com/s3tools/s3cmd/issues/1436>; Backblaze B2, <https://github.com/zmanda/amanda/issues/275>);
/// `MissingContentMD5` with "Missing required header for this request: Content-Md5." (Storj,
/// <https://github.com/storj/docs/pull/551>).
pub(super) fn demand_a_digest(code: &str, message: &str) -> bool {
    let is_missing = has_any(message, &["required", "missing"]);
    code == "MissingContentMD5" || (is_missing && message.contains("content-md5"))
}

/// Words of a refusal for the time of the request.
///
/// Sources: "Signature expired: … is now earlier than …" and "Signature not yet current: …" (Amazon,
/// `InvalidSignatureException` and `SignatureDoesNotMatch`, `s3err` of <https://github.com/versity/versitygw>), "Request
/// has expired" (Amazon and `MinIO`, with `AccessDenied`), "Date is too old" (Garage, when the clock is more than a day
/// behind).
pub(super) fn name_the_clock(message: &str) -> bool {
    const CLOCKS: [&str; 6] = [
        "signature expired",
        "signature not yet current",
        "request has expired",
        "date is too old",
        "request time and the",
        "request time is too",
    ];
    has_any(message, &CLOCKS)
}

/// Whether the provider has suspended a user, an account or a bucket. `message` as the provider writes it.
///
/// Sources: `UserSuspended` (Ceph, `ERR_USER_SUSPENDED` in `rgw_common.cc`); `AccountProblem`, `AllAccessDisabled` and
/// `NotSignedUp` in Amazon's list of error codes.
pub(super) fn is_suspension(code: &str, message: &str) -> bool {
    let is_code = matches!(
        code,
        "UserSuspended"
            | "AccountSuspended"
            | "AccountProblem"
            | "AllAccessDisabled"
            | "NotSignedUp"
    );
    let is_refusal = matches!(code, "AccessDenied" | "Forbidden");
    is_code || (is_refusal && message.to_lowercase().contains("suspended"))
}

/// Source: "Header 'x-amz-storage-class' with value '…' not implemented" (Cloudflare R2, `NotImplemented`,
/// <https://github.com/gobackup/gobackup/issues/182>).
pub(super) fn name_a_storage_class(message: &str) -> bool {
    has_any(message, &["storage class", "storage-class", "storageclass"])
}

/// Source: `KMS.NotFoundException` and its kind in Amazon's "Troubleshooting server-side encryption"; "Server side
/// encryption specified but KMS is not configured" (`MinIO`, <https://github.com/minio/minio/issues/6367>).
pub(super) fn name_encryption(code: &str, message: &str) -> bool {
    has_any(
        message,
        &["encrypt", "kms", "sse-", "decrypt", "hash of the key"],
    ) || code.to_lowercase().starts_with("kms")
}

/// Whether a refusal names no cause at all.
///
/// Sources: Ceph 18 answers `InvalidArgument` and `InvalidRequest` without a message (`rgw_crypt.cc`, `rgw_op.cc`); "A
/// header you provided implies functionality that is not implemented" is `NotImplemented` in Amazon's list, and `MinIO`'s
/// for all that its gateways lack.
pub(super) fn name_nothing(code: &str, message: &str) -> bool {
    match code {
        "NotImplemented" => true,
        "InvalidArgument" | "InvalidRequest" => {
            matches!(
                message.trim_end_matches('.'),
                "" | "unknownerror" | "invalid argument" | "none"
            )
        }
        _ => false,
    }
}

fn has_any(message: &str, words: &[&str]) -> bool {
    words.iter().any(|words| message.contains(words))
}
