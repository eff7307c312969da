//! An error as everything outside the agent sees it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Error, Kind, Placeholders};

/// An error in a status, a report or an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Failure {
    /// Code of its [`Kind`]; the command line has a few codes of its own.
    #[schema(value_type = Kind)]
    pub code: &'static str,
    /// Code of its reason; same as `code` when no finer reason is known.
    pub reason: &'static str,
    /// Sentence that names the bucket and key.
    pub detail: String,
    /// What the user can do; empty when there is nothing to add.
    pub hint: String,
    /// The provider's own error code.
    pub provider_code: Option<String>,
    /// What it is about, by name, for a sentence in another language: `said` is the provider's or the system's own words.
    #[serde(skip_serializing_if = "Placeholders::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, String>, required = false)]
    pub placeholders: Placeholders,
    /// Time of its first occurrence, RFC 3339; only in a location's status and in an upload that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, pattern = "Z$")]
    pub since: Option<String>,
}

impl Failure {
    /// Whether the same call may succeed later without a change by the user.
    #[must_use]
    pub fn retryable(&self) -> bool {
        Kind::ALL
            .iter()
            .any(|kind| kind.code() == self.code && kind.facts().retryable)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            code: error.kind().code(),
            reason: error.reason(),
            detail: error.detail().to_owned(),
            hint: error.hint().to_owned(),
            provider_code: error.provider_code().map(str::to_owned),
            placeholders: error.placeholders().clone(),
            since: None,
        }
    }
}
