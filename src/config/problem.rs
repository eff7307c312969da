//! Problems of a configuration.

use std::fmt;
use std::path::Path;

use super::settings::TABLES;
use crate::error::{Kind, Placeholders, Reason};

/// Every [kind](Problem::kind) of problem, for translations.
pub const KINDS: [&str; 32] = [
    "bad_folder",
    "bad_id",
    "bad_port",
    "bad_variable",
    "choose_one",
    "damaged_certificate",
    "endpoint_missing",
    "endpoint_with_more",
    "key_from_environment",
    "key_without_encryption",
    "missing",
    "misspelt_provider",
    "misspelt_setting",
    "needed_for_endpoint",
    "no_directory",
    "not_a_bucket",
    "not_a_certificate",
    "not_a_customer_key",
    "not_a_fingerprint",
    "not_a_list",
    "not_a_number",
    "not_a_proxy",
    "not_a_size",
    "not_a_speed",
    "not_a_text",
    "not_a_time",
    "not_a_url",
    "not_seconds",
    "not_virtual",
    "private_key",
    "unknown_provider",
    "unknown_setting",
];

/// One problem of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, as in `locations[0].bucket`.
    pub key: String,
    /// The file or environment variable with the value.
    pub source: Option<String>,
    /// What is wrong and what to write instead. Never holds a secret's value.
    pub message: String,
    /// The exact cause, for common mistakes.
    pub reason: Option<Reason>,
    /// Code of what is wrong, where no reason says more. Home Assistant has a sentence for each.
    pub kind: Option<&'static str>,
    /// What the sentence is about, by name. Never a secret's value.
    pub placeholders: Placeholders,
    /// A value that works instead.
    pub suggestion: Option<String>,
    /// Values of other settings that belong to it.
    pub others: Vec<(&'static str, String)>,
    /// Whether its default replaces the value, so that the location still works.
    pub has_fallback: bool,
}

impl Problem {
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            source: None,
            message: message.into(),
            reason: None,
            kind: None,
            placeholders: Placeholders::new(),
            suggestion: None,
            others: Vec::new(),
            has_fallback: false,
        }
    }

    /// Sets the code and what it is about.
    pub(super) fn of_kind<const N: usize>(
        &mut self,
        kind: &'static str,
        placeholders: [(&'static str, String); N],
    ) -> &mut Self {
        debug_assert!(KINDS.contains(&kind), "{kind}");
        self.kind = Some(kind);
        self.placeholders.extend(placeholders);
        self
    }

    /// The code of what is wrong.
    #[must_use]
    pub fn code(&self) -> &'static str {
        let own = self.reason.map(Reason::code).or(self.kind);
        own.unwrap_or_else(|| Kind::InvalidRequest.code())
    }

    /// What an agent that starts in spite of it does: the default's use, or the location's absence.
    #[must_use]
    pub fn effect(&self) -> Option<&'static str> {
        if self.has_fallback {
            Some("default")
        } else {
            self.key.starts_with("locations[").then_some("missing")
        }
    }

    /// Says what the agent does about it, for an agent that starts in spite of it.
    pub(super) fn with_effect(mut self) -> Self {
        let effect = match self.effect() {
            Some("default") => "The default is used instead.",
            Some(_) => "The location is missing until this is corrected.",
            None => return self,
        };
        let end = if self.message.ends_with(['.', '?']) {
            ""
        } else {
            "."
        };
        self.message = format!("{}{end} {effect}", self.message);
        self
    }

    /// A problem of a whole file.
    pub(super) fn of_file(file: &Path, key: &str, message: impl Into<String>) -> Self {
        Self {
            source: Some(file.display().to_string()),
            ..Self::new(key, message)
        }
    }
}

/// The message about a key that its section does not know.
pub(super) fn unknown_key(key: &str, meant: Option<&str>) -> String {
    let mut homes = TABLES
        .iter()
        .filter(|(_, rows)| rows.iter().any(|row| row.name == key));
    match (meant, homes.next()) {
        (Some(meant), _) => format!("is not a known key: did you mean \"{meant}\"?"),
        (None, None) => "is not a known key".to_owned(),
        (None, Some(("", _))) => {
            "is not a known key here: write it at the top of the file, above all sections"
                .to_owned()
        }
        (None, Some(("locations", _))) => {
            "is not a known key here: write it below the line [[locations]]".to_owned()
        }
        (None, Some((section, _))) => {
            format!("is not a known key here: write it below the line [{section}]")
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        match &self.source {
            Some(source) => write!(f, " (from {source})"),
            None => Ok(()),
        }
    }
}

/// All problems of the configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} problem{}:{}", .0.len(), if .0.len() == 1 { "" } else { "s" }, lines(.0))]
pub struct Problems(pub Vec<Problem>);

fn lines(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |text, problem| {
        format!("{text}\n  {problem}")
    })
}
