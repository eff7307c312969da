//! What the provider's own words mean.

use super::*;

/// A code, the provider's words, and what they mean together.
type Row = (u16, &'static str, &'static str, Outcome, Option<Reason>);

fn assert_meanings(rows: &[Row]) {
    for &(status, code, message, outcome, reason) in rows {
        let answer = answer(status, code, message);
        assert_eq!(
            (outcome_of(&answer), reason_of(&answer)),
            (outcome, reason),
            "{code}: {message}"
        );
    }
}

const DENIED: &str = "AccessDenied";

const SIGNATURE: &str = "SignatureDoesNotMatch";

const ORACLE: &str = "The secret key required to complete authentication could not be found. The region must be specified \
    if this is not the home region for the tenancy.";

const SCOPE: &str = "Credential should be scoped to a valid Region, not us-east-1";

const LATE: &str = "Signature expired: 20210502T144040Z is now earlier than 20210502T173143Z (20210502T174643Z - 15 min.)";

const EARLY: &str =
    "Signature not yet current: 20210502T183640Z is still later than 20210502T175140Z";

#[test]
fn words_about_region_and_clock_precede_the_code() {
    let region_or_key = Some(Reason::RegionOrKey);
    assert_meanings(&[
        (403, SIGNATURE, ORACLE, Outcome::WrongRegion, region_or_key),
        (403, SIGNATURE, SCOPE, Outcome::WrongRegion, None),
        (403, SIGNATURE, LATE, Outcome::ClockSkew, None),
        (403, SIGNATURE, EARLY, Outcome::ClockSkew, None),
        (403, DENIED, "Request has expired", Outcome::ClockSkew, None),
    ]);
}

#[test]
fn words_about_locks_precede_the_code() {
    let google = "Object 'b/k' is subject to bucket's retention policy or object retention and cannot be deleted";
    let amazon = "Access Denied because object protected by object lock.";
    let minio = "Object is WORM protected and cannot be overwritten.";
    let hold = "Object 'b/k' is under active Temporary hold";
    assert_meanings(&[
        (403, DENIED, amazon, Outcome::Locked, None),
        (403, DENIED, google, Outcome::Locked, None),
        (403, DENIED, hold, Outcome::Locked, None),
        (400, "InvalidRequest", minio, Outcome::Locked, None),
        (
            409,
            "Conflict",
            "It has a legal hold",
            Outcome::Locked,
            None,
        ),
    ]);
}

#[test]
fn suspension_and_internal_error_have_reasons_of_their_own() {
    let suspended = Some(Reason::AccountSuspended);
    let failed = Some(Reason::ServerFailed);
    let gateway = Some(Reason::GatewayFailed);
    assert_meanings(&[
        (403, "UserSuspended", "", Outcome::Forbidden, suspended),
        (403, "AccountProblem", "", Outcome::Forbidden, suspended),
        (
            403,
            DENIED,
            "It is suspended.",
            Outcome::Forbidden,
            suspended,
        ),
        (500, "InternalError", "", Outcome::ServerError, failed),
        (500, "", "", Outcome::ServerError, failed),
        (502, "", "", Outcome::ServerError, gateway),
    ]);
}

#[test]
fn names_are_not_taken_for_words() {
    for (code, message, outcome) in [
        (
            "AccessDenied",
            "Access to arn:aws:s3:::bookworm-backups is denied",
            Outcome::Forbidden,
        ),
        (
            "InvalidRequest",
            "Content-MD5 HTTP header is required for Put Object requests with Object Lock parameters",
            Outcome::Refused,
        ),
        (
            "InvalidRequest",
            "Bucket is missing Object Lock Configuration",
            Outcome::Refused,
        ),
    ] {
        assert_eq!(
            outcome_of(&answer(400, code, message)),
            outcome,
            "{message}"
        );
    }
}

