//! Answers of providers and their meaning.

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

mod words;
