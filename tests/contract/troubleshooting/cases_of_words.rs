//! Cases that the provider's words tell apart, not its code.

use super::case::{Case, Made, Outcome, fails};
use super::causes::{NO_CHANGE, UNAVAILABLE_PAGE, at_host, r2_without_jurisdiction};
use super::sayings::{
    ACCOUNT_PROBLEM, INTERNAL, INTERNAL_ON_WRITE, KMS_DENIED, KMS_WITHOUT_KEY, NO_KMS,
    NO_STORAGE_CLASSES, OBJECT_LOCK, RETENTION, SUSPENDED, TOO_EARLY, WORM,
};
use crate::lab::Quirk;

pub(super) const OF_WORDS: &[Case] = &[
    Case {
        title: "The region is wrong, and the provider blames the key for it (Oracle Cloud)",
        made: &[Made::Imitation(
            &[Quirk::RegionInWords("eu-frankfurt-1")],
            |location| at_host(location, "s3.eu-frankfurt-1.example.com"),
        )],
        outcome: fails("region", "wrong_region", "region_or_key"),
        offers: Some("region"),
        hint: &["host name", "access key"],
    },
    Case {
        title: "The bucket of Cloudflare R2 is in a jurisdiction",
        made: &[Made::Imitation(
            &[Quirk::Jurisdiction("eu")],
            r2_without_jurisdiction,
        )],
        outcome: fails("bucket", "bucket_not_found", "bucket_not_found"),
        offers: Some("endpoint"),
        hint: &["bucket's name"],
    },
    Case {
        title: "The bucket of Cloudflare R2 is in a jurisdiction, and the key may not know",
        made: &[Made::Imitation(
            &[Quirk::HiddenJurisdiction("eu")],
            r2_without_jurisdiction,
        )],
        outcome: fails("list", "storage_forbidden", "action_denied"),
        offers: Some("endpoint"),
        hint: &["permission"],
    },
    Case {
        title: "A policy of the bucket or the organisation denies uploads without encryption",
        made: &[Made::Imitation(&[Quirk::DemandsEncryption], NO_CHANGE)],
        outcome: fails("write", "storage_forbidden", "policy_denied"),
        offers: Some("encryption"),
        hint: &["Deny", "organisation", "AES256"],
    },
    Case {
        title: "An object lock keeps what the agent deletes",
        made: &[Made::Imitation(&[Quirk::Says(&OBJECT_LOCK)], NO_CHANGE)],
        outcome: Outcome::Warns {
            code: "left_behind",
        },
        offers: None,
        hint: &["retention or lock", "stay in the bucket"],
    },
    Case {
        title: "A lock or a retention policy keeps what the agent overwrites",
        made: &[
            Made::Imitation(&[Quirk::Says(&WORM)], NO_CHANGE),
            Made::Imitation(&[Quirk::Says(&RETENTION)], NO_CHANGE),
        ],
        outcome: fails("write", "object_locked", "object_locked"),
        offers: None,
        hint: &["retention"],
    },
    Case {
        title: "The provider has suspended the user or the account",
        made: &[
            Made::Imitation(&[Quirk::Says(&SUSPENDED)], NO_CHANGE),
            Made::Imitation(&[Quirk::Says(&ACCOUNT_PROBLEM)], NO_CHANGE),
        ],
        outcome: fails("list", "storage_forbidden", "account_suspended"),
        offers: None,
        hint: &["suspended", "console"],
    },
    Case {
        title: "This machine's clock is off, and the provider says so in its answer to the signature",
        made: &[Made::Imitation(&[Quirk::Says(&TOO_EARLY)], NO_CHANGE)],
        outcome: fails("clock", "clock_skew", "clock_skew"),
        offers: None,
        hint: &["clock"],
    },
    Case {
        title: "The server has an internal error at each request",
        made: &[Made::Imitation(&[Quirk::Says(&INTERNAL)], NO_CHANGE)],
        outcome: fails("list", "storage_unreachable", "server_failed"),
        offers: None,
        hint: &["internal error", "log"],
    },
    Case {
        title: "The server has an internal error at each upload that asks for encryption",
        made: &[Made::Imitation(
            &[Quirk::Says(&INTERNAL_ON_WRITE)],
            |location| location.with("encryption", "AES256"),
        )],
        outcome: fails("write", "storage_unreachable", "encryption_failed"),
        offers: None,
        hint: &["encryption to none"],
    },
    Case {
        title: "A proxy answers in the place of the S3 server",
        made: &[Made::WebServer(UNAVAILABLE_PAGE)],
        outcome: fails("list", "storage_unreachable", "gateway_failed"),
        offers: None,
        hint: &["proxy", "running"],
    },
    Case {
        title: "The server has no keys for the encryption that the settings ask for",
        made: &[Made::Imitation(&[Quirk::Says(&NO_KMS)], |location| {
            location.with("encryption", "AES256")
        })],
        outcome: fails("write", "storage_error", "no_encryption"),
        offers: None,
        hint: &["encryption to none"],
    },
    Case {
        title: "The provider's key service needs the ID of a key",
        made: &[Made::Imitation(
            &[Quirk::Says(&KMS_WITHOUT_KEY)],
            |location| location.with("encryption", "aws:kms"),
        )],
        outcome: fails("write", "storage_error", "kms_key_needed"),
        offers: None,
        hint: &["encryption_key"],
    },
    Case {
        title: "The access key may not use the key of the key service",
        made: &[Made::Imitation(&[Quirk::Says(&KMS_DENIED)], |location| {
            location
                .with("encryption", "aws:kms")
                .with("encryption_key", "alias/backups")
        })],
        outcome: fails("write", "storage_forbidden", "kms_denied"),
        offers: None,
        hint: &["kms:GenerateDataKey"],
    },
    Case {
        title: "The provider has no storage classes",
        made: &[Made::Imitation(
            &[Quirk::Says(&NO_STORAGE_CLASSES)],
            |location| location.with("storage_class", "GLACIER_IR"),
        )],
        outcome: fails("write", "storage_error", "unknown_storage_class"),
        offers: None,
        hint: &["storage_class"],
    },
    Case {
        title: "The provider does not support the checksum in the settings",
        made: &[Made::Imitation(
            &[Quirk::RefusesChecksumHeaders],
            |location| location.with("checksum", "crc32c"),
        )],
        outcome: fails("write", "storage_error", "checksum_unsupported"),
        offers: Some("checksum"),
        hint: &["checksum"],
    },
];
