//! The settings of a location.

use super::{
    AGENT, APP, CONNECTION, DefaultValue, MAIN, Number, SPEED, STORAGE, Secrecy, Section, Setting,
    SettingKind, TUNING, Unit, VERIFICATION,
};
use crate::units::{DAY, HOUR, KIB, MIB};

/// `[[locations]]`, in the order of the app's options. The first two are the heading of a location there.
pub const LOCATION: &[Setting] = &[
    Setting {
        name: "name",
        default: DefaultValue::Derived("bucket and prefix"),
        help: "name in Home Assistant",
        has_fallback: true,
        ..MAIN
    },
    Setting {
        name: "provider",
        kind: SettingKind::Provider,
        default: DefaultValue::Value("other"),
        help: "one of [the providers](providers.md), which sets the endpoint, the region and other defaults. Some \
               providers have settings of their own, such as `account_id`",
        places: APP.places,
        ..MAIN
    },
    Setting {
        name: "bucket",
        is_required: true,
        help: "the bucket's name, on a server with tenants as `tenant:bucket`; the bucket must already exist",
        ..MAIN
    },
    Setting {
        name: "prefix",
        help: "folder in the bucket; two prefixes of one bucket are two locations",
        ..MAIN
    },
    Setting {
        name: "access_key_id",
        kind: SettingKind::Word,
        is_required: true,
        secrecy: Secrecy::Private,
        help: "ID of the access key, which needs permission to list, read, write and delete objects, and to abort \
               multipart uploads",
        ..MAIN
    },
    Setting {
        name: "secret_access_key",
        kind: SettingKind::Word,
        is_required: true,
        secrecy: Secrecy::Secret,
        help: "secret of the access key",
        ..MAIN
    },
    Setting {
        name: "region",
        kind: SettingKind::Word,
        default: DefaultValue::Derived("the endpoint's, or the provider's"),
        help: "region that requests are signed for; without one, the agent uses the region that the server names",
        ..CONNECTION
    },
    Setting {
        name: "endpoint",
        default: DefaultValue::Derived("the provider's"),
        help: "URL of the S3 API without the bucket, with its path if the API is below one, such as \
               `https://example.com/storage/v1/s3`. In the agent's own configuration outside the app, \
               `file:///a/directory` stores backups in a directory that only the agent's user can read",
        ..CONNECTION
    },
    Setting {
        name: "session_token",
        kind: SettingKind::Word,
        secrecy: Secrecy::Secret,
        help: "token of a temporary access key",
        ..CONNECTION
    },
    Setting {
        name: "credentials",
        kind: SettingKind::Choice(&["key", "environment"]),
        default: DefaultValue::Value("key"),
        help: "`environment` reads the key from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and \
               `AWS_SESSION_TOKEN`",
        ..AGENT
    },
    Setting {
        name: "addressing",
        kind: SettingKind::Choice(&["auto", "path", "virtual"]),
        default: DefaultValue::Value("auto"),
        help: "URL style: bucket in the `path`, or `virtual` for the host name",
        ..TUNING
    },
    Setting {
        name: "checksum",
        kind: SettingKind::Choice(&["auto", "sha256", "crc64nvme", "crc32c", "off"]),
        default: DefaultValue::Value("auto"),
        help: "[the checksum of a part](development/integrity.md#the-checksum-of-a-part). `sha256` is taken everywhere; \
               `crc64nvme` and `crc32c` halve the CPU time; `auto` begins with `crc64nvme` for AWS, Garage and SeaweedFS, \
               otherwise with `sha256`, and changes to one that the server verifies; `off` relies on TLS alone",
        ..STORAGE
    },
    Setting {
        name: "storage_class",
        kind: SettingKind::Word,
        default: DefaultValue::Derived("the bucket's"),
        help: "storage class of the backups, such as `STANDARD_IA`; archive classes that must be restored before \
               reading are refused",
        ..STORAGE
    },
    Setting {
        name: "encryption",
        kind: SettingKind::Choice(&["none", "AES256", "aws:kms", "SSE-C"]),
        default: DefaultValue::Value("none"),
        help: "encryption at the provider, in addition to Home Assistant's own; `SSE-C` uses a key of your own",
        section: Section::Storage,
        ..CONNECTION
    },
    Setting {
        name: "encryption_key",
        kind: SettingKind::Word,
        secrecy: Secrecy::Secret,
        help: "for `aws:kms`, the ID or ARN of the key; for `SSE-C`, 32 bytes in Base64 (`openssl rand -base64 \
               32`). Keep a copy: without it, the backups can't be read",
        section: Section::Storage,
        ..CONNECTION
    },
    Setting {
        name: "part_size",
        kind: SettingKind::Number(PART_SIZE),
        default: DefaultValue::Value("8 MiB"),
        help: "size of a part; it grows automatically for a very large backup. Larger parts need more memory",
        presets: &["8 MiB", "16 MiB", "32 MiB", "64 MiB"],
        ..SPEED
    },
    Setting {
        name: "concurrency",
        kind: SettingKind::Number(Number {
            unit: Unit::Count,
            min: 1,
            max: 16,
            none: &[],
        }),
        default: DefaultValue::Value("4"),
        help: "parts or reads in flight. With 8, a transfer fills a gigabit line with a round trip of 50 ms. It takes \
               about 95 MiB of memory instead of about 60",
        ..SPEED
    },
    Setting {
        name: "upload_limit",
        kind: SettingKind::Number(RATE),
        help: "speed limit per second for all uploads to this location, such as `2 MB/s` or `16 Mbit/s`; 0 means none",
        presets: LIMITS,
        ..SPEED
    },
    Setting {
        name: "download_limit",
        kind: SettingKind::Number(RATE),
        help: "speed limit per second for all downloads from this location, such as `2 MB/s` or `16 Mbit/s`; 0 means none",
        presets: LIMITS,
        ..SPEED
    },
    Setting {
        name: "outage_seconds",
        kind: SettingKind::Number(Number {
            unit: Unit::Seconds,
            min: 0,
            max: u64::MAX,
            none: &[],
        }),
        default: DefaultValue::Value("900"),
        help: "seconds that a transfer waits for unreachable storage",
        ..TUNING
    },
    Setting {
        name: "idle_seconds",
        kind: SettingKind::Number(Number {
            unit: Unit::Seconds,
            min: 1,
            max: 3600,
            none: &[],
        }),
        default: DefaultValue::Value("60"),
        help: "seconds without data before a request is retried; longer on slow lines, and ten times as long for \
               server-side copies",
        ..TUNING
    },
    Setting {
        name: "verify_every",
        kind: SettingKind::Number(Number {
            unit: Unit::Hours,
            min: HOUR,
            max: 366 * DAY,
            none: &["off", "0"],
        }),
        default: DefaultValue::Value("off"),
        help: "interval of automatic verification, such as `7d`",
        presets: &["1d", "7d", "30d"],
        ..VERIFICATION
    },
    Setting {
        name: "verify_sample",
        kind: SettingKind::Number(Number {
            unit: Unit::Count,
            min: 1,
            max: u64::MAX,
            none: &["all"],
        }),
        default: DefaultValue::Value("1"),
        help: "backups per run; the agent starts with those verified longest ago",
        presets: &["1", "3", "10", "all"],
        ..VERIFICATION
    },
    Setting {
        name: "verify_mode",
        kind: SettingKind::Choice(&["quick", "full"]),
        default: DefaultValue::Value("full"),
        help: "`full` downloads each backup, which [costs egress](guides/verify.md); `quick` checks the metadata, the \
               size and the headers",
        ..VERIFICATION
    },
    Setting {
        name: "ca_certificate",
        kind: SettingKind::Pem,
        secrecy: Secrecy::Private,
        help: "PEM of a certificate authority to trust in addition to the system's: the PEM itself, also on one \
               line; or, in the agent's own configuration, a file such as `/share/house.pem`",
        ..CONNECTION
    },
    Setting {
        name: "certificate_sha256",
        help: "SHA-256 fingerprint of the server's certificate. The agent then trusts this certificate only, whatever its \
               issuer, names and dates; `ca_certificate` and the system's authorities do not matter",
        ..CONNECTION
    },
    Setting {
        name: "proxy",
        kind: SettingKind::Proxy,
        secrecy: Secrecy::Secret,
        help: "URL of an HTTP or SOCKS5 proxy, such as `http://proxy.example.com:3128` or `socks5h://192.0.2.7:1080`; \
               `environment` uses [the proxy of the agent's environment](configuration.md#proxies)",
        ..CONNECTION
    },
    Setting {
        name: "id",
        default: DefaultValue::Derived("derived once from endpoint, bucket and prefix"),
        help: "stable ID that Home Assistant uses for this location; lower-case letters, digits, `-`, `_`; at most \
               64",
        section: Section::Connection,
        has_fallback: true,
        ..APP
    },
];

/// Bounds of a part.
///
/// The minimum is S3's own; the last part of an upload may be smaller. Source: "Amazon S3 multipart upload limits" in
/// Amazon's user guide. Parts above the maximum only cost memory: 10,000 of these hold 5 TB, S3's largest object.
pub const PART_SIZE: Number = Number {
    unit: Unit::Bytes,
    min: 5 * MIB,
    max: 512 * MIB,
    none: &[],
};

/// Limits that the form offers: lines of a home, and shares of them.
const LIMITS: &[&str] = &[
    "1 MB/s",
    "2 MB/s",
    "5 MB/s",
    "10 MB/s",
    "16 Mbit/s",
    "100 Mbit/s",
];

/// A limit of transfers. Less than the minimum takes a day for a gigabyte.
const RATE: Number = Number {
    unit: Unit::Rate,
    min: 16 * KIB,
    max: u64::MAX,
    none: &["0"],
};
