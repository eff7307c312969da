//! A log record as it leaves the program: text, without secrets, of bounded length.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tracing::Event;
use tracing::field::{Field, Visit};

use super::{Level, scrub};

use crate::units::rfc3339_millis;

/// A text is cut after this many bytes; a provider's answer can be long.
const LONGEST: usize = 4096;

/// A record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// When it was made.
    #[serde(serialize_with = "serialize_time")]
    pub time: DateTime<Utc>,
    /// Its level.
    pub level: Level,
    /// The module that it is from.
    pub target: &'static str,
    /// What it says.
    pub message: String,
    /// What it says it about; all values are text.
    pub fields: Map<String, Value>,
}

impl Record {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut text = Text::default();
        event.record(&mut text);
        Self {
            time: Utc::now(),
            level: (*event.metadata().level()).into(),
            target: event.metadata().target(),
            message: text.message,
            fields: text.fields,
        }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: Map<String, Value>,
}

impl Text {
    fn note(&mut self, field: &Field, value: &str) {
        // Secrets first: half of one could not be recognized.
        let value = cut(&super::one_line(&scrub::scrub(value)));
        match field.name() {
            "message" => self.message = value,
            name => drop(self.fields.insert(name.to_owned(), value.into())),
        }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, &format!("{value:?}"));
    }
}

fn cut(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(LONGEST)])
}

fn serialize_time<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339_millis(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let cut = cut(&"ä".repeat(LONGEST));
        assert_eq!(cut.chars().count(), LONGEST / 2 + 1);
    }
}
