//! The page's texts. `scripts/generate` writes the files from `translations/`.

use std::borrow::Borrow;
use std::collections::HashMap;

use axum::http::header::{ACCEPT_LANGUAGE, HeaderMap};
use serde::Deserialize;

use super::escape::Own;
use crate::agent::model::{Failure, FindingCode, SkipCode, VerifyMode};

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
    pub(super) title: Own,
    pub(super) skip: Own,
    pub(super) lost: Own,
    pub(super) summary: SummaryWords,
    pub(super) guide: GuideWords,
    pub(super) problems: ProblemWords,
    pub(super) uploads: UploadWords,
    pub(super) locations: LocationWords,
    pub(super) check: CheckWords,
    pub(super) backups: BackupWords,
    pub(super) log: LogWords,
    pub(super) diagnostics: DiagnosticsWords,
    pub(super) access: AccessWords,
    /// Names by step.
    pub(super) steps: HashMap<String, Own>,
    /// Labels by a location's status, or the code of its error.
    pub(super) status: HashMap<String, Own>,
    /// Sentences by error code.
    pub(super) errors: HashMap<String, Own>,
    pub(super) sentences: SentenceWords,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SummaryWords {
    pub(super) title: Own,
    pub(super) good: Own,
    pub(super) bad: Own,
    pub(super) last: Own,
    pub(super) next: Own,
    pub(super) none: Own,
    pub(super) stored: Own,
    pub(super) count: Own,
    pub(super) damaged: Own,
    pub(super) incomplete: Own,
    pub(super) away: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuideWords {
    pub(super) title: Own,
    pub(super) done: Own,
    pub(super) open: Own,
    pub(super) install: Own,
    pub(super) install_how: Own,
    pub(super) connect: Own,
    pub(super) connect_how: Own,
    pub(super) connect_found: Own,
    pub(super) bucket: Own,
    pub(super) then: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProblemWords {
    pub(super) title: Own,
    pub(super) description: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadWords {
    pub(super) title: Own,
    pub(super) storing: Own,
    pub(super) until: Own,
    pub(super) left: Own,
    pub(super) cancel: Own,
    pub(super) removed: Own,
    pub(super) complete: Own,
    pub(super) cancelled: Own,
    pub(super) failed: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LocationWords {
    pub(super) title: Own,
    pub(super) none: Own,
    pub(super) local: Own,
    pub(super) embedded: Own,
    pub(super) left_over: Own,
    pub(super) add: Own,
    pub(super) in_home_assistant: Own,
    pub(super) in_app: Own,
    pub(super) in_file: Own,
    pub(super) since: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckWords {
    pub(super) button: Own,
    pub(super) running: Own,
    pub(super) works: Own,
    pub(super) corrected: Own,
    pub(super) untried: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupWords {
    pub(super) title: Own,
    pub(super) none: Own,
    pub(super) all: Own,
    pub(super) stale: Own,
    pub(super) waiting: Own,
    pub(super) skipped: Own,
    pub(super) beside: Own,
    pub(super) automatic: Own,
    pub(super) manual: Own,
    pub(super) encrypted: Own,
    pub(super) not_encrypted: Own,
    pub(super) damaged: Own,
    pub(super) incomplete: Own,
    pub(super) version: Own,
    pub(super) uploaded: Own,
    pub(super) verified: Own,
    pub(super) verified_quickly: Own,
    pub(super) not_verified: Own,
    pub(super) verify: Own,
    pub(super) verify_quickly: Own,
    pub(super) verifying: Own,
    pub(super) verify_waits: Own,
    pub(super) stop: Own,
    pub(super) download: Own,
    pub(super) delete: Own,
    pub(super) confirm: Own,
    pub(super) only_copy: Own,
    pub(super) deleted: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogWords {
    pub(super) title: Own,
    pub(super) level: Own,
    pub(super) show: Own,
    pub(super) pause: Own,
    pub(super) lost: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiagnosticsWords {
    pub(super) title: Own,
    pub(super) about: Own,
    pub(super) copy: Own,
    pub(super) copied: Own,
    pub(super) not_copied: Own,
    pub(super) download: Own,
    pub(super) agent: Own,
    pub(super) protocol: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessWords {
    pub(super) address: Own,
    pub(super) name: Own,
    pub(super) token: Own,
    pub(super) wait: Own,
    pub(super) administrator: Own,
}

/// Sentences by code.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentenceWords {
    /// What helps, by reason.
    pub(super) hints: HashMap<String, Own>,
    /// What is wrong with a setting.
    pub(super) problems: HashMap<String, Own>,
    pub(super) notes: HashMap<String, Own>,
    /// What a verification found.
    pub(super) findings: HashMap<FindingCode, Own>,
    /// Why a list skips an object.
    pub(super) skipped: HashMap<SkipCode, Own>,
    /// What the agent does about an invalid setting.
    pub(super) effects: HashMap<String, Own>,
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

impl GuideWords {
    /// How to install the integration, before and after the link.
    pub(super) fn around_link(&self) -> (Own, Own) {
        let (before, after) = self
            .install_how
            .as_str()
            .split_once("{link}")
            .unwrap_or_default();
        (Own::new(before), Own::new(after))
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
    pub(super) fn status(&self, status: &str, error: Option<&Failure>) -> Own {
        let code = error.map_or(status, |error| error.code);
        let known = self.status.get(code).or_else(|| self.status.get("error"));
        known.cloned().unwrap_or_else(|| Own::new(status))
    }

    /// How a backup was verified.
    pub(super) fn verified(&self, mode: impl Borrow<VerifyMode>) -> &Own {
        match mode.borrow() {
            VerifyMode::Full => &self.backups.verified,
            VerifyMode::Quick => &self.backups.verified_quickly,
        }
    }

    /// The sentence for an error, in two halves: between them comes the agent's own report.
    pub(super) fn around_error(&self, code: &str) -> (Own, Own) {
        let known = self
            .errors
            .get(code)
            .or_else(|| self.errors.get("agent_error"));
        let (before, after) = known
            .and_then(|sentence| sentence.as_str().split_once("{details}"))
            .unwrap_or_default();
        (Own::new(before), Own::new(after))
    }

    /// Returns the name of a step.
    pub(super) fn step(&self, step: &str) -> Own {
        let known = self.steps.get(step);
        known.cloned().unwrap_or_else(|| Own::new(step))
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
                    <(Own, Own)>::default(),
                    "{}: {}",
                    words.language,
                    kind.code()
                );
            }
            assert_ne!(
                words.around_error("unheard_of"),
                <(Own, Own)>::default(),
                "{}",
                words.language
            );
        }
    }
}