#[test]
fn policies_are_told_from_permissions() {
    let user = "User: arn:aws:iam::1:user/ha is not authorized to perform: ";
    for (message, reason) in [
        (
            "s3:PutObject on resource: \"arn:aws:s3:::b/k\" with an explicit deny in a resource-based policy",
            Reason::PolicyDenied,
        ),
        (
            "s3:PutObject on resource: \"arn:aws:s3:::b/k\" with an explicit deny in a service control policy",
            Reason::PolicyDenied,
        ),
        (
            "s3:ListBucket on resource: \"arn:aws:s3:::b\" because no identity-based policy allows the s3:ListBucket action",
            Reason::ActionDenied,
        ),
        (
            "kms:GenerateDataKey on this resource because the resource does not exist in this Region",
            Reason::KmsDenied,
        ),
    ] {
        let answer = answer(403, "AccessDenied", &format!("{user}{message}"));
        assert_eq!(reason_of(&answer), Some(reason), "{message}");
    }
}

#[test]
fn refusal_names_the_setting_that_causes_it() {
    let minio = "Server side encryption specified but KMS is not configured.";
    let header = "A header you provided implies functionality that is not implemented.";
    let ceph = "Server Side Encryption with KMS managed key requires HTTP header x-amz-server-side-encryption-aws-kms-key-id";
    let r2 = "Header 'x-amz-storage-class' with value 'GLACIER_IR' not implemented";
    let (class, checksum) = (Setting::StorageClass, Setting::Checksum);
    for (status, code, message, sent, reason) in [
        (
            501,
            "NotImplemented",
            minio,
            Setting::Aes256,
            Some(Reason::NoEncryption),
        ),
        (
            501,
            "NotImplemented",
            header,
            Setting::Aes256,
            Some(Reason::NoEncryption),
        ),
        (
            400,
            "InvalidArgument",
            "",
            Setting::Aes256,
            Some(Reason::NoEncryption),
        ),
        (
            400,
            "InvalidArgument",
            ceph,
            Setting::Kms,
            Some(Reason::KmsKeyNeeded),
        ),
        (
            400,
            "KMS.NotFoundException",
            "Key 'arn:aws:kms:…' does not exist",
            Setting::Kms,
            Some(Reason::KmsKeyNeeded),
        ),
        (
            501,
            "NotImplemented",
            r2,
            class,
            Some(Reason::UnknownStorageClass),
        ),
        (
            400,
            "InvalidArgument",
            "",
            class,
            Some(Reason::UnknownStorageClass),
        ),
        (
            501,
            "NotImplemented",
            header,
            checksum,
            Some(Reason::ChecksumUnsupported),
        ),
        (
            400,
            "InvalidArgument",
            "The part number is too large",
            Setting::Aes256,
            None,
        ),
        (
            500,
            "InternalError",
            "",
            Setting::Aes256,
            Some(Reason::EncryptionFailed),
        ),
    ] {
        let answer = Answer {
            to_write: true,
            sent: vec![sent],
            ..answer(status, code, message)
        };
        assert_eq!(reason_of(&answer), reason, "{code}: {message}");
    }
    let nothing = Answer {
        to_write: true,
        ..answer(501, "NotImplemented", header)
    };
    assert_eq!(reason_of(&nothing), None);
}

#[test]
fn other_key_is_named() {
    for message in [
        "Bad request: Object is encrypted",
        "Bad request: Trying to decrypt a plaintext object",
        "Bad request: Invalid encryption key, could not decrypt object metadata.",
        "The calculated MD5 hash of the key did not match the hash that was provided.",
    ] {
        let answer = answer(400, "InvalidRequest", message);
        assert_eq!(
            reason_of(&answer),
            Some(Reason::EncryptionKeyNeeded),
            "{message}"
        );
    }
}

#[test]
fn page_of_a_gateway_is_not_throttling() {
    let page = Answer {
        is_s3: false,
        ..answer(503, "", "503 Service Temporarily Unavailable nginx")
    };
    assert_eq!(
        (outcome_of(&page), reason_of(&page)),
        (Outcome::Unreachable, Some(Reason::GatewayFailed))
    );
    let said = answer(503, "SlowDown", "Reduce your request rate");
    assert_eq!(
        (outcome_of(&said), reason_of(&said)),
        (Outcome::Throttled, None)
    );
}
