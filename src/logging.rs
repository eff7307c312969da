//! The log: one subscriber on standard error, its level changed at run time.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, fmt as format, reload};

/// Records below this level are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// How it happens.
    Debug,
    /// Every step.
    Trace,
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A line for people.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
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

/// Changes the log level while the agent runs.
#[derive(Clone)]
pub struct LevelHandle(reload::Handle<LevelFilter, Registry>);

impl LevelHandle {
    /// Takes effect with the next record.
    pub fn set(&self, level: Level) {
        // Fails only when the subscriber is gone, and then there is no log to set.
        drop(self.0.modify(|filter| *filter = level.into()));
    }
}

impl fmt::Debug for LevelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LevelHandle")
    }
}

/// Starts the log.
///
/// # Errors
/// When the process has one already.
pub fn start(level: Level, log_format: Format) -> Result<LevelHandle, SetGlobalDefaultError> {
    let (filter, handle) = reload::Layer::new(LevelFilter::from(level));
    let records = format::layer().with_writer(io::stderr);
    let records = match log_format {
        Format::Plain => records.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        Format::Json => records.json().boxed(),
    };
    let subscriber = Registry::default().with(filter).with(records.with_filter(own_records()));
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(LevelHandle(handle))
}

/// Libraries below the agent log requests with their headers and URLs; only their warnings are of use to anybody, and
/// no secret can leak through a record that is never written.
fn own_records() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| metadata.target().starts_with("s3_backup_agent") || *metadata.level() <= tracing::Level::WARN)
}
