//! Output of commands: lines for users, or one JSON object each for scripts.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::CommandError;
use crate::agent::model::{Failure, Skipped};
use crate::error::Placeholders;

/// Characters that change the direction of text. Source: Unicode Standard Annex #9, "Directional Formatting Characters".
const DIRECTIONS: [char; 12] = [
    '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
    '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

/// The chosen form of output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// Prints a result, as `line` or as `value`.
    pub(super) fn result(self, line: &str, value: &Value) -> Result<(), CommandError> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{value}")?;
        } else {
            writeln!(out, "{}", printable(line))?;
        }
        Ok(())
    }

    /// Prints how far a command is. A closed standard output does not end what has begun elsewhere.
    pub(super) fn tell(self, line: &str, value: &Value) {
        drop(self.result(line, value));
    }

    /// Prints the failure of a location.
    pub(super) fn location_failure(self, id: &str, failure: &Failure) -> Result<(), CommandError> {
        self.result(
            &format!("{id}\n{}", lines(failure)),
            &json!({"location": id, "error": failure}),
        )
    }

    /// Prints an error and its hint.
    pub(super) fn error(self, error: &CommandError) {
        let failure = match error {
            CommandError::Reported
            | CommandError::ReportedMissing
            | CommandError::ReportedAway
            | CommandError::ReportedDamaged => return,
            CommandError::Agent(error) => Failure::from(error),
            other => Failure {
                code: other.name(),
                reason: other.name(),
                detail: other.to_string(),
                hint: other.hint().to_owned(),
                provider_code: None,
                placeholders: Placeholders::new(),
                since: None,
            },
        };
        // A closed standard error cannot be reported anywhere.
        drop(if self.json {
            writeln!(io::stdout(), "{}", json!({"error": failure}))
        } else {
            writeln!(io::stderr(), "{}", printable(&lines(&failure)))
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

/// Replaces control characters, which a backup's name may hold and a terminal would obey: also those that change the
/// direction of the text and make a name look like another one.
fn printable(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| (c.is_control() && c != '\n') || DIRECTIONS.contains(&c);
    if text.contains(is_control) {
        text.replace(is_control, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// Formats a failure for people.
pub(super) fn lines(failure: &Failure) -> String {
    let provider = failure
        .provider_code
        .as_ref()
        .map(|code| format!(" ({code})"))
        .unwrap_or_default();
    let hint = if failure.hint.is_empty() {
        String::new()
    } else {
        format!("\n  {}", failure.hint)
    };
    format!("error: {}{provider}{hint}", failure.detail)
}

/// Formats an object that a list skips.
pub(super) fn left_out(skipped: &Skipped) -> String {
    format!("left out: \"{}\", {}", skipped.key, skipped.reason)
}

/// Formats a size in bytes for people.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
