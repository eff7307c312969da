//! A value that is never printed.

use std::fmt;
use std::sync::Arc;

use crate::logging::scrub;

/// A password, key or token. `Debug` shows asterisks, and there is no `Display` and no `Serialize`. Should its text come
/// into a log record or into diagnostics by another way, it is taken out there.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        let value = value.into();
        scrub::hide(&value);
        Self(value)
    }

    /// Wraps what is no secret where everything is in its place, such as the id of a key: it is only not to be repeated.
    pub fn of_id(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(scrub::HIDDEN)
    }
}
