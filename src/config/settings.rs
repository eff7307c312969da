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
    /// Its part of the form *Add a bucket*.
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

/// A setting of the agent alone, which Home Assistant does not offer.
const AGENT: Setting = Setting {
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
    help: "directory for the agent's lock, its id, the embedded location, journals of unfinished uploads and \
           verification results. If the agent cannot write there, it runs with a warning: interrupted uploads restart, \
           and verification results are lost when the agent stops",
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
        help: "PEM file with the certificate; without it, `tcp` and `page` are limited to loopback",
        ..AGENT
    },
    Setting {
        name: "tls_key",
        kind: Kind::Path,
        help: "PEM file with the private key of `tls_cert`",
        ..AGENT
    },
    Setting {
        name: "tcp_without_tls",
        kind: Kind::Boolean,
        default: Default::Value("false"),
        help: "allows `tcp` and `page` without TLS on a network that is safe by itself",
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
        help: "token that every call needs, on the socket too; 16 characters or more",
        ..AGENT
    },
    Setting {
        name: "token_file",
        kind: Kind::Path,
        help: "file with the token. If it is missing or empty, the agent writes a random token into it, mode 0600. If \
               that fails, the agent does not start, because no client could know the token",
        ..AGENT
    },
];

/// `[[locations]]`, in the order of the app's options. The first two are the heading of a location there.
pub const LOCATION: &[Setting] = &[
    Setting {
        name: "name",
        default: Default::Derived("bucket and prefix"),
        help: "name that Home Assistant shows",
        ..MAIN
    },
    Setting {
        name: "provider",
        kind: Kind::Provider,
        default: Default::Value("other"),
        help: "one of [the providers](providers.md), which sets the endpoint's form, the region and the provider's \
               peculiarities; some providers have settings of their own, such as `account_id`",
        places: APP.places,
        ..MAIN
    },
    Setting {
        name: "bucket",
        is_required: true,
        help: "name of the bucket, which must exist",
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
        help: "ID of the access key, which must be allowed to list, read, write and delete",
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
        help: "region that requests are signed for; if it is not set, the agent takes the one that the server names",
        ..MAIN
    },
    Setting {
        name: "endpoint",
        default: Default::Derived("the provider's"),
        help: "URL of the S3 API without the bucket. In the agent's own configuration also `file:///a/directory`: only \
               the agent's user can read what it writes there",
        ..MAIN
    },
    Setting {
        name: "session_token",
        kind: Kind::Word,
        secrecy: Secrecy::Secret,
        help: "session token of a temporary access key",
        ..ADVANCED
    },
    Setting {
        name: "credentials",
        kind: Kind::Choice(&["key", "environment"]),
        default: Default::Value("key"),
        help: "`environment` reads the access key from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and \
               `AWS_SESSION_TOKEN`; nothing else reads these",
        ..AGENT
    },
    Setting {
        name: "addressing",
        kind: Kind::Choice(&["auto", "path", "virtual"]),
        default: Default::Value("auto"),
        help: "place of the bucket's name in a request: in the `path`, or before the host name (`virtual`)",
        ..ADVANCED
    },
    Setting {
        name: "checksum",
        kind: Kind::Choice(&["auto", "sha256", "crc64nvme", "crc32c", "off"]),
        default: Default::Value("auto"),
        help: "checksum that the provider verifies. `sha256` works everywhere; `crc64nvme` and `crc32c` halve the CPU \
               time of an upload where the provider verifies them. `auto` starts with `crc64nvme` for AWS and Garage, \
               and falls back to `sha256` when the provider refuses it. `off` relies on TLS, and over `http://` on \
               nothing",
        ..ADVANCED
    },
    Setting {
        name: "storage_class",
        kind: Kind::Word,
        default: Default::Derived("the bucket's"),
        help: "storage class of the backups, such as `STANDARD_IA`; the agent refuses classes that must be restored \
               at the provider before reading",
        ..ADVANCED
    },
    Setting {
        name: "encryption",
        kind: Kind::Choice(&["none", "AES256", "aws:kms", "SSE-C"]),
        default: Default::Value("none"),
        help: "encryption at the provider; `SSE-C` uses a key of your own. Home Assistant's own encryption is \
               independent of it",
        ..ADVANCED
    },
    Setting {
        name: "encryption_key",
        kind: Kind::Word,
        secrecy: Secrecy::Secret,
        help: "for `aws:kms` the key's ID or ARN; for `SSE-C` 32 bytes in Base64 (`openssl rand -base64 32`). Keep a \
               copy: without it the backups cannot be read",
        ..ADVANCED
    },
    Setting {
        name: "part_size",
        kind: Kind::Number(Number {
            unit: Unit::Bytes,
            min: 5 * MIB,
            max: 512 * MIB,
            none: &[],
        }),
        default: Default::Value("8 MiB"),
        help: "size of a part; it grows for a very large backup. Larger parts need more memory",
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
        help: "parts or ranges in flight; 8 fills a gigabit line with a round trip of 50 ms, and needs 94 MiB of \
               memory instead of 63",
        ..ADVANCED
    },
    Setting {
        name: "upload_limit",
        kind: Kind::Number(RATE),
        help: "bytes a second for all uploads to this location together, such as `\"2 MiB\"`; 0 means no limit",
        ..ADVANCED
    },
    Setting {
        name: "download_limit",
        kind: Kind::Number(RATE),
        help: "bytes a second for all downloads from this location together; 0 means no limit",
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
        help: "how long a transfer retries while the storage is unreachable",
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
        help: "idle timeout of a request, after which it is retried on a new connection; up to ten times longer on a \
               slow line, and while the storage assembles or copies parts",
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
        help: "interval of scheduled verification, in hours or days, such as `\"7d\"`",
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
        help: "backups for each scheduled run, those first that were not verified for the longest time; or `\"all\"`",
        ..ADVANCED
    },
    Setting {
        name: "verify_mode",
        kind: Kind::Choice(&["quick", "full"]),
        default: Default::Value("full"),
        help: "`full` reads each backup whole, which [costs egress](reliability.md#verifying); `quick` reads its \
               headers",
        ..ADVANCED
    },
    Setting {
        name: "ca_certificate",
        kind: Kind::Pem,
        secrecy: Secrecy::Private,
        help: "certificate of an authority to trust beside the system's: the PEM itself, on one line if need be; in \
               the agent's own configuration also a PEM file",
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
        help: "lower-case letters, digits, `-` and `_`; Home Assistant keeps its settings for the location under it",
        ..APP
    },
];

/// A limit of transfers. Less than the minimum takes a day for a gigabyte.
const RATE: Number = Number {
    unit: Unit::Rate,
    min: 16 * KIB,
    max: u64::MAX,
    none: &["0"],
};
