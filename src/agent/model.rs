//! What leaves the agent: the types of events, statuses and reports that the protocol, the page and the command line show.
//!
//! `docs/development/protocol.md` describes their JSON. They hold no secret, and nothing here imports the machinery that fills them.

mod beside;
mod check;
mod download;
mod event;
mod failure;
mod key;
mod location;
mod recovery;
mod skipped;
mod upload;
mod verify;

pub use beside::Beside;
pub use check::{CheckNote, CheckReport, CheckStep, LastCheck};
pub use download::BrokenDownload;
pub use event::Event;
pub use failure::Failure;
pub use key::KeyCheck;
pub use location::{Counts, LastSweep, LastUpload, LocationStatus, Numbers};
pub use recovery::{FailedRecovery, Recovered, Recovery};
pub use skipped::{SkipCode, SkipCounts, Skipped};
pub use upload::{UploadState, UploadStatus};
pub use verify::{
    Finding, FindingCode, LastVerified, VerificationStatus, VerifyMode, VerifyReport, VerifyStep,
};
