//! Verifies that a backup in the bucket is the one that was uploaded, and that it can be restored.
//!
//! Quick: the tar exists with the recorded size, its headers are complete, and its manifest matches the metadata.
//! Full: the whole tar is read too, and its hashes are compared. Problems of the backup are in the report; an error
//! means that it could not be verified.

mod backup;
mod hashes;
pub(super) mod record;
mod records;
pub(super) mod schedule;
pub(super) mod status;
mod verifier;

pub use verifier::Verification;
pub(super) use verifier::Verifier;
