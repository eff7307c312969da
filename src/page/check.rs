//! A check on the page, running or finished.

use std::collections::BTreeMap;

use askama::Template;
use bytes::Bytes;
use chrono::Utc;

use super::escape::Own;
use super::human;
use super::sentence::Told;
use super::words::Words;
use crate::agent::model::{CheckReport, CheckStep, Failure, LastCheck};
use crate::error::Reason;
use crate::units::rfc3339;

/// A check.
#[derive(Debug, Template)]
#[template(path = "check.html")]
pub(super) struct CheckView<'w> {
    words: &'w Words,
    is_running: bool,
    /// When it ended, RFC 3339.
    at: String,
    steps: Vec<StepView>,
    /// Heading and settings that work.
    corrected: Option<(&'w Own, BTreeMap<String, String>)>,
    notes: Vec<Told>,
}

#[derive(Debug)]
struct StepView {
    name: Own,
    duration_ms: u64,
    error: Option<ErrorView>,
}

/// An error: a sentence in the visitor's language around what helps, or around the agent's own detail and before its hint.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub(super) struct ErrorView {
    before: Own,
    after: Own,
    advice: Told,
    report: Failure,
}

impl<'w> CheckView<'w> {
    /// A running check with its finished steps.
    pub(super) fn running(words: &'w Words, steps: &[CheckStep]) -> Self {
        let steps = steps.iter().map(|step| StepView::of(words, step)).collect();
        Self {
            words,
            is_running: true,
            at: String::new(),
            steps,
            corrected: None,
            notes: Vec::new(),
        }
    }

    /// A check that ended now.
    pub(super) fn just_ended(words: &'w Words, checked: &CheckReport) -> Self {
        let at = rfc3339(Utc::now());
        Self::ended(
            words,
            &LastCheck {
                checked_at: at,
                report: checked.clone(),
            },
        )
    }

    /// A check that ended earlier.
    pub(super) fn ended(words: &'w Words, last: &LastCheck) -> Self {
        let checked = &last.report;
        // The check only connected to an endpoint without TLS: see `agent::check`.
        let is_untried = checked
            .error()
            .is_some_and(|error| error.reason == Reason::NoTls.code());
        let heading = if is_untried {
            &words.check.untried
        } else {
            &words.check.corrected
        };
        Self {
            is_running: false,
            at: last.checked_at.clone(),
            corrected: checked
                .corrected
                .clone()
                .map(|corrected| (heading, corrected)),
            notes: checked.notes.iter().map(|it| words.note(it)).collect(),
            ..Self::running(words, &checked.steps)
        }
    }

    fn failed(&self) -> Option<&ErrorView> {
        self.steps.iter().find_map(|step| step.error.as_ref())
    }

    /// Summarises the outcome.
    fn outcome(&self) -> Own {
        match self.failed() {
            _ if self.is_running => self.words.check.running.clone(),
            Some(error) => self.words.status("error", Some(&error.report)),
            None => self.words.check.works.clone(),
        }
    }

    /// Formats a line of the stream: HTML as a JSON string.
    pub(super) fn line(&self) -> Bytes {
        let html = self.render().unwrap_or_default();
        format!("{}\n", serde_json::Value::from(html)).into()
    }
}

impl StepView {
    fn of(words: &Words, step: &CheckStep) -> Self {
        let name = words.step(step.step);
        let error = step.error.as_ref().map(|error| ErrorView::of(words, error));
        Self {
            name,
            duration_ms: step.duration_ms,
            error,
        }
    }
}

impl ErrorView {
    /// The provider's or the system's own words, beside advice in the visitor's language.
    fn said(&self) -> Option<&str> {
        let said = self.report.placeholders.get("said")?;
        (!said.is_empty()).then_some(said)
    }

    pub(super) fn of(words: &Words, report: &Failure) -> Self {
        let (before, after) = words.around_error(report.code);
        Self {
            before,
            after,
            advice: words.advice(report),
            report: report.clone(),
        }
    }
}
