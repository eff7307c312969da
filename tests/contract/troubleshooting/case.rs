//! A case of the table: its cause, and the result of `check`.

use crate::lab::quirks::Certificate;
use crate::lab::{Location, Quirk};

/// A common failure.
pub(super) struct Case {
    /// The cause, in a user's words after finding it.
    pub(super) title: &'static str,
    /// All ways to reproduce the case.
    pub(super) made: &'static [Made],
    pub(super) outcome: Outcome,
    /// The setting for which `check` suggests a working value.
    pub(super) offers: Option<&'static str>,
    /// Words required in the hint.
    pub(super) hint: &'static [&'static str],
}

/// Result of `check`.
pub(super) enum Outcome {
    /// A step fails.
    Fails {
        step: &'static str,
        code: &'static str,
        reason: &'static str,
    },
    /// It succeeds with a warning, whose words include those of the hint.
    Warns { code: &'static str },
    /// It succeeds with a note about a setting.
    Notes {
        key: &'static str,
        reason: &'static str,
    },
}

/// A way to reproduce a case: a server, and a change to a working location.
pub(super) enum Made {
    /// The real server.
    Garage(Change),
    /// A deviating server.
    Imitation(&'static [Quirk], Change),
    /// A server with TLS, whose authority is in the settings.
    Tls(Certificate, Change),
    /// A port without a listener.
    Closed,
    /// A port that accepts connections and stays silent.
    Silent,
    /// A web server with this answer to everything.
    WebServer(&'static str),
    /// The same, with changed settings.
    Answering(&'static str, Change),
}

pub(super) type Change = fn(Location) -> Location;

pub(super) const fn fails(step: &'static str, code: &'static str, reason: &'static str) -> Outcome {
    Outcome::Fails { step, code, reason }
}

pub(super) const fn notes(key: &'static str, reason: &'static str) -> Outcome {
    Outcome::Notes { key, reason }
}
