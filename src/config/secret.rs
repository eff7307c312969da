//! A value that is never printed.

use std::fmt;
use std::sync::Arc;

use crate::logging::scrub::{HIDDEN, Hidden};

/// A password, key or token. `Debug` shows asterisks; `Display` and `Serialize` are not implemented. If its text gets into
/// a log record or into diagnostics anyway, the scrubber removes it there. The last copy clears its memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Hidden>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Hidden::new(value))
    }

    /// The value itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.text()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}
