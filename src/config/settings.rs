//! The one table of settings.
//!
//! A row is all that the agent knows of a setting: the parser and its error texts ([`super::reader`]), the report for
//! bugs ([`super::report`]), `GET /v1/settings` ([`form`]), the tables of `docs/configuration.md` and `addon/DOCS.md`, and
//! the schema in `addon/config.yaml` follow from it. `scripts/generate` writes the files. The words of a setting in Home
//! Assistant's forms are `settings.NAME` in `translations/`.

pub mod form;
mod kind;

use serde::Serialize;
use utoipa::ToSchema;

pub use kind::{Kind, Number, Unit};

use crate::units::{DAY, HOUR, KIB, MIB};

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key, as in `agent.toml`.
    pub name: &'static str,
    /// Its values.
    pub kind: Kind,
    /// The value where none is set.
    pub default: Default,
    /// Whether a location needs it.
    pub is_required: bool,
    /// Who may see its value.
    pub secrecy: Secrecy,
    /// Where it can be set besides `agent.toml` and the environment.
    pub places: Places,
    /// Its part of the form *Add a bucket*; for the endpoint and the region the provider decides.
    pub section: Section,
    /// Its meaning, for the reference: Markdown, no full stop.
    pub help: &'static str,
}

/// The value of a setting that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// None.
    None,
    /// This one, written as in a file.
    Value(&'static str),
    /// One that depends on other things, in words.
    Derived(&'static str),
}

/// Who may see a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Anybody who reads a bug report.
    Public,
    /// Forms show it, bug reports do not: people mix up the two halves of a key.
    Private,
    /// It never leaves the agent, and forms do not show what is typed.
    Secret,
}

/// Where Home Assistant offers a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Among the app's options.
    pub app: bool,
    /// In the form *Add a bucket*.
    pub form: bool,
}

/// A part of the form *Add a bucket*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// Always open.
    Main,
    /// Closed at first.
    Advanced,
}

/// A setting without a row of its own, such as a provider's field: a text.
pub(super) const PLAIN: Setting = Setting {
    name: "",
    kind: Kind::Text,
    default: Default::None,
    is_required: false,
    secrecy: Secrecy::Public,
    places: Places {
        app: false,
        form: false,
    },
    section: Section::Main,
    help: "",
};

/// A setting that Home Assistant does not offer.
const AGENT: Setting = PLAIN;

/// A setting of the app.
const APP: Setting = Setting {
    places: Places {
        app: true,
        form: false,
    },
    ..AGENT
};

/// A setting that people need for most buckets.
const MAIN: Setting = Setting {
    places: Places {
        app: true,
        form: true,
    },
    ..AGENT
};

/// A setting that few people need.
const ADVANCED: Setting = Setting {
    section: Section::Advanced,
    ..MAIN
};

/// All tables, each with its section of `agent.toml`.
pub const TABLES: [(&str, &[Setting]); 4] = [
    ("", GENERAL),
    ("log", LOG),
    ("listen", LISTEN),
    ("locations", LOCATION),
];

/// Settings outside of sections.
pub const GENERAL: &[Setting] = &[Setting {
    name: "state_dir",
    kind: Kind::Path,
    default: Default::Derived(
        "`/var/lib/s3-backup-agent`; for a user other than root, `s3-backup-agent` in `$XDG_STATE_HOME` or `~/.local/state`",
    ),
    help: "directory for what must survive a restart: lock, agent ID, journals, verification results, the \
               embedded location. If the agent can't write it, it runs with a warning: interrupted uploads start \
               again, and verification results are lost when it stops",
    ..AGENT
}];

/// `[log]`.
pub const LOG: &[Setting] = &[
    Setting {
        name: "level",
        kind: Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        default: Default::Value("info"),
        help: "records below this level are left out; `debug` shows each request to the storage",
        ..APP
    },
    Setting {
        name: "format",
        kind: Kind::Choice(&["plain", "json"]),
        default: Default::Value("plain"),
        help: "how log records are written",
        ..AGENT
    },
];

