//! Fields of an endpoint's template.

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// A setting that only one provider has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProviderField)]
pub struct Field {
    /// Name of the setting.
    #[schema(min_length = 1)]
    pub id: String,
    /// Label in forms.
    pub label: String,
    /// Where to find the value.
    pub help: String,
    /// Pattern of a value.
    #[schema(value_type = String, format = Regex)]
    pub pattern: Pattern,
    /// An example.
    pub example: String,
    /// Whether it may be empty.
    #[serde(default)]
    pub optional: bool,
    /// The only values; empty if any value that matches the pattern is allowed.
    #[serde(default)]
    pub choices: Vec<String>,
}

impl Field {
    /// Whether `text` is a valid value.
    #[must_use]
    pub fn accepts(&self, text: &str) -> bool {
        self.pattern.fits(text)
            && (self.choices.is_empty() || self.choices.iter().any(|choice| choice == text))
    }
}

/// Pattern of a value, serialised as a regular expression for Home Assistant's forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// 32 hexadecimal digits.
    Hex32,
    /// A label of a host name (RFC 1123).
    HostLabel,
}

impl Pattern {
    /// The regular expression, in the common syntax of Python and JavaScript.
    #[must_use]
    pub const fn regex(self) -> &'static str {
        match self {
            Self::Hex32 => "^[0-9A-Fa-f]{32}$",
            Self::HostLabel => "^[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?$",
        }
    }

    /// Matches like the regular expression, without a library for it.
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
    fn patterns_match_like_their_regular_expressions() {
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
