//! What commands print: lines for people, or one JSON object for scripts.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::Failure;
use crate::agent::model::Failure as Report;

/// How results are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// Prints a result, as `line` or as `value`.
    pub(super) fn result(self, line: &str, value: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{value}")
        } else {
            writeln!(out, "{}", printable(line))
        }
    }

    /// Says why a command failed, and what to change.
    pub(super) fn failure(self, failure: &Failure) {
        let report = match failure {
            Failure::Said | Failure::SaidAway | Failure::SaidDamaged => return,
            Failure::Agent(error) => Report::from(error),
            other => Report {
                code: other.name(),
                reason: other.name(),
                detail: other.to_string(),
                hint: String::new(),
                provider_code: None,
                since: None,
            },
        };
        // Nothing is left to tell when standard error is closed.
        drop(if self.json {
            writeln!(io::stdout(), "{}", json!({"error": report}))
        } else {
            writeln!(io::stderr(), "{}", printable(&lines(&report)))
        });
    }

    /// A bar for a transfer of `total` bytes; invisible unless a person looks at a terminal.
    pub(super) fn progress(self, total: u64) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(total);
        let template =
            "{bar:30} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// The text without what a terminal would take for orders: a backup's name is whatever its maker wrote.
fn printable(text: &str) -> Cow<'_, str> {
    let is_order = |c: char| c.is_control() && c != '\n';
    if text.contains(is_order) {
        text.replace(is_order, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// An error as people read it.
pub(super) fn lines(report: &Report) -> String {
    let provider = report
        .provider_code
        .as_ref()
        .map(|code| format!(" ({code})"))
        .unwrap_or_default();
    let hint = if report.hint.is_empty() {
        String::new()
    } else {
        format!("\n  {}", report.hint)
    };
    format!("error: {}{provider}{hint}", report.detail)
}

/// A size as people read it.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
