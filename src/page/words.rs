//! The page's texts. `scripts/generate` writes the files from `translations/`.

use std::collections::HashMap;

use axum::http::header::{ACCEPT_LANGUAGE, HeaderMap};
use serde::Deserialize;

use crate::agent::model::Failure;

/// All languages; the first is the fallback.
const FILES: [(&str, &str); 12] = [
    ("en", include_str!("words/en.json")),
    ("cs", include_str!("words/cs.json")),
    ("da", include_str!("words/da.json")),
    ("de", include_str!("words/de.json")),
    ("es", include_str!("words/es.json")),
    ("fr", include_str!("words/fr.json")),
    ("it", include_str!("words/it.json")),
    ("nl", include_str!("words/nl.json")),
    ("pl", include_str!("words/pl.json")),
    ("pt", include_str!("words/pt.json")),
    ("sv", include_str!("words/sv.json")),
    ("zh-Hans", include_str!("words/zh-Hans.json")),
];

/// The texts in every language.
#[derive(Debug)]
pub(super) struct Languages(Vec<Words>);

/// The texts in one language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    #[serde(skip)]
    pub(super) language: &'static str,
    pub(super) title: String,
    pub(super) skip: String,
    pub(super) lost: String,
    pub(super) problems: ProblemWords,
    pub(super) uploads: UploadWords,
    pub(super) locations: LocationWords,
    pub(super) check: CheckWords,
    pub(super) backups: BackupWords,
    pub(super) log: LogWords,
    pub(super) diagnostics: DiagnosticsWords,
    pub(super) access: AccessWords,
    /// Names by step.
    pub(super) steps: HashMap<String, String>,
    /// Labels by a location's status, or the code of its error.
    pub(super) status: HashMap<String, String>,
    /// Sentences by error code.
    pub(super) errors: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProblemWords {
    pub(super) title: String,
    pub(super) description: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadWords {
    pub(super) title: String,
    pub(super) none: String,
    pub(super) storing: String,
    pub(super) cancel: String,
    pub(super) removed: String,
    pub(super) complete: String,
    pub(super) cancelled: String,
    pub(super) failed: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LocationWords {
    pub(super) title: String,
    pub(super) none: String,
    pub(super) embedded: String,
    pub(super) add: String,
    pub(super) in_home_assistant: String,
    pub(super) in_app: String,
    pub(super) in_file: String,
    pub(super) since: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckWords {
    pub(super) button: String,
    pub(super) running: String,
    pub(super) works: String,
    pub(super) corrected: String,
    pub(super) untried: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupWords {
    pub(super) title: String,
    pub(super) name: String,
    pub(super) date: String,
    pub(super) size: String,
    pub(super) none: String,
    pub(super) more: String,
    pub(super) stale: String,
    pub(super) waiting: String,
    pub(super) skipped: String,
    pub(super) beside: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogWords {
    pub(super) title: String,
    pub(super) level: String,
    pub(super) show: String,
    pub(super) pause: String,
    pub(super) lost: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiagnosticsWords {
    pub(super) title: String,
    pub(super) about: String,
    pub(super) copy: String,
    pub(super) copied: String,
    pub(super) not_copied: String,
    pub(super) download: String,
    pub(super) agent: String,
    pub(super) protocol: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessWords {
    pub(super) address: String,
    pub(super) name: String,
    pub(super) token: String,
    pub(super) wait: String,
}

impl Languages {
    /// Parses all files.
    ///
    /// # Errors
    /// When a file does not match [`Words`].
    pub(super) fn read() -> serde_json::Result<Self> {
        let read = |(language, json)| {
            Ok(Words {
                language,
                ..serde_json::from_str(json)?
            })
        };
        FILES
            .into_iter()
            .map(read)
            .collect::<serde_json::Result<_>>()
            .map(Self)
    }

    /// Returns the texts that best match the browser's languages.
    pub(super) fn of(&self, headers: &HeaderMap) -> &Words {
        let wanted = headers
            .get(ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let found = by_preference(wanted)
            .into_iter()
            .find_map(|tag| self.0.iter().find(|words| words.speak(tag)));
        found.unwrap_or(&self.0[0])
    }
}

impl Words {
    /// Whether these words match the language `tag`.
    fn speak(&self, tag: &str) -> bool {
        let tag = tag.to_ascii_lowercase();
        let mut parts = tag.split('-');
        let is_traditional = ["-hant", "-tw", "-hk", "-mo"]
            .iter()
            .any(|part| tag.contains(part));
        parts.next() == self.language.split('-').next() && !is_traditional
    }

    /// How a location stands.
    pub(super) fn status<'w>(&'w self, status: &'w str, error: Option<&Failure>) -> &'w str {
        let code = error.map_or(status, |error| error.code);
        let known = self.status.get(code).or_else(|| self.status.get("error"));
        known.map_or(status, String::as_str)
    }

    /// The sentence for an error, in two halves: between them comes the agent's own report.
    pub(super) fn around_error(&self, code: &str) -> (&str, &str) {
        let known = self
            .errors
            .get(code)
            .or_else(|| self.errors.get("agent_error"));
        known
            .and_then(|sentence| sentence.split_once("{details}"))
            .unwrap_or_default()
    }

    /// Returns the name of a step.
    pub(super) fn step<'w>(&'w self, step: &'w str) -> &'w str {
        self.steps.get(step).map_or(step, String::as_str)
    }
}

/// Sorts the languages of an `Accept-Language` by weight, highest first (RFC 9110, 12.5.4).
fn by_preference(header: &str) -> Vec<&str> {
    let mut wanted: Vec<(&str, f32)> = header
        .split(',')
        .filter_map(wanted)
        .filter(|(_, weight)| *weight > 0.0)
        .collect();
    wanted.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    wanted.into_iter().map(|(tag, _)| tag).collect()
}

/// Parses a language and its weight.
fn wanted(item: &str) -> Option<(&str, f32)> {
    let (tag, weight) = item.split_once(';').unwrap_or((item, "q=1"));
    Some((tag.trim(), weight.trim().strip_prefix("q=")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::model::CheckStep;
    use crate::error::Kind;

    fn language(wanted: &str) -> &'static str {
        let languages = Languages::read().unwrap();
        languages
            .of(&HeaderMap::from_iter([(
                ACCEPT_LANGUAGE,
                wanted.parse().unwrap(),
            )]))
            .language
    }

    #[test]
    fn language_follows_the_browser() {
        for (wanted, found) in [
            ("", "en"),
            ("de", "de"),
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("en;q=0.5, fr;q=0.9", "fr"),
            ("ja, pl;q=0.2, *;q=0.1", "pl"),
            ("pt-BR", "pt"),
            ("zh-CN", "zh-Hans"),
            ("zh-Hans-SG", "zh-Hans"),
            ("zh-TW,zh;q=0.9", "zh-Hans"),
            ("zh-TW,sv;q=0.9", "sv"),
            ("de;q=0", "en"),
            ("DE", "de"),
            ("d\"e<;q=x,,;", "en"),
        ] {
            assert_eq!(language(wanted), found, "{wanted}");
        }
    }

    #[test]
    fn every_language_covers_all_steps_and_errors() {
        for words in Languages::read().unwrap().0 {
            for step in CheckStep::NAMES.into_iter().chain(["settings"]) {
                assert!(words.steps.contains_key(step), "{}: {step}", words.language);
            }
            for kind in Kind::ALL
                .iter()
                .filter(|kind| kind.code().starts_with("storage_"))
            {
                assert!(
                    words.status.contains_key(kind.code()),
                    "{}: {}",
                    words.language,
                    kind.code()
                );
                assert_ne!(
                    words.around_error(kind.code()),
                    ("", ""),
                    "{}: {}",
                    words.language,
                    kind.code()
                );
            }
            assert_ne!(
                words.around_error("unheard_of"),
                ("", ""),
                "{}",
                words.language
            );
        }
    }
}
