//! A log record as text: scrubbed, on one line, of bounded length.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tracing::Event;
use tracing::field::{Field, Visit};
use utoipa::ToSchema;

use super::{Level, scrub};

use crate::units::rfc3339_millis;

/// Length limit of a text in bytes; a provider's answer can be long.
const MAX_BYTES: usize = 4096;

/// A log record.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Record {
    /// Time of the record.
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime, pattern = "Z$")]
    pub time: DateTime<Utc>,
    /// Its level.
    pub level: Level,
    /// Module that logged it.
    pub target: &'static str,
    /// The message.
    pub message: String,
    /// Its fields; all values are text.
    #[schema(value_type = BTreeMap<String, String>)]
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
        // Scrubbed before it is cut: half a secret is not recognised.
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
    if text.len() <= MAX_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_BYTES)])
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
        let cut = cut(&"ä".repeat(MAX_BYTES));
        assert_eq!(cut.chars().count(), MAX_BYTES / 2 + 1);
    }
}
