//! What the agent says about errors, settings and checks, in the visitor's language.
//!
//! The agent's own sentences are in English. Their codes have sentences in every language, which Home Assistant shows, too.

use std::collections::HashMap;

use askama::Template;

use super::escape::{Filled, Own};
use super::words::Words;
use crate::agent::model::{CheckNote, Failure, Finding, Skipped};
use crate::config::Problem;
use crate::error::{Error, Placeholders};
use crate::logging::scrub::scrub;

/// A text in the visitor's language, or the agent's own, which is English.
#[derive(Debug, Template)]
#[template(path = "told.html")]
pub(super) struct Told {
    /// Empty for the agent's own text.
    spans: Vec<Span>,
    own: Own,
}

/// A run of a sentence.
#[derive(Debug)]
struct Span {
    style: Style,
    text: Filled,
}

#[derive(Debug, Clone, Copy)]
enum Style {
    Plain,
    Code,
    /// The name of a field.
    Term,
}

/// The reasons that only another certificate solves.
const WITH_NEW_CERTIFICATE: [&str; 4] = [
    "certificate_version_1",
    "certificate_without_names",
    "certificate_not_for_servers",
    "certificate_weak_key",
];

/// What stands for examples in sentences: Home Assistant allows no URLs in them.
const EXAMPLES: [(&str, &str); 2] = [
    ("http_proxy", "http://proxy.example.com:3128"),
    ("socks_proxy", "socks5h://proxy.example.com:1080"),
];

impl Told {
    /// The agent's own text.
    pub(super) fn own(text: &str) -> Self {
        Self {
            spans: Vec::new(),
            own: Own::quoting(text),
        }
    }

    pub(super) const fn is_translated(&self) -> bool {
        !self.spans.is_empty()
    }

    /// Text outside of HTML.
    fn plain(&self) -> String {
        if !self.is_translated() {
            return self.own.as_str().to_owned();
        }
        let plain = |span: &Span| match span.style {
            Style::Term => format!("\u{201c}{}\u{201d}", span.text.plain()),
            Style::Plain | Style::Code => span.text.plain(),
        };
        self.spans.iter().map(plain).collect()
    }

    fn or_own(spans: Option<Vec<Span>>, own: &str) -> Self {
        Self {
            spans: spans.unwrap_or_default(),
            ..Self::own(own)
        }
    }
}

impl Words {
    /// What helps against an error; in English the agent's own detail.
    pub(super) fn advice(&self, failure: &Failure) -> Told {
        let placeholders = &failure.placeholders;
        let mut codes = vec![failure.reason];
        if placeholders.contains_key("region") {
            codes = vec!["region_named"];
        }
        if WITH_NEW_CERTIFICATE.contains(&failure.reason) {
            codes.push("new_certificate");
        }
        if placeholders.contains_key("fingerprint") {
            codes.push("fingerprint");
        }
        if placeholders.contains_key("variable") {
            codes.push("unused_proxy");
        }
        let sentences = codes.iter().map(|code| self.problem_or_hint(code));
        let sentences = sentences.filter_map(|text| spans(text?, placeholders));
        let told = joined(sentences);
        Told::or_own(told.filter(|_| !self.is_english()), &failure.detail)
    }

    /// An error in one line, for an answer without HTML.
    pub(super) fn line(&self, error: &Error) -> String {
        let failure = Failure::from(error);
        let advice = self.advice(&failure);
        if !advice.is_translated() {
            return scrub(&error.to_string()).into_owned();
        }
        let (before, after) = self.around_error(failure.code);
        format!("{before}{}{after}", advice.plain())
    }

    /// The hints by code, for the script; none for English, which is the agent's own.
    pub(super) fn hints(&self) -> HashMap<&str, String> {
        let hints = self.sentences.hints.iter().filter(|_| !self.is_english());
        let plain = |text: &Own| text.as_str().replace(['`', '*'], "");
        hints
            .map(|(code, text)| (code.as_str(), plain(text)))
            .collect()
    }

    /// What is wrong with an option of the app, and what the agent does about it.
    pub(super) fn problem(&self, problem: &Problem) -> Told {
        let effect = problem
            .effect()
            .and_then(|it| self.sentences.effects.get(it));
        let wrong = self.problem_or_hint(problem.code());
        let told = wrong.and_then(|text| {
            let wrong = spans(text, &problem.placeholders)?;
            let effect = effect.and_then(|text| spans(text, &Placeholders::new()));
            joined([wrong].into_iter().chain(effect))
        });
        Told::or_own(told.filter(|_| !self.is_english()), &problem.message)
    }

    /// A note of a check.
    pub(super) fn note(&self, note: &CheckNote) -> Told {
        let told = self.sentences.notes.get(note.reason);
        let told = told.and_then(|text| spans(text, &note.placeholders));
        Told::or_own(told.filter(|_| !self.is_english()), &note.message)
    }

    /// What a verification found.
    pub(super) fn finding(&self, finding: &Finding) -> Told {
        self.without_placeholders(self.sentences.findings.get(&finding.code), &finding.detail)
    }

