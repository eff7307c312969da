//! The table.

use super::case::{Case, Made, Outcome, fails, notes};
use super::cases_of_words::OF_WORDS;
use super::causes::{
    GO_WANTS_TLS, LOGIN, NGINX_WANTS_TLS, NO_CHANGE, NOT_FOUND, NOWHERE, PROXY_WANTS_PASSWORD,
    REDIRECTS_TO_TLS, WEB_PAGE, at_path, bucket_before_host, no_such_bucket, not_trusting,
    other_fingerprint, other_scheme, pasted, path_of_r2, region_by_hand, swapped_keys, through_it,
    through_it_with_tls, unknown_key, without_scheme, wrong_secret,
};
use crate::lab::quirks::Certificate;
use crate::lab::{Location, Quirk};

/// All cases.
pub(super) fn cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(OF_WORDS)
}

const CASES: &[Case] = &[
    Case {
        title: "The access key ID is wrong, or deleted at the provider",
        made: &[Made::Garage(unknown_key), Made::Imitation(&[], unknown_key)],
        outcome: fails("signature", "storage_auth", "unknown_key"),
        offers: None,
        hint: &["access key ID", "new key"],
    },
    Case {
        title: "The secret access key is wrong",
        made: &[
            Made::Garage(wrong_secret),
            Made::Imitation(&[], wrong_secret),
        ],
        outcome: fails("signature", "storage_auth", "wrong_secret"),
        offers: None,
        hint: &["secret access key", "proxy_set_header Host $http_host"],
    },
    Case {
        title: "The access key ID and the secret access key are swapped",
        made: &[
            Made::Garage(swapped_keys),
            Made::Imitation(&[], swapped_keys),
        ],
        outcome: fails("signature", "storage_auth", "keys_swapped"),
        offers: None,
        hint: &["are swapped", "everything works"],
    },
    Case {
        title: "The session token of a temporary key has expired",
        made: &[Made::Imitation(&[Quirk::TokenExpired], |location| {
            location.with("session_token", "an-old-token")
        })],
        outcome: fails("signature", "storage_auth", "expired_token"),
        offers: None,
        hint: &["session token"],
    },
    Case {
        title: "The region is wrong",
        made: &[
            Made::Garage(region_by_hand),
            Made::Imitation(&[Quirk::Region("eu-central-7")], region_by_hand),
            Made::Imitation(&[Quirk::RedirectsTo("eu-central-7")], region_by_hand),
        ],
        outcome: fails("region", "wrong_region", "wrong_region"),
        offers: Some("region"),
        hint: &["region"],
    },
    Case {
        title: "The bucket does not exist, or its name is misspelt",
        made: &[
            Made::Garage(no_such_bucket),
            Made::Imitation(&[], no_such_bucket),
        ],
        outcome: fails("bucket", "bucket_not_found", "bucket_not_found"),
        offers: None,
        hint: &["bucket's name"],
    },
    Case {
        title: "The key may not list the bucket (`s3:ListBucket`)",
        made: &[Made::Imitation(
            &[Quirk::Denies("s3:ListBucket")],
            NO_CHANGE,
        )],
        outcome: fails("list", "storage_forbidden", "action_denied"),
        offers: None,
        hint: &[
            "permission to list",
            "s3:ListBucket",
            "s3:prefix",
            "\"backups/\"",
        ],
    },
    Case {
        title: "The key may not write (`s3:PutObject`)",
        made: &[Made::Imitation(&[Quirk::Denies("s3:PutObject")], NO_CHANGE)],
        outcome: fails("write", "storage_forbidden", "action_denied"),
        offers: None,
        hint: &["permission to write", "s3:PutObject"],
    },
    Case {
        title: "The key may not abort an upload (`s3:AbortMultipartUpload`)",
        made: &[Made::Imitation(
            &[Quirk::Denies("s3:AbortMultipartUpload")],
            NO_CHANGE,
        )],
        outcome: Outcome::Warns {
            code: "left_behind",
        },
        offers: None,
        hint: &["permission to abort", "s3:AbortMultipartUpload"],
    },
    Case {
        title: "The key may not read (`s3:GetObject`)",
        made: &[Made::Imitation(&[Quirk::Denies("s3:GetObject")], NO_CHANGE)],
        outcome: fails("read", "storage_forbidden", "action_denied"),
        offers: None,
        hint: &["permission to read", "s3:GetObject"],
    },
    Case {
        title: "The key may not delete (`s3:DeleteObject`)",
        made: &[Made::Imitation(
            &[Quirk::Denies("s3:DeleteObject")],
            NO_CHANGE,
        )],
        outcome: Outcome::Warns {
            code: "left_behind",
        },
        offers: None,
        hint: &["permission to delete", "s3:DeleteObject"],
    },
    Case {
        title: "The bucket keeps what it has: it has a lock or a retention",
        made: &[
            Made::Imitation(&[Quirk::KeepsObjects], NO_CHANGE),
            Made::Imitation(&[Quirk::WriteOnce], NO_CHANGE),
        ],
        outcome: Outcome::Warns {
            code: "left_behind",
        },
        offers: None,
        hint: &["stay in the bucket"],
    },
    Case {
        title: "The bucket keeps versions of what is deleted",
        made: &[Made::Imitation(&[Quirk::KeepsVersions], NO_CHANGE)],
        outcome: Outcome::Warns {
            code: "keeps_versions",
        },
        offers: None,
        hint: &["stay in it", "NoncurrentVersionExpiration"],
    },
    Case {
        title: "A proxy limits the size of requests, as nginx does to 1 MiB",
        made: &[
            Made::Imitation(&[Quirk::MaxBody(1 << 20)], NO_CHANGE),
            Made::Imitation(&[Quirk::CutsBodiesAbove(4 << 20)], NO_CHANGE),
        ],
        outcome: fails("multipart", "storage_error", "body_too_large"),
        offers: None,
        hint: &["client_max_body_size", "part_size"],
    },
    Case {
        title: "A proxy encodes names a second time, as nginx does with a path in proxy_pass",
        made: &[Made::Imitation(&[Quirk::EncodesTwice], NO_CHANGE)],
        outcome: fails("write", "storage_error", "name_changed"),
        offers: None,
        hint: &["proxy_pass"],
    },
    Case {
        title: "This machine's clock is off by more than 15 minutes",
        made: &[
            Made::Imitation(&[Quirk::ClockAhead(20)], NO_CHANGE),
            Made::Imitation(&[Quirk::ClockAhead(-20)], NO_CHANGE),
        ],
        outcome: fails("clock", "clock_skew", "clock_skew"),
        offers: None,
        hint: &["clock"],
    },
    Case {
        title: "The server's certificate is self-signed, or signed by your own CA",
        made: &[
            Made::Tls(Certificate::Good, not_trusting),
            Made::Tls(Certificate::SelfSigned, not_trusting),
            Made::Tls(Certificate::OwnAuthority, not_trusting),
        ],
        outcome: fails("tls", "storage_certificate", "certificate_unknown"),
        offers: None,
        hint: &["ca_certificate", "certificate_sha256"],
    },
    Case {
        title: "The server has another certificate than the one in `certificate_sha256`",
        made: &[
            Made::Tls(Certificate::Good, other_fingerprint),
            Made::Tls(Certificate::SelfSigned, other_fingerprint),
        ],
        outcome: fails(
            "tls",
            "storage_certificate",
            "certificate_other_fingerprint",
        ),
        offers: None,
        hint: &["certificate_sha256", "renewed"],
    },
    Case {
        title: "Another CA signed the server's certificate than the one in `ca_certificate`",
        made: &[
            Made::Tls(Certificate::SelfSigned, NO_CHANGE),
            Made::Tls(Certificate::OtherAuthority, NO_CHANGE),
        ],
        outcome: fails("tls", "storage_certificate", "certificate_other_issuer"),
        offers: None,
        hint: &["ca_certificate", "openssl s_client"],
    },
    Case {
        title: "The server's certificate is of version 1",
        made: &[Made::Tls(Certificate::Version1, NO_CHANGE)],
        outcome: fails("tls", "storage_certificate", "certificate_version_1"),
        offers: None,
        hint: &[
            "version 1",
            "openssl req -x509",
            "IP:127.0.0.1\"",
            "new.crt",
        ],
    },
    Case {
        title: "The server's certificate has no `subjectAltName`",
        made: &[Made::Tls(Certificate::WithoutNames, NO_CHANGE)],
        outcome: fails("tls", "storage_certificate", "certificate_without_names"),
        offers: None,
        hint: &[
            "common name",
            "openssl req -x509",
            "IP:127.0.0.1\"",
            "restart",
        ],
    },
    Case {
        title: "The server's certificate is for clients only",
        made: &[Made::Tls(Certificate::ForClients, NO_CHANGE)],
        outcome: fails("tls", "storage_certificate", "certificate_not_for_servers"),
        offers: None,
        hint: &["serverAuth", "openssl req -x509"],
    },
    Case {
        title: "The server's certificate has an RSA key of 1024 bits",
        made: &[Made::Tls(Certificate::WeakKey, NO_CHANGE)],
        outcome: fails("tls", "storage_certificate", "certificate_weak_key"),
        offers: None,
        hint: &["2048 bits", "openssl req -x509"],
    },
    Case {
        title: "The server's certificate has expired",
        made: &[Made::Tls(Certificate::Expired, NO_CHANGE)],
        outcome: fails("tls", "storage_certificate", "certificate_expired"),
        offers: None,
        hint: &["Renew"],
    },
    Case {
        title: "The server's certificate is for another host name",
        made: &[
            Made::Tls(Certificate::OtherName, NO_CHANGE),
            Made::Tls(Certificate::OwnAuthorityOfOtherName, NO_CHANGE),
        ],
        outcome: fails("tls", "storage_certificate", "certificate_other_name"),
        offers: None,
        hint: &["host name"],
    },
    Case {
        title: "The endpoint starts with https://, and the port speaks plain HTTP",
        made: &[
            Made::Garage(other_scheme),
            Made::Imitation(&[], other_scheme),
        ],
        outcome: fails("tls", "storage_certificate", "no_tls"),
        offers: Some("endpoint"),
        hint: &["http://"],
    },
    Case {
        title: "The endpoint starts with http://, and the port speaks TLS",
        made: &[Made::Tls(Certificate::Good, other_scheme)],
        outcome: fails("connect", "storage_error", "tls_needed"),
        offers: Some("endpoint"),
        hint: &["https://"],
    },
    Case {
        // These have no TLS, and `check` suggests only working settings.
        title: "The endpoint starts with http://, and the server's error says that it requires HTTPS (nginx, MinIO)",
        made: &[
            Made::WebServer(NGINX_WANTS_TLS),
            Made::WebServer(GO_WANTS_TLS),
        ],
        outcome: fails("connect", "storage_error", "tls_needed"),
        offers: None,
        hint: &["https://"],
    },
    Case {
        title: "The endpoint starts with http://, and the server redirects to https://",
        made: &[Made::WebServer(REDIRECTS_TO_TLS)],
        outcome: fails("connect", "storage_error", "tls_needed"),
        offers: None,
        hint: &["https://"],
    },
    Case {
        title: "Nothing listens at the endpoint's port, or the server is down",
        made: &[Made::Closed],
        outcome: fails("connect", "storage_unreachable", "connection_refused"),
        offers: None,
        hint: &["port"],
    },
    Case {
        title: "The endpoint's host name does not exist",
        made: &[Made::Imitation(&[], |location| Location {
            endpoint: "https://s3.home.invalid".into(),
            ..location
        })],
        outcome: fails("resolve", "storage_unreachable", "host_unknown"),
        offers: None,
        hint: &["spelling", "DNS"],
    },
    Case {
        title: "The proxy's host name does not exist",
        made: &[Made::Imitation(&[], |location| {
            location.with("proxy", "http://proxy.home.invalid:3128")
        })],
        outcome: fails("resolve", "storage_unreachable", "proxy_failed"),
        offers: None,
        hint: &["proxy"],
    },
    Case {
        title: "Nothing listens at the proxy's port",
        made: &[Made::Imitation(&[], |location| {
            location.with("proxy", NOWHERE)
        })],
        outcome: fails("connect", "storage_unreachable", "proxy_failed"),
        offers: None,
        hint: &["proxy"],
    },
    Case {
        title: "The proxy requires a user and a password, or rejects the given ones",
        made: &[Made::Answering(PROXY_WANTS_PASSWORD, through_it)],
        outcome: fails("connect", "storage_error", "proxy_failed"),
        offers: None,
        hint: &["proxy", "password"],
    },
    Case {
        title: "The proxy requires a user and a password, and the endpoint uses TLS",
        made: &[Made::Answering(PROXY_WANTS_PASSWORD, through_it_with_tls)],
        outcome: fails("tls", "storage_error", "proxy_failed"),
        offers: None,
        hint: &["proxy", "password"],
    },
    Case {
        title: "The server takes the connection and does not answer",
        made: &[Made::Silent],
        outcome: fails("connect", "storage_timeout", "storage_timeout"),
        offers: None,
        hint: &["slow"],
    },
    Case {
        title: "The server at the endpoint returns a web page and is not an S3 server",
        made: &[
            Made::WebServer(WEB_PAGE),
            Made::WebServer(NOT_FOUND),
            Made::WebServer(LOGIN),
        ],
        outcome: fails("list", "storage_error", "not_s3"),
        offers: None,
        hint: &["endpoint"],
    },
    Case {
        title: "The provider throttles every attempt",
        made: &[Made::Imitation(&[Quirk::SlowDownEvery(1)], NO_CHANGE)],
        outcome: fails("list", "storage_throttled", "storage_throttled"),
        offers: None,
        hint: &["slow down"],
    },
    Case {
        title: "The quota is used up, or the server's disks are full",
        made: &[
            Made::Imitation(&[Quirk::QuotaExceeded], NO_CHANGE),
            Made::Imitation(&[Quirk::StorageFull], NO_CHANGE),
        ],
        outcome: fails("write", "storage_full", "storage_full"),
        offers: None,
        hint: &["quota"],
    },
    Case {
        title: "The provider does not know the storage class",
        made: &[Made::Imitation(
            &[Quirk::StorageClasses(&["STANDARD"])],
            |location| location.with("storage_class", "STANDARD_IA"),
        )],
        outcome: fails("write", "storage_error", "unknown_storage_class"),
        offers: None,
        hint: &["storage_class"],
    },
    Case {
        title: "The endpoint has no http:// or https:// before the host",
        made: &[
            Made::Tls(Certificate::Good, without_scheme),
            Made::Tls(Certificate::Good, |location| {
                let location = without_scheme(location);
                Location {
                    endpoint: location.endpoint.replace("127.0.0.1", "localhost"),
                    ..location
                }
            }),
        ],
        outcome: fails("settings", "invalid_request", "endpoint_without_scheme"),
        offers: Some("endpoint"),
        hint: &["https://"],
    },
    Case {
        title: "The endpoint has the bucket after the host",
        made: &[Made::Garage(|location| Location {
            endpoint: format!("{}/{}", location.endpoint, location.bucket),
            ..location
        })],
        outcome: fails("list", "storage_error", "endpoint_with_bucket"),
        offers: Some("endpoint"),
        hint: &["bucket"],
    },
    Case {
        title: "The endpoint has the bucket before the host",
        made: &[Made::Imitation(&[], bucket_before_host)],
        outcome: fails("settings", "invalid_request", "endpoint_with_bucket"),
        offers: Some("endpoint"),
        hint: &["bucket"],
    },
    Case {
        title: "The endpoint of Cloudflare R2 is pasted with the bucket, as the dashboard shows it",
        made: &[Made::Imitation(&[], path_of_r2)],
        outcome: fails("settings", "invalid_request", "endpoint_with_bucket"),
        offers: Some("endpoint"),
        hint: &["bucket"],
    },
    Case {
        title: "The endpoint has a path, and S3 answers without it",
        made: &[Made::Garage(|location| at_path(location, "s3/api"))],
        outcome: fails("bucket", "bucket_not_found", "endpoint_with_path"),
        offers: Some("endpoint"),
        hint: &["host and port"],
    },
    Case {
        title: "The endpoint has a path, and S3 answers neither below it nor without it",
        made: &[
            Made::Answering(WEB_PAGE, |location| at_path(location, "s3/api")),
            Made::Answering(NOT_FOUND, |location| at_path(location, "s3/api")),
        ],
        outcome: fails("list", "storage_error", "endpoint_with_path"),
        offers: None,
        hint: &["below a path"],
    },
    Case {
        title: "The proxy is one of SOCKS4",
        made: &[
            Made::Garage(|location| location.with("proxy", "socks4://127.0.0.1:1080")),
            Made::Garage(|location| location.with("proxy", "socks4a://proxy.example.com")),
        ],
        outcome: fails("settings", "invalid_request", "proxy_with_socks4"),
        offers: None,
        hint: &["SOCKS5", "socks5h://"],
    },
    Case {
        title: "The bucket is pasted as an address, an ARN or a path, or with its folder",
        made: &[
            Made::Garage(|location| pasted(location, |bucket, _| format!("s3://{bucket}/home"))),
            Made::Garage(|location| {
                pasted(location, |bucket, _| {
                    format!("arn:aws:s3:::{bucket}/home/*")
                })
            }),
            Made::Garage(|location| {
                pasted(location, |bucket, at| format!("{at}/{bucket}/home/?list"))
            }),
            Made::Garage(|location| pasted(location, |bucket, _| format!("{bucket}/home"))),
            Made::Garage(|location| pasted(location, |bucket, _| format!("/{bucket}/"))),
            Made::Garage(|location| {
                let endpoint = NOWHERE.to_owned();
                let location = pasted(location, |bucket, at| format!("{at}/{bucket}"));
                Location {
                    endpoint,
                    ..location
                }
            }),
        ],
        outcome: fails("settings", "invalid_request", "bucket_with_more"),
        offers: Some("bucket"),
        hint: &["name alone", "prefix"],
    },
    Case {
        title: "There are spaces or line ends around the pasted access key ID",
        made: &[Made::Garage(|location| Location {
            key_id: format!(" {}\n", location.key_id),
            ..location
        })],
        outcome: notes("access_key_id", "spaces_removed"),
        offers: None,
        hint: &["spaces"],
    },
    Case {
        title: "There are spaces or line ends around the pasted secret access key",
        made: &[Made::Garage(|location| Location {
            secret: format!("{}\t ", location.secret),
            ..location
        })],
        outcome: notes("secret_access_key", "spaces_removed"),
        offers: None,
        hint: &["spaces"],
    },
];
