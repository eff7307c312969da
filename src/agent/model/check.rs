//! Report of a location check.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::failure::Failure;
use crate::error::{Placeholders, Reason};

/// One step of a check.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Step)]
pub struct CheckStep {
    /// Name, one of `docs/development/protocol.md`'s; `settings` when the settings are not valid.
    #[schema(
        pattern = "^(settings|resolve|connect|tls|clock|signature|region|bucket|list|write|multipart|read|delete)$"
    )]
    pub step: &'static str,
    /// Whether it succeeded.
    pub ok: bool,
    /// Duration in milliseconds.
    pub duration_ms: u64,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Name of the invalid setting; only in `settings`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub key: Option<String>,
}

/// Result of a check.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Checked)]
pub struct CheckReport {
    /// Whether all steps succeeded.
    pub ok: bool,
    /// The steps, up to the first that failed.
    pub steps: Vec<CheckStep>,
    /// Settings that make every step succeed, or an endpoint without TLS that answers.
    pub corrected: Option<BTreeMap<String, String>>,
    /// Steps that fail even with `corrected`, which then is what the agent understood of invalid settings; empty if they
    /// stay invalid. Absent if every step succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, required = false)]
    pub retried: Option<Vec<CheckStep>>,
    /// Values detected for settings that are `auto`.
    pub found: Option<BTreeMap<String, String>>,
    /// Address of the folder that the settings lead to, the same for every location with this folder; none if they are invalid.
    pub folder: Option<String>,
    /// Id for a new location with these settings: that of an existing one with this folder, or the one that is remembered for
    /// it. None in a check of a location.
    pub location_id: Option<String>,
    /// Warnings; none of them makes the check fail.
    pub notes: Vec<CheckNote>,
}

/// A warning of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CheckNote {
    /// Its code.
    pub code: &'static str,
    /// A finer code, or the same as `code`.
    pub reason: &'static str,
    /// Name of the setting it is about.
    pub key: Option<String>,
    /// The warning as a sentence.
    pub message: String,
    /// What it is about, by name, for a sentence in another language.
    #[serde(skip_serializing_if = "Placeholders::is_empty")]
    #[schema(value_type = BTreeMap<String, String>, required = false)]
    pub placeholders: Placeholders,
    /// A value for that setting that may be meant; it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub suggestion: Option<String>,
}

/// The last check of a location.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LastCheck {
    /// When it ended, RFC 3339.
    #[schema(format = DateTime, pattern = "Z$")]
    pub checked_at: String,
    /// Its result.
    #[serde(flatten)]
    pub report: CheckReport,
}

impl CheckNote {
    /// Every reason, for translations.
    pub const REASONS: [&str; 13] = [
        "backups_elsewhere",
        "content_unverified",
        "fingerprint_unused",
        "plain_http",
        "clock_skew",
        "keeps_versions",
        "left_behind_object",
        "left_behind_list",
        "left_behind_upload",
        "short_secret",
        "slow_uplink",
        Reason::Archived.code(),
        Reason::SpacesRemoved.code(),
    ];
}

impl CheckStep {
    /// Names of the steps in their order, without `settings`. A directory has the last five. An endpoint without TLS has no
    /// `tls` step, and answers within `connect`.
    pub const NAMES: [&str; 12] = [
        "resolve",
        "connect",
        "tls",
        "clock",
        "signature",
        "region",
        "bucket",
        "list",
        "write",
        "multipart",
        "read",
        "delete",
    ];
}

impl CheckReport {
    /// Error of the first step that failed.
    #[must_use]
    pub fn error(&self) -> Option<&Failure> {
        self.steps.iter().find_map(|step| step.error.as_ref())
    }
}