    /// Why a list skips an object.
    pub(super) fn skipped(&self, skipped: &Skipped) -> Told {
        self.without_placeholders(self.sentences.skipped.get(&skipped.code), &skipped.reason)
    }

    fn without_placeholders(&self, text: Option<&Own>, own: &str) -> Told {
        let told = text.and_then(|text| spans(text, &Placeholders::new()));
        Told::or_own(told.filter(|_| !self.is_english()), own)
    }

    /// Whether the visitor reads the agent's own language.
    pub(super) fn is_english(&self) -> bool {
        self.language == "en"
    }

    /// The sentence about an invalid setting, or an error's hint; both share some reasons.
    fn problem_or_hint(&self, code: &str) -> Option<&Own> {
        let problem = self.sentences.problems.get(code);
        problem.or_else(|| self.sentences.hints.get(code))
    }
}

/// Splits Markdown's code and emphasis, and fills in the placeholders. None if the agent does not know one of them.
fn spans(text: &Own, placeholders: &Placeholders) -> Option<Vec<Span>> {
    let mut spans = Vec::new();
    for (number, part) in text.as_str().split('`').enumerate() {
        if number % 2 == 1 {
            spans.push(span(Style::Code, part, placeholders)?);
            continue;
        }
        for (number, part) in part.split('*').enumerate() {
            let style = if number % 2 == 1 {
                Style::Term
            } else {
                Style::Plain
            };
            spans.push(span(style, part, placeholders)?);
        }
    }
    Some(spans)
}

fn span(style: Style, text: &str, placeholders: &Placeholders) -> Option<Span> {
    let mut text = Own::new(text).with("", "");
    for (name, example) in EXAMPLES {
        text = text.with(name, Own::new(example));
    }
    for (name, value) in placeholders {
        text = text.with(name, value);
    }
    (!text.has_gaps()).then_some(Span { style, text })
}

/// Joins sentences; none without any.
fn joined(sentences: impl IntoIterator<Item = Vec<Span>>) -> Option<Vec<Span>> {
    sentences.into_iter().reduce(|mut one, other| {
        one.push(Span {
            style: Style::Plain,
            text: Own::new(" ").with("", ""),
        });
        one.extend(other);
        one
    })
}

#[cfg(test)]
mod tests {
    use axum::http::header::{ACCEPT_LANGUAGE, HeaderMap};

    use super::super::words::Languages;
    use super::*;
    use crate::error::{Kind, Reason};

    fn told(language: &'static str, failure: &Failure) -> String {
        let languages = Languages::read().unwrap();
        let headers = HeaderMap::from_iter([(ACCEPT_LANGUAGE, language.parse().unwrap())]);
        languages.of(&headers).advice(failure).render().unwrap()
    }

    fn failure(reason: Reason, placeholders: Placeholders) -> Failure {
        let error = Error::new(reason.kind(), "the agent's <own> words");
        let error = error
            .with_reason(Some(reason))
            .with_placeholders(placeholders);
        Failure::from(&error)
    }

    #[test]
    fn hint_is_in_the_language_of_the_visitor() {
        let wrong = failure(Reason::BucketWithMore, Placeholders::new());
        assert_eq!(
            told("de", &wrong),
            "Gib nur den Namen des Buckets ein. Ein Ordner gehört in <em>Ordner</em>, die URL des Servers in \
             <em>Endpunkt</em>."
        );
        assert_eq!(
            told("en", &wrong),
            "<span lang=\"en\">the agent&#39;s &#60;own&#62; words</span>"
        );
    }

    #[test]
    fn misspelt_option_is_asked_about_in_a_sentence() {
        let languages = Languages::read().unwrap();
        let german = HeaderMap::from_iter([(ACCEPT_LANGUAGE, "de".parse().unwrap())]);
        let mut problem = Problem::new("locations[0].part_sice", "is not a known key");
        problem.kind = Some("misspelt_setting");
        problem.placeholders = Placeholders::from([("meant", "part_size".to_owned())]);
        let told = languages.of(&german).problem(&problem).render().unwrap();
        assert_eq!(
            told,
            "Unbekannte Option. Meintest du <code>part_size</code>? Der Speicherort fehlt, bis das korrigiert ist."
        );
    }

    #[test]
    fn placeholders_are_escaped_and_a_missing_one_leaves_the_agents_words() {
        let region = Placeholders::from([("region", "<eu>".to_owned())]);
        let named = failure(Reason::RegionOrKey, region);
        assert!(told("de", &named).contains("<code>&#60;eu&#62;</code>"));
        let mut hidden = failure(Reason::CertificateVersion1, Placeholders::new());
        hidden.reason = "new_certificate";
        assert!(told("de", &hidden).contains("lang=\"en\""));
    }

    #[test]
    fn every_language_has_a_hint_for_every_code() {
        let codes = Kind::ALL.iter().map(|kind| kind.code());
        for code in codes.chain(Reason::ALL.iter().map(|reason| reason.code())) {
            let mut error = failure(Reason::NotS3, Placeholders::new());
            error.reason = code;
            for language in ["cs", "de", "zh-CN"] {
                assert!(
                    !told(language, &error).contains("lang="),
                    "{language}: {code}"
                );
            }
        }
    }
}
