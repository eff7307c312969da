//! Output of commands: lines for people, or one JSON object each for scripts.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::Failure;
use crate::agent::model::Failure as Report;

/// The chosen form of output.
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

    /// Prints a failure and its hint.
    pub(super) fn failure(self, failure: &Failure) {
        let report = match failure {
            Failure::Reported | Failure::ReportedAway | Failure::ReportedDamaged => return,
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
        // A closed standard error cannot be reported anywhere.
        drop(if self.json {
            writeln!(io::stdout(), "{}", json!({"error": report}))
        } else {
            writeln!(io::stderr(), "{}", printable(&lines(&report)))
        });
    }

    /// Returns a progress bar for `total` bytes, hidden unless standard error is a terminal.
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

/// Replaces control characters, which a backup's name may hold and a terminal would obey.
fn printable(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() && c != '\n';
    if text.contains(is_control) {
        text.replace(is_control, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// Formats an error for people.
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

/// Formats a size in bytes for people.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
