//! The one table of settings.
//!
//! A row is all that the agent knows of a setting: the parser and its error texts ([`super::reader`]), the report for
//! bugs ([`super::report`]), `GET /v1/settings` ([`form`]), the tables of `docs/configuration.md` and `addon/DOCS.md`, and
//! the schema in `addon/config.yaml` follow from it. `scripts/generate` writes the files. The words of a setting in Home
//! Assistant's forms are `settings.NAME` in `translations/`.

pub mod form;
mod kind;
mod location;

use serde::Serialize;
use utoipa::ToSchema;

pub use kind::{Number, SettingKind, Unit};
pub use location::{LOCATION, PART_SIZE};

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key, as in `agent.toml`.
    pub name: &'static str,
    /// Its values.
    pub kind: SettingKind,
    /// The value where none is set.
    pub default: DefaultValue,
    /// Whether a location needs it.
    pub is_required: bool,
    /// Whether the default replaces an invalid value: the location works without it, and no data is less safe.
    pub has_fallback: bool,
    /// Who may see its value.
    pub secrecy: Secrecy,
    /// Where it can be set besides `agent.toml` and the environment.
    pub places: Places,
    /// Its part of the form *Add a bucket*; for the endpoint and the region the provider decides.
    pub section: Section,
    /// Values that the form offers; others are allowed too.
    pub presets: &'static [&'static str],
    /// Its meaning, for the reference: Markdown, no full stop.
    pub help: &'static str,
}

impl Setting {
    /// The default as written in a file, where one is fixed.
    pub(in crate::config) fn default_text(&self) -> Option<&'static str> {
        match self.default {
            DefaultValue::Value(text) => Some(text),
            _ => None,
        }
    }
}

/// The value of a setting that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
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
    /// All readers of a bug report.
    Public,
    /// Forms show it, bug reports do not: users may swap the two halves of a key.
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
    /// Closed at first, as all that follow: how the agent reaches the server.
    Connection,
    /// Parts and limits.
    Speed,
    /// How the provider stores backups.
    Storage,
    /// Scheduled verification.
    Verification,
}

impl Section {
    /// Its name in the protocol and in `translations/`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Connection => "connection",
            Self::Speed => "speed",
            Self::Storage => "storage",
            Self::Verification => "verification",
        }
    }
}

/// A setting without a row of its own, such as a provider's field: a text.
pub(super) const PLAIN: Setting = Setting {
    name: "",
    kind: SettingKind::Text,
    default: DefaultValue::None,
    is_required: false,
    has_fallback: false,
    secrecy: Secrecy::Public,
    places: Places {
        app: false,
        form: false,
    },
    section: Section::Main,
    presets: &[],
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

/// A setting that most buckets need.
const MAIN: Setting = Setting {
    places: Places {
        app: true,
        form: true,
    },
    ..AGENT
};

/// A setting that some networks and servers need.
const CONNECTION: Setting = Setting {
    section: Section::Connection,
    ..MAIN
};

/// A setting that no bucket needs.
const TUNING: Setting = Setting {
    has_fallback: true,
    ..CONNECTION
};

/// One about speed.
const SPEED: Setting = Setting {
    section: Section::Speed,
    ..TUNING
};

/// One about what the provider does with a backup.
const STORAGE: Setting = Setting {
    section: Section::Storage,
    ..TUNING
};

/// One about scheduled verification.
const VERIFICATION: Setting = Setting {
    section: Section::Verification,
    ..TUNING
};

/// All tables, each with its section of `agent.toml`.
pub const TABLES: [(&str, &[Setting]); 4] = [
    ("", GENERAL),
    ("log", LOG),
    ("listen", LISTEN),
    ("locations", LOCATION),
];

/// Settings outside of sections.
pub const GENERAL: &[Setting] = &[
    Setting {
        name: "state_dir",
        kind: SettingKind::Path,
        default: DefaultValue::Derived(
            "`/var/lib/s3-backup-agent`; for a user other than root, `s3-backup-agent` in `$XDG_STATE_HOME` or `~/.local/state`",
        ),
        help: "directory for what must survive a restart: lock, agent ID, journals, verification results, the \
               embedded location. If the agent can't write it, it runs with a warning: interrupted uploads start \
               again, and verification results are lost when it stops",
        ..AGENT
    },
    // An option of its own: Supervisor refuses options without a section that the schema has.
    Setting {
        name: "log_level",
        kind: LOG_LEVEL,
        default: DefaultValue::Value("info"),
        help: "the agent logs records of this level and above; `debug` shows each request to the storage",
        ..APP
    },
];

const LOG_LEVEL: SettingKind = SettingKind::Choice(&["error", "warn", "info", "debug", "trace"]);

/// `[log]`.
pub const LOG: &[Setting] = &[
    Setting {
        name: "level",
        kind: LOG_LEVEL,
        default: DefaultValue::Derived("`log_level`"),
        help: "the same as `log_level`, and wins",
        ..AGENT
    },
    Setting {
        name: "format",
        kind: SettingKind::Choice(&["plain", "json"]),
        default: DefaultValue::Value("plain"),
        help: "how log records are written",
        ..AGENT
    },
];

/// `[listen]`.
pub const LISTEN: &[Setting] = &[
    Setting {
        name: "socket",
        kind: SettingKind::Path,
        default: DefaultValue::Derived("`agent.sock` in the state directory"),
        help: "path of the Unix socket",
        ..AGENT
    },
    Setting {
        name: "socket_mode",
        kind: SettingKind::Choice(&["0600", "0660", "0666"]),
        default: DefaultValue::Value("0600"),
        help: "who may use the socket: the agent's user, its group too, or all users of this machine; they must also be able \
               to enter its folder",
        ..AGENT
    },
    Setting {
        name: "socket_group",
        default: DefaultValue::Derived("the group of the agent's user"),
        help: "name or number of the group of the socket, for `socket_mode = \"0660\"`; the agent's user must be a member, or \
               root",
        ..AGENT
    },
    Setting {
        name: "tcp",
        kind: SettingKind::Address,
        help: "address and port for other hosts, such as `\"192.0.2.7:8099\"`; needs a token",
        ..AGENT
    },
    Setting {
        name: "tls_cert",
        kind: SettingKind::Path,
        help: "PEM file of the certificate; without it, `tcp` and `page` work on loopback only",
        ..AGENT
    },
    Setting {
        name: "tls_key",
        kind: SettingKind::Path,
        help: "PEM file of the private key",
        ..AGENT
    },
    Setting {
        name: "tcp_without_tls",
        kind: SettingKind::Boolean,
        default: DefaultValue::Value("false"),
        help: "allows `tcp` and `page` without TLS, for a network that is safe by itself",
        ..AGENT
    },
    Setting {
        name: "page",
        kind: SettingKind::Address,
        help: "address and port of [the agent's page](#the-page), such as `\"127.0.0.1:8098\"`",
        ..AGENT
    },
    Setting {
        name: "page_from",
        kind: SettingKind::Addresses,
        default: DefaultValue::Derived("`[\"127.0.0.1\", \"::1\"]`"),
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
        kind: SettingKind::Path,
        help: "file with the token. If it's missing or empty, the agent creates it with a random token, mode 0600. \
               If it can't, it doesn't start",
        ..AGENT
    },
];
