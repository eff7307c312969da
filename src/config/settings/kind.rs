//! The kinds of values: which texts are values, and the words of the error for any other text.

use crate::units::{format_bytes, format_hours, parse_bytes, parse_hours, parse_rate};

/// The type of a setting's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// Any text.
    Text,
    /// A text for request headers and URLs: printable ASCII without spaces.
    Word,
    /// A path on the agent's machine.
    Path,
    /// An IP address with a port.
    Address,
    /// IP addresses.
    Addresses,
    /// `true` or `false`.
    Boolean,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A provider's id.
    Provider,
    /// A number with a unit.
    Number(Number),
    /// Certificates in PEM form, or the path of a file with them.
    Pem,
    /// URL of a proxy, which may hold a password, or `environment`.
    Proxy,
}

/// A number with bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// Its unit.
    pub unit: Unit,
    /// The smallest one.
    pub min: u64,
    /// The largest one; `u64::MAX` for no bound.
    pub max: u64,
    /// Words that stand for no number.
    pub none: &'static [&'static str],
}

/// The unit of a number, and how users write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `4`
    Count,
    /// `900`
    Seconds,
    /// Seconds, written as `12h` or `7d`.
    Hours,
    /// Bytes, written as `8 MiB` or `8 MB`.
    Bytes,
    /// Bytes a second, written as `2 MB/s` or `16 Mbit/s`.
    Rate,
}

impl SettingKind {
    /// The code for a text that is no value of this kind, and what is wanted.
    pub(in crate::config) fn wants(&self) -> (&'static str, [(&'static str, String); 1]) {
        match self {
            Self::Boolean => ("choose_one", [("choices", "true, false".to_owned())]),
            Self::Choice(choices) => ("choose_one", [("choices", choices.join(", "))]),
            Self::Number(number) => {
                let code = match number.unit {
                    Unit::Count => "not_a_number",
                    Unit::Seconds => "not_seconds",
                    Unit::Hours => "not_a_time",
                    Unit::Bytes => "not_a_size",
                    Unit::Rate => "not_a_speed",
                };
                (code, [("range", number.range())])
            }
            _ => ("not_a_text", [("range", String::new())]),
        }
    }

    /// Completes the sentence "must be …" about a value of this kind.
    #[must_use]
    pub fn wanted(&self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Address => "an address with a port, such as \"127.0.0.1:8099\"".to_owned(),
            Self::Addresses => "IP addresses, such as [\"192.0.2.7\"]".to_owned(),
            Self::Choice(choices) => format!("one of {}", choices.join(", ")),
            Self::Number(number) => number.wanted(),
            _ => "a text".to_owned(),
        }
    }
}

impl Number {
    /// Whether only digits are values: neither a unit nor a word.
    #[must_use]
    pub const fn is_integer(&self) -> bool {
        matches!(self.unit, Unit::Count | Unit::Seconds) && self.none.is_empty()
    }

    /// The number in a text, in bytes or seconds where it has a unit; `None` for a word that stands for none.
    pub(in crate::config) fn parse(&self, text: &str) -> Result<Option<u64>, ()> {
        if self.none.contains(&text) {
            return Ok(None);
        }
        let number = match self.unit {
            Unit::Count | Unit::Seconds => text.parse().ok(),
            Unit::Hours => parse_hours(text),
            Unit::Bytes => parse_bytes(text),
            Unit::Rate => parse_rate(text),
        };
        match number {
            Some(0) if self.unit == Unit::Rate => Ok(None),
            Some(number) if (self.min..=self.max).contains(&number) => Ok(Some(number)),
            _ => Err(()),
        }
    }

    /// Formats a number as users write it.
    #[must_use]
    pub fn format(&self, number: u64) -> String {
        match self.unit {
            Unit::Count | Unit::Seconds => number.to_string(),
            Unit::Hours => format_hours(number),
            Unit::Bytes | Unit::Rate => format_bytes(number),
        }
    }

    /// The bounds without words, such as `5 MiB – 512 MiB` or `≥ 16 KiB`, and the words that stand for no number.
    fn range(&self) -> String {
        let min = self.format(self.min);
        let bounds = match self.max {
            u64::MAX => format!("≥ {min}"),
            max => format!("{min} – {}", self.format(max)),
        };
        std::iter::once(bounds)
            .chain(self.none.first().map(|none| (*none).to_owned()))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The bounds, in words; empty where there are none.
    #[must_use]
    pub fn bounds(&self) -> String {
        let min = self.format(self.min);
        if self.max < u64::MAX {
            format!("{min} to {}", self.format(self.max))
        } else if self.min > 0 {
            format!("{min} or more")
        } else {
            String::new()
        }
    }

    fn wanted(&self) -> String {
        let (what, example) = match self.unit {
            Unit::Count => ("a number", ""),
            Unit::Seconds => ("a number of seconds", ""),
            Unit::Hours => ("a time", ", such as \"7d\" or \"12h\""),
            Unit::Bytes => ("a size", ", such as \"16 MiB\""),
            Unit::Rate => ("a speed", ", such as \"2 MB/s\" or \"16 Mbit/s\""),
        };
        let bounds = self.bounds();
        let bounds = match self.max {
            u64::MAX if bounds.is_empty() => bounds,
            u64::MAX => format!(", {bounds}"),
            _ => format!(" from {bounds}"),
        };
        let none = self
            .none
            .first()
            .map(|none| format!(", or \"{none}\""))
            .unwrap_or_default();
        format!("{what}{bounds}{example}{none}")
    }
}
