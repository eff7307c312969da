//! `docs/development/reports.md`: inputs from public bug reports, and the tests that hold them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

use super::assert_up_to_date;

/// An input that people reported, what an early build (380242b) did with it, what the agent does now, and the tests in this
/// crate that hold it, as `--list` names them.
struct Report(
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const PROMISE: &str = "contract::quirks::promise::check_succeeds_exactly_where_backups_come_back";
const MESSAGES: &str = "contract::troubleshooting::check_names_the_failing_step_and_the_fix";

const SECTIONS: &[(&str, &[Report])] = &[
    ("Between the agent and the bucket", BETWEEN),
    ("What a provider says", WORDS),
    ("The first request of an upload", BEGINNING),
    ("What no table knows", UNKNOWN),
    ("What else is in the bucket", CONTENT),
    ("The command line", COMMANDS),
];

const BETWEEN: &[Report] = &[
    Report(
        "nginx or a CDN that caches `*.tar`: HEAD arrives as GET",
        "red: blames permissions",
        "works",
        &[
            "contract::quirks::between::proxy_sending_get_for_head",
            "contract::quirks::between::cache_before_the_provider",
            PROMISE,
        ],
    ),
    Report(
        "a proxy that drops `Range` or `If-Match`",
        "green; restores break after 8 MiB",
        "works",
        &[
            "contract::quirks::between::proxy_dropping_ranges_and_conditions",
            PROMISE,
        ],
    ),
    Report(
        "weak ETags on reads",
        "green; restores break after 8 MiB",
        "works",
        &["contract::quirks::between::proxy_with_weak_etags", PROMISE],
    ),
    Report(
        "a proxy that changes `Content-Type`",
        "red: blames the secret",
        "works",
        &[
            "contract::quirks::between::proxy_changing_content_types",
            PROMISE,
        ],
    ),
    Report(
        "a cache that keeps a 404",
        "the upload fails, the tar stays",
        "works",
        &["contract::quirks::between::cache_keeping_a_404"],
    ),
    Report(
        "a body limit of 1 MiB or 6 MiB, or a proxy that cuts large bodies",
        "green; every backup fails",
        "red: names the limit",
        &[
            "contract::quirks::between::check_finds_limits_of_body_size",
            PROMISE,
        ],
    ),
    Report(
        "a proxy that encodes paths twice, or refuses quotes and brackets",
        "green; a repair about the key",
        "that name's problem",
        &["contract::quirks::between::changed_name_is_not_blamed_on_the_access_key"],
    ),
    Report(
        "ETags that are MD5 for parts only, or for single objects only",
        "green; backups are erased as damaged",
        "works",
        &[
            "contract::quirks::between::provider_with_md5_etags_of_one_kind_only",
            PROMISE,
        ],
    ),
    Report(
        "a completion without an ETag",
        "the upload fails",
        "works",
        &["contract::quirks::between::provider_completing_without_a_document"],
    ),
    Report(
        "a proxy that denies dotfiles",
        "red; backups work",
        "works",
        &["contract::quirks::between::proxy_denying_dotfiles", PROMISE],
    ),
    Report(
        "a key that may not delete or abort, a bucket that keeps everything",
        "red; each check leaves an object",
        "green with a warning; one object at most",
        &[
            "contract::quirks::between::check_warns_where_nothing_can_be_deleted",
            PROMISE,
        ],
    ),
    Report(
        "ranges answered with 200 and `Content-Range` (rclone)",
        "red; backups work",
        "works",
        &["contract::quirks::between::provider_sending_ranges_with_status_200"],
    ),
    Report(
        "a slow uplink",
        "red after the time limit",
        "green; says what size was proven",
        &["api::locations::check::slow_uplink_passes_with_the_size_that_was_proven"],
    ),
];

const WORDS: &[Report] = &[
    Report(
        "region words in a signature error, the region in the host, a Host that a proxy changed, an explicit deny, another \
         jurisdiction, lock words, a prefix in a policy, an unknown storage class, KMS without a key, a lasting 500, a \
         suspended user, a proxy's 503 page",
        "one hint for each code, whatever the provider says",
        "each its own words, and a correction that was tried",
        &[MESSAGES],
    ),
    Report(
        "SSE-C with another key or none",
        "not found",
        "names the encryption",
        &[
            "contract::servers::garage::missing_encryption_key_is_named",
            "contract::servers::ceph::missing_encryption_key_is_named",
            "contract::servers::seaweedfs::missing_encryption_key_is_named",
        ],
    ),
    Report(
        "SeaweedFS confirms encryption on parts and HEAD only",
        "red: not encrypted",
        "works",
        &["contract::servers::seaweedfs::encryption_key_is_applied_or_refused"],
    ),
    Report(
        "a certificate of `openssl req -x509` in `ca_certificate`",
        "red: set `ca_certificate`",
        "works",
        &["contract::quirks::certificate_that_is_its_own_authority_is_trusted"],
    ),
    Report(
        "a certificate of version 1, without names, for clients only, with a short key",
        "red: set `ca_certificate`",
        "red: says what is wrong with it",
        &[MESSAGES],
    ),
    Report(
        "one certificate to pin",
        "not possible",
        "`certificate_sha256`",
        &["api::tls::pinned::other_certificate_is_refused_with_both_fingerprints"],
    ),
    Report(
        "a download that breaks in the middle",
        "Home Assistant shows a ContentLengthError",
        "the cause, logged once and shown",
        &[
            "resilience::outages::broken_downloads::damaged_object_is_told",
            "resilience::outages::broken_downloads::object_that_is_gone_is_told",
            "resilience::outages::broken_downloads::object_that_was_replaced_is_told",
            "resilience::outages::broken_downloads::revoked_key_is_told",
        ],
    ),
];

const BEGINNING: &[Report] = &[
    Report(
        "storage that refuses, answers 503 or hangs when an upload begins",
        "fails after 5 to 11 s",
        "waits for `outage_seconds`",
        &[
            "resilience::outages::beginning::upload_begins_while_storage_refuses_connections",
            "resilience::outages::beginning::upload_begins_while_storage_answers_503",
            "resilience::outages::beginning::upload_begins_while_storage_throttles",
            "resilience::outages::beginning::upload_begins_while_storage_hangs",
        ],
    ),
    Report(
        "a clock that NTP sets six seconds later",
        "fails",
        "waits",
        &["resilience::outages::beginning::upload_begins_before_the_clock_is_set"],
    ),
];

const UNKNOWN: &[Report] = &[
    Report(
        "the next field, folder or add-on key of Home Assistant",
        "422, or dropped",
        "kept and given back",
        &[
            "api::later_home_assistant::upload_keeps_what_a_later_home_assistant_adds",
            "api::later_home_assistant::backup_of_a_later_home_assistant_in_the_bucket_is_usable",
        ],
    ),
    Report(
        "an endpoint with a path",
        "refused",
        "works; corrected where S3 answers elsewhere",
        &[
            "contract::unusual_addresses::backup_round_trips_below_a_path",
            "contract::unusual_addresses::signature_covers_the_whole_path",
            "contract::unusual_addresses::endpoint_is_corrected_to_where_s3_answers",
        ],
    ),
    Report(
        "`tenant:bucket`",
        "refused",
        "works",
        &["contract::unusual_addresses::bucket_of_a_tenant_round_trips"],
    ),
    Report(
        "an ARN, an `s3://` address, a URL or a path as the bucket",
        "refused",
        "taken apart and offered",
        &["contract::unusual_addresses::pasted_bucket_is_offered_with_its_folder_and_endpoint"],
    ),
    Report(
        "`HTTPS_PROXY` and SOCKS5",
        "ignored in silence",
        "used on request, named where unused",
        &[
            "contract::proxies::unused_variable_is_named_where_a_proxy_may_be_needed",
            "contract::proxies::socks5h_leaves_names_to_the_proxy",
        ],
    ),
    Report(
        "a server that leaves `+` in keys that it calls encoded",
        "an acknowledged backup is not listed",
        "works",
        &["contract::quirks::provider_listing_keys_without_the_encoding_it_claims"],
    ),
    Report(
        "a server that tells a wrong CRC32C (moto)",
        "verification calls the backup damaged",
        "trusts the SHA-256, names the server",
        &["contract::servers::moto::every_checksum_mode_is_accepted"],
    ),
];

const CONTENT: &[Report] = &[
    Report(
        "an endpoint or region that is edited",
        "another id; automatic backups stop",
        "the id stays",
        &["api::locations::check_names_the_folder_and_its_id"],
    ),
    Report(
        "two locations on one folder",
        "retention at one deletes the other's backups",
        "refused, or merged",
        &["api::locations::one_folder_is_one_location"],
    ),
    Report(
        "archives at the bucket's root or in `old/`",
        "invisible",
        "counted; `recover LOCATION KEY` adopts one",
        &[
            "api::beside::archives_of_a_sync_app_are_counted_until_they_are_adopted",
            "api::recover::tar_outside_the_folder_is_copied_into_it",
        ],
    ),
    Report(
        "a nearly right prefix",
        "an empty list",
        "named and offered",
        &["api::nearby::nearly_right_prefix_is_named_by_check_and_list"],
    ),
    Report(
        "another tool's tars, `._x.tar`, empty tars",
        "a repair that never goes away",
        "remembered until they change",
        &["api::recover::foreign::foreign_tars_are_remembered_until_they_change"],
    ),
    Report(
        "a bucket with versions",
        "green in silence",
        "green; says that deleted backups cost",
        &["contract::quirks::between::bucket_with_versions_is_told"],
    ),
    Report(
        "a lock that demands a digest",
        "every write is refused",
        "works",
        &["contract::quirks::between::bucket_demanding_a_digest"],
    ),
    Report(
        "an upload that another tool aborted (Ceph answers 500)",
        "repeats the completion for 15 minutes",
        "ends, and spares a foreign tar",
        &["contract::servers::ceph::foreign_tar_is_not_mistaken_for_the_own_upload"],
    ),
];

const COMMANDS: &[Report] = &[
    Report(
        "`download -o /dev/null --force`",
        "replaces the device",
        "writes into it",
        &["api::cli::special_files::download_writes_into_what_is_no_regular_file"],
    ),
    Report(
        "SIGHUP",
        "leaves parts behind",
        "cleans up as SIGTERM does",
        &["api::process::shutdown::hangup_cleans_up_after_a_command"],
    ),
    Report(
        "a name of more than 255 bytes",
        "fails",
        "a shorter file name",
        &["api::cli::special_files::long_name_gets_a_shorter_file_name"],
    ),
    Report(
        "`copy … nope`",
        "exits 0",
        "exits 3",
        &["api::copy::only_named_backups_are_copied"],
    ),
];

/// All tests of this crate. `--list` runs none.
fn tests_of_this_crate() -> BTreeSet<String> {
    let this = std::env::current_exe().unwrap();
    let listed = Command::new(this).arg("--list").output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let lines = text.lines();
    lines
        .filter_map(|line| line.strip_suffix(": test").map(str::to_owned))
        .collect()
}

fn document() -> String {
    let known = tests_of_this_crate();
    let mut text = String::from(TOP);
    for (title, reports) in SECTIONS {
        let _ = writeln!(
            text,
            "\n## {title}\n\n| input | before | now | tests |\n|---|---|---|---|"
        );
        for Report(input, before, now, tests) in *reports {
            let tests = tests.iter().map(|test| {
                assert!(known.contains(*test), "no such test: {test}");
                let mut path = test.rsplitn(3, "::");
                let (name, module) = (path.next(), path.next());
                format!(
                    "`{}::{}`",
                    module.unwrap_or_default(),
                    name.unwrap_or_default()
                )
            });
            let tests: Vec<_> = tests.collect();
            let _ = writeln!(
                text,
                "| {input} | {before} | {now} | {} |",
                tests.join(", ")
            );
        }
    }
    text
}

const TOP: &str = "\
<!-- Written by scripts/generate from tests/generated/reports.rs. Change that file, not this one. -->

# Reports

Forty public bug reports of people who keep backups in S3 buckets, as inputs. *Before* is what an early build (380242b) did with
each, *now* what the agent does, and each row names the tests that fail otherwise. They run with all others.
";

#[test]
fn reports_document_is_current() {
    assert_up_to_date("docs/development/reports.md", |_| document());
}
