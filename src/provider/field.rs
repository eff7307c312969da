//! What an endpoint's form asks people for.

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// A setting that one provider has and others do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProviderField)]
pub struct Field {
    /// Name of the setting.
    #[schema(min_length = 1)]
    pub id: String,
    /// What people see before it.
    pub label: String,
    /// Where to find the value.
    pub help: String,
    /// What a value looks like.
    #[schema(value_type = String, format = Regex)]
    pub pattern: Pattern,
    /// A value as it might be.
    pub example: String,
    /// Whether it may be left out.
    #[serde(default)]
    pub optional: bool,
    /// The only values there are; empty where any is allowed that fits the pattern.
    #[serde(default)]
    pub choices: Vec<String>,
}

impl Field {
    /// Whether `text` can be the value.
    #[must_use]
    pub fn accepts(&self, text: &str) -> bool {
        self.pattern.fits(text)
            && (self.choices.is_empty() || self.choices.iter().any(|choice| choice == text))
    }
}

/// What a value looks like. Written out as a regular expression, which Home Assistant's forms understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// 32 hexadecimal digits.
    Hex32,
    /// Part of a host name between two dots.
    HostLabel,
}

impl Pattern {
    /// The regular expression, which Python and JavaScript understand alike.
    #[must_use]
    pub const fn regex(self) -> &'static str {
        match self {
            Self::Hex32 => "^[0-9A-Fa-f]{32}$",
            Self::HostLabel => "^[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?$",
        }
    }

    /// What the regular expression says, without a library for it.
    #[must_use]
    pub fn fits(self, text: &str) -> bool {
        let is_outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        match self {
            Self::Hex32 => bytes.len() == 32 && bytes.iter().all(u8::is_ascii_hexdigit),
            Self::HostLabel => {
                let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
                bytes.len() <= 63
                    && is_outer(bytes.first())
                    && is_outer(bytes.last())
                    && bytes.iter().all(is_inner)
            }
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.regex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_say_the_same_as_their_regular_expressions() {
        let hex = "0123456789abcdefABCDEF0123456789";
        for (pattern, good, bad) in [
            (
                Pattern::Hex32,
                vec![hex],
                vec!["", &hex[1..], "g123456789abcdefABCDEF0123456789", "a/b"],
            ),
            (
                Pattern::HostLabel,
                vec!["a", "eu-central-1", &hex],
                vec!["", "-a", "a-", "a.b", "a/b", "a b", "ä", "a@b"],
            ),
        ] {
            assert!(pattern.regex().starts_with('^') && pattern.regex().ends_with('$'));
            assert!(good.iter().all(|text| pattern.fits(text)), "{pattern:?}");
            assert!(!bad.iter().any(|text| pattern.fits(text)), "{pattern:?}");
        }
        assert!(
            Pattern::HostLabel.fits(&"a".repeat(63)) && !Pattern::HostLabel.fits(&"a".repeat(64))
        );
    }
}
