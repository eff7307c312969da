//! The log: one subscriber for standard error and for listeners, with a level that can change at run time.
//!
//! [`level`] decides what is logged, [`relay`] hands [`record`]s to listeners, [`scrub`] removes secrets, [`panics`] logs
//! panics.

pub mod level;
pub mod panics;
pub mod record;
pub mod relay;
pub mod scrub;

use std::borrow::Cow;
use std::io::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::{dynamic_filter_fn, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, fmt as format};
use utoipa::ToSchema;

pub use level::LevelHandle;
pub use panics::note_panics;
pub use relay::Relay;

/// A log level. More verbose levels are greater.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A failure.
    Error,
    /// A problem that does no harm yet.
    Warn,
    /// An event that users care about.
    #[default]
    Info,
    /// A detail for finding errors.
    Debug,
    /// Every step.
    Trace,
}

/// Format of printed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A line of text.
    #[default]
    Plain,
    /// One JSON object per line.
    Json,
}

impl Level {
    /// All levels, the most verbose last.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// Returns its name, as in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "error" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(()),
        }
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

/// The log at run time.
#[derive(Debug, Clone)]
pub struct LogHandle {
    /// Changes the level.
    pub level: LevelHandle,
    /// Hands records to listeners.
    pub relay: Relay,
}

/// Starts the log.
///
/// # Errors
/// When the process already has a log.
pub fn start(level: Level, log_format: Format) -> Result<LogHandle, SetGlobalDefaultError> {
    let (level, filter) = LevelHandle::new(level);
    let relay = Relay::new(level.clone());
    let records = format::layer().with_writer(move || Scrubbed(io::stderr(), log_format));
    let records = match log_format {
        Format::Plain => records
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .boxed(),
        Format::Json => records.json().boxed(),
    };
    let printed = level.clone();
    let is_printed =
        dynamic_filter_fn(move |metadata, _| is_own(metadata) && printed.is_printed(metadata));
    let relayed = relay.clone().with_filter(filter_fn(is_own));
    let subscriber = Registry::default()
        .with(filter)
        .with(records.with_filter(is_printed))
        .with(relayed);
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(LogHandle { level, relay })
}

/// Keeps only warnings of libraries: they log requests with headers and URLs, and no secret can leak through a record that
/// is never written.
fn is_own(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("s3_backup_agent") || *metadata.level() <= tracing::Level::WARN
}

/// Escapes line breaks: an object key may hold some, and could forge a record.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\r']) {
        text.replace('\n', "\\n").replace('\r', "\\r").into()
    } else {
        text.into()
    }
}

/// Scrubs whole lines: each record is written in one call.
struct Scrubbed<W>(W, Format);

impl<W: Write> Write for Scrubbed<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        // Object by object, because the names of its fields are quoted.
        let parsed = (self.1 == Format::Json).then(|| serde_json::from_str(text).ok());
        if let Some(mut record) = parsed.flatten() {
            scrub::scrub_json(&mut record);
            writeln!(self.0, "{record}")?;
        } else {
            writeln!(self.0, "{}", one_line(&scrub::scrub(text)))?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_one_line() {
        let mut written = Vec::new();
        Scrubbed(&mut written, Format::Plain)
            .write_all("left out \"a\nWARN forged\r\": ä\n".as_bytes())
            .unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "left out \"a\\nWARN forged\\r\": ä\n"
        );
    }
}
