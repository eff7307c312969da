//! Steps that the answer to one signed request proves.

use crate::store::Outcome;

/// What a provider validates before the permission.
pub(super) const SIGNED: [&str; 4] = ["clock", "signature", "region", "bucket"];

/// Returns how many of these an answer proves, and the step that it ends.
pub(super) fn proven(outcome: Option<Outcome>) -> (usize, &'static str) {
    match outcome {
        Some(Outcome::ClockSkew) => (0, "clock"),
        Some(Outcome::Auth) => (1, "signature"),
        Some(Outcome::WrongRegion) => (2, "region"),
        Some(Outcome::BucketNotFound) => (3, "bucket"),
        None | Some(Outcome::Forbidden | Outcome::NotFound) => (SIGNED.len(), "list"),
        // No answer, the answer of another server, or one that may precede any validation.
        Some(_) => (0, "list"),
    }
}