/// `[listen]`.
pub const LISTEN: &[Setting] = &[
    Setting {
        name: "socket",
        kind: Kind::Path,
        default: Default::Derived("`agent.sock` in the state directory"),
        help: "path of the Unix socket, mode 0600",
        ..AGENT
    },
    Setting {
        name: "tcp",
        kind: Kind::Address,
        help: "address and port for other hosts, such as `\"192.0.2.7:8099\"`; needs a token",
        ..AGENT
    },
    Setting {
        name: "tls_cert",
        kind: Kind::Path,
        help: "PEM file of the certificate; without it, `tcp` and `page` work on loopback only",
        ..AGENT
    },
    Setting {
        name: "tls_key",
        kind: Kind::Path,
        help: "PEM file of the private key",
        ..AGENT
    },
    Setting {
        name: "tcp_without_tls",
        kind: Kind::Boolean,
        default: Default::Value("false"),
        help: "allows `tcp` and `page` without TLS, for a network that is safe by itself",
        ..AGENT
    },
    Setting {
        name: "page",
        kind: Kind::Address,
        help: "address and port of [the agent's page](#the-page), such as `\"127.0.0.1:8099\"`",
        ..AGENT
    },
    Setting {
        name: "page_from",
        kind: Kind::Addresses,
        default: Default::Derived("`[\"127.0.0.1\", \"::1\"]`"),
        help: "IP addresses that may open the page without the token",
        ..AGENT
    },
    Setting {
        name: "token",
        secrecy: Secrecy::Secret,
        help: "token that every call needs, also on the socket; at least 16 characters",
        ..AGENT
    },
    Setting {
        name: "token_file",
        kind: Kind::Path,
        help: "file with the token. If it's missing or empty, the agent creates it with a random token, mode 0600. \
               If it can't, it doesn't start",
        ..AGENT
    },
];

