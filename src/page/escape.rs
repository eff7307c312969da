//! Escaping of values in templates: what comes from outside is scrubbed of secrets, the page's own texts are not.
//!
//! A secret may be one of the page's own words, and replacing that would reveal it. Askama hands the pieces of a value to the
//! escaper, and [`Own`] hands over single characters, which are only escaped.

use std::fmt::{self, Write};

use askama::filters::{Escaper, Html};
use serde::Deserialize;

use crate::logging::scrub::{scrub, scrub_value};

/// Scrubs secrets from whole texts, then escapes HTML: a name or an address may hold a secret that was pasted into the wrong field.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scrubbed;

impl Escaper for Scrubbed {
    fn write_escaped_str<W: fmt::Write>(&self, writer: W, text: &str) -> fmt::Result {
        Html.write_escaped_str(writer, &scrub_value(text))
    }

    fn write_escaped_char<W: fmt::Write>(&self, writer: W, character: char) -> fmt::Result {
        Html.write_escaped_char(writer, character)
    }
}

/// A text of the page's own, which is not scrubbed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Own(String);

impl Own {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Text of the agent that may quote values from outside, such as the detail of an error.
    pub(super) fn quoting(text: &str) -> Self {
        Self(scrub(text).into_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Puts a value into the placeholder `{name}`.
    pub(super) fn with(&self, name: &str, value: impl Into<Piece>) -> Filled {
        Filled(vec![Piece::Own(self.clone())]).with(name, value)
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|character| f.write_char(character))
    }
}

/// A part of a text.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Own(Own),
    /// From outside.
    Value(String),
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(own) => own.fmt(f),
            Self::Value(value) => f.write_str(value),
        }
    }
}

impl From<Own> for Piece {
    fn from(own: Own) -> Self {
        Self::Own(own)
    }
}

impl From<&Own> for Piece {
    fn from(own: &Own) -> Self {
        Self::Own(own.clone())
    }
}

impl From<usize> for Piece {
    fn from(number: usize) -> Self {
        Self::Own(Own(number.to_string()))
    }
}

impl From<&usize> for Piece {
    fn from(number: &usize) -> Self {
        Self::from(*number)
    }
}

impl From<&str> for Piece {
    fn from(value: &str) -> Self {
        Self::Value(value.to_owned())
    }
}

impl From<&String> for Piece {
    fn from(value: &String) -> Self {
        Self::Value(value.clone())
    }
}

/// A field that a template matched.
impl From<&&String> for Piece {
    fn from(value: &&String) -> Self {
        Self::from(*value)
    }
}

/// A text of the page's own with values in its placeholders.
#[derive(Debug, Clone)]
pub(super) struct Filled(Vec<Piece>);

impl Filled {
    /// Puts a value into the placeholder `{name}`.
    pub(super) fn with(self, name: &str, value: impl Into<Piece>) -> Self {
        let placeholder = format!("{{{name}}}");
        let value = value.into();
        let mut pieces = Vec::new();
        for piece in self.0 {
            let Piece::Own(Own(text)) = piece else {
                pieces.push(piece);
                continue;
            };
            for (index, part) in text.split(&placeholder).enumerate() {
                if index > 0 {
                    pieces.push(value.clone());
                }
                pieces.push(Piece::Own(Own::new(part)));
            }
        }
        Self(pieces)
    }

    /// Text outside of HTML, scrubbed like the values of a template.
    pub(super) fn plain(&self) -> String {
        let plain = |piece: &Piece| match piece {
            Piece::Own(own) => own.0.clone(),
            Piece::Value(value) => scrub_value(value).into_owned(),
        };
        self.0.iter().map(plain).collect()
    }

    /// Whether a placeholder is left.
    pub(super) fn has_gaps(&self) -> bool {
        let is_name = |part: &str| {
            let name = part.split_once('}').map(|(name, _)| name);
            name.is_some_and(|name| {
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            })
        };
        self.0.iter().any(|piece| match piece {
            Piece::Own(own) => own.0.split('{').skip(1).any(is_name),
            Piece::Value(_) => false,
        })
    }
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| piece.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use askama::Template;

    use super::*;
    use crate::config::Secret;

    #[derive(Template)]
    #[template(source = "{{ own }}|{{ filled }}|{{ value }}", ext = "html")]
    struct Texts {
        own: Own,
        filled: Filled,
        value: &'static str,
    }

    #[test]
    fn values_are_scrubbed_and_words_of_the_page_are_not() {
        let _secret = Secret::new("uploads");
        let texts = Texts {
            own: Own::new("No uploads & <none>"),
            filled: Own::new("{count} uploads: {name}, {name}")
                .with("name", "my {count} uploads")
                .with("count", 3),
            value: "uploads <b>",
        };
        assert_eq!(
            texts.render().unwrap(),
            "No uploads &#38; &#60;none&#62;|3 uploads: my {count} ***, my {count} ***|*** &#60;b&#62;"
        );
    }
}
