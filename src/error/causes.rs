//! The causes of an error.

use std::error::Error as StdError;
use std::io;

/// Finds a `T` among the causes.
pub(crate) fn find<'e, T: StdError + 'static>(
    error: &'e (dyn StdError + 'static),
) -> Option<&'e T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Message of the first cause, which names the fault without the layers above it.
pub(crate) fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The error and its causes, the first last.
pub(crate) fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let cause_of = |error: &'e (dyn StdError + 'static)| {
        // An I/O error that wraps another error gives that one's cause as its own.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        wrapped
            .map(|inner| inner as &(dyn StdError + 'static))
            .or_else(|| error.source())
    };
    std::iter::successors(Some(error), move |error| cause_of(*error))
}
