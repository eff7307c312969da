//! Escaping of values in templates.

use std::fmt;

use askama::filters::{Escaper, Html};

use crate::logging::scrub::scrub;

/// Scrubs secrets, then escapes HTML: a name or an address may hold a secret that was pasted into the wrong field.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scrubbed;

impl Escaper for Scrubbed {
    fn write_escaped_str<W: fmt::Write>(&self, writer: W, text: &str) -> fmt::Result {
        Html.write_escaped_str(writer, &scrub(text))
    }

    fn write_escaped_char<W: fmt::Write>(&self, writer: W, character: char) -> fmt::Result {
        Html.write_escaped_char(writer, character)
    }
}
