//! Words of warnings.

use crate::error::Error;
use crate::store::clock_offset;

/// The provider's own words and code, for a sentence in another language.
pub(super) fn said(error: &Error) -> String {
    let words = error.placeholders().get("said").map(String::as_str);
    let words: Vec<_> = words.into_iter().chain(error.provider_code()).collect();
    words.join(", ")
}

/// Formats clock skew, up to the name of the other clock.
pub(super) fn offset(ahead: chrono::Duration) -> String {
    let of = if ahead < chrono::Duration::zero() {
        ""
    } else {
        " of"
    };
    clock_offset(ahead) + of
}