/// `[[locations]]`, in the order of the app's options. The first two are the heading of a location there.
pub const LOCATION: &[Setting] = &[
    Setting {
        name: "name",
        default: Default::Derived("bucket and prefix"),
        help: "name in Home Assistant",
        ..MAIN
    },
    Setting {
        name: "provider",
        kind: Kind::Provider,
        default: Default::Value("other"),
        help: "one of [the providers](providers.md), which sets the endpoint's form, the region and the provider's \
               quirks; its own fields, such as `account_id`, stand beside it",
        places: APP.places,
        ..MAIN
    },
    Setting {
        name: "bucket",
        is_required: true,
        help: "the bucket's name; the bucket must already exist",
        ..MAIN
    },
    Setting {
        name: "prefix",
        help: "folder in the bucket; two prefixes of one bucket are two locations",
        ..MAIN
    },
    Setting {
        name: "access_key_id",
        kind: Kind::Word,
        is_required: true,
        secrecy: Secrecy::Private,
        help: "ID of the access key, which needs permission to list, read, write and delete objects",
        ..MAIN
    },
    Setting {
        name: "secret_access_key",
        kind: Kind::Word,
        is_required: true,
        secrecy: Secrecy::Secret,
        help: "secret of the access key",
        ..MAIN
    },
    Setting {
        name: "region",
        kind: Kind::Word,
        default: Default::Derived("the endpoint's, or the provider's"),
        help: "region that requests are signed for; without one, the agent uses the region that the server names",
        ..ADVANCED
    },
    Setting {
        name: "endpoint",
        default: Default::Derived("the provider's"),
        help: "URL of the S3 API without the bucket; or, in the agent's own configuration, `file:///a/directory`, \
               readable by the agent's own user alone",
        ..ADVANCED
    },
    Setting {
        name: "session_token",
        kind: Kind::Word,
        secrecy: Secrecy::Secret,
        help: "token of a temporary access key",
        ..ADVANCED
    },
    Setting {
        name: "credentials",
        kind: Kind::Choice(&["key", "environment"]),
        default: Default::Value("key"),
        help: "`environment` reads the key from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and \
               `AWS_SESSION_TOKEN`",
        ..AGENT
    },
    Setting {
        name: "addressing",
        kind: Kind::Choice(&["auto", "path", "virtual"]),
        default: Default::Value("auto"),
        help: "URL style: bucket in the `path`, or `virtual` for the host name",
        ..ADVANCED
    },
    Setting {
        name: "checksum",
        kind: Kind::Choice(&["auto", "sha256", "crc64nvme", "crc32c", "off"]),
        default: Default::Value("auto"),
        help: "[the checksum of a part](concepts/integrity.md#the-checksum-of-a-part). `sha256` works everywhere; \
               `crc64nvme` and `crc32c` halve the CPU time; `auto` uses `crc64nvme` for AWS and Garage, otherwise \
               `sha256`; `off` relies on TLS alone",
        ..ADVANCED
    },
    Setting {
        name: "storage_class",
        kind: Kind::Word,
        default: Default::Derived("the bucket's"),
        help: "storage class of the backups, such as `STANDARD_IA`; archive classes that must be restored before \
               reading are refused",
        ..ADVANCED
    },
    Setting {
        name: "encryption",
        kind: Kind::Choice(&["none", "AES256", "aws:kms", "SSE-C"]),
        default: Default::Value("none"),
        help: "encryption at the provider, in addition to Home Assistant's own; `SSE-C` uses a key of your own",
        ..ADVANCED
    },
    Setting {
        name: "encryption_key",
        kind: Kind::Word,
        secrecy: Secrecy::Secret,
        help: "for `aws:kms`, the ID or ARN of the key; for `SSE-C`, 32 bytes in Base64 (`openssl rand -base64 \
               32`). Keep a copy: without it, the backups can't be read",
        ..ADVANCED
    },
    Setting {
        name: "part_size",
        kind: Kind::Number(PART_SIZE),
        default: Default::Value("8 MiB"),
        help: "size of a part; it grows automatically for a very large backup. Larger parts need more memory",
        ..ADVANCED
    },
    Setting {
        name: "concurrency",
        kind: Kind::Number(Number {
            unit: Unit::Count,
            min: 1,
            max: 16,
            none: &[],
        }),
        default: Default::Value("4"),
        help: "parts or reads in flight. 8 fills a gigabit line with a round trip of 50 ms, and takes 94 MiB of \
               memory instead of 63",
        ..ADVANCED
    },
    Setting {
        name: "upload_limit",
        kind: Kind::Number(RATE),
        help: "speed limit per second for all uploads to this location, such as `2 MiB`; 0 means none",
        ..ADVANCED
    },
    Setting {
        name: "download_limit",
        kind: Kind::Number(RATE),
        help: "speed limit per second for all downloads from this location, such as `2 MiB`; 0 means none",
        ..ADVANCED
    },
    Setting {
        name: "outage_seconds",
        kind: Kind::Number(Number {
            unit: Unit::Seconds,
            min: 0,
            max: u64::MAX,
            none: &[],
        }),
        default: Default::Value("900"),
        help: "seconds that a transfer waits for unreachable storage",
        ..ADVANCED
    },
    Setting {
        name: "idle_seconds",
        kind: Kind::Number(Number {
            unit: Unit::Seconds,
            min: 1,
            max: 3600,
            none: &[],
        }),
        default: Default::Value("60"),
        help: "seconds without data before a request is retried; longer on slow lines, and ten times as long for \
               server-side copies",
        ..ADVANCED
    },
    Setting {
        name: "verify_every",
        kind: Kind::Number(Number {
            unit: Unit::Hours,
            min: HOUR,
            max: 366 * DAY,
            none: &["off", "0"],
        }),
        default: Default::Value("off"),
        help: "interval of automatic verification, such as `7d`",
        ..ADVANCED
    },
    Setting {
        name: "verify_sample",
        kind: Kind::Number(Number {
            unit: Unit::Count,
            min: 1,
            max: u64::MAX,
            none: &["all"],
        }),
        default: Default::Value("1"),
        help: "backups per run, oldest verification first",
        ..ADVANCED
    },
    Setting {
        name: "verify_mode",
        kind: Kind::Choice(&["quick", "full"]),
        default: Default::Value("full"),
        help: "`full` downloads each backup, which [costs egress](guides/verify.md); `quick` reads headers and \
               sizes",
        ..ADVANCED
    },
    Setting {
        name: "ca_certificate",
        kind: Kind::Pem,
        secrecy: Secrecy::Private,
        help: "PEM of a certificate authority to trust in addition to the system's: the PEM itself, also on one \
               line; or, in the agent's own configuration, a file such as `/share/house.pem`",
        ..ADVANCED
    },
    Setting {
        name: "proxy",
        kind: Kind::Proxy,
        secrecy: Secrecy::Secret,
        help: "URL of an HTTP proxy, such as `http://proxy.example.com:3128`",
        ..ADVANCED
    },
    Setting {
        name: "id",
        default: Default::Derived("derived from endpoint, bucket and prefix"),
        help: "stable ID that Home Assistant uses for this location; lower-case letters, digits, `-`, `_`; at most \
               64",
        section: Section::Advanced,
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

/// A limit of transfers. Less than the minimum takes a day for a gigabyte.
const RATE: Number = Number {
    unit: Unit::Rate,
    min: 16 * KIB,
    max: u64::MAX,
    none: &["0"],
};
