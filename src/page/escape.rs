//! How values come into the templates.

use std::fmt;

use askama::filters::{Escaper, Html};

use crate::logging::scrub::scrub;

/// Takes secrets out, then escapes for HTML: a name or an address can hold what somebody pasted into the wrong field.
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
