//! What a check of a backup's key tells.

use serde::Serialize;
use utoipa::ToSchema;

/// Whether a key opens a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyCheck {
    /// It opens the backup.
    Opens,
    /// The backup is encrypted with another key.
    Wrong,
    /// The backup needs no key.
    NotEncrypted,
}
