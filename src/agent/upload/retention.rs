//! Decides whether the stored parts of an upload are kept for the next attempt.

use crate::error::{Error, Kind};

/// Sender of an upload, which decides whether there is a next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploader {
    /// Home Assistant, which uploads a backup again after an interruption.
    HomeAssistant,
    /// A copy between locations, which is repeated after any failure.
    Copy,
    /// A command, which is not repeated.
    Command,
}

/// Reason why an upload ends without a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) enum Reason {
    /// A person cancelled it.
    Cancelled,
    /// Its location was removed, or leads to another folder now.
    LocationRemoved,
    /// Another upload of the same backup began.
    Superseded,
    /// No call came for too long.
    Expired,
    /// The agent stops.
    ShuttingDown,
    /// The sender left, or its body could not be read to the end.
    SenderLeft,
    /// The content is not the announced backup.
    InvalidContent,
    /// The storage failed while all stored parts stayed intact.
    Storage,
    /// The commit failed: the tar may be complete, so that its parts are gone.
    Commit,
    /// No journal records its parts, so that neither an upload nor the sweep would find them.
    NotJournaled,
}

/// Fate of the stored parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retention {
    /// They stay for the next attempt, until they expire.
    Keep,
    /// They are removed at once.
    Discard,
}

impl Reason {
    /// The reason for an error while content arrives.
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            Kind::InvalidMetadata | Kind::SizeMismatch | Kind::ChecksumMismatch => {
                Self::InvalidContent
            }
            Kind::InvalidRequest => Self::SenderLeft,
            _ => Self::Storage,
        }
    }
}

/// Decides whether the stored parts are kept.
pub(super) const fn retention(reason: Reason, uploader: Uploader) -> Retention {
    use Reason::{Expired, SenderLeft, ShuttingDown, Storage, Superseded};
    match (reason, uploader) {
        (_, Uploader::Command) => Retention::Discard,
        (Superseded | Expired | ShuttingDown | SenderLeft, _) | (Storage, Uploader::Copy) => {
            Retention::Keep
        }
        _ => Retention::Discard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_only_for_a_sender_that_comes_again() {
        use Reason::{
            Cancelled, Commit, Expired, InvalidContent, LocationRemoved, NotJournaled, SenderLeft,
            ShuttingDown, Storage, Superseded,
        };
        let kept = |reason| {
            [Uploader::HomeAssistant, Uploader::Copy, Uploader::Command]
                .map(|uploader| retention(reason, uploader) == Retention::Keep)
        };
        for reason in [Superseded, Expired, ShuttingDown, SenderLeft] {
            assert_eq!(kept(reason), [true, true, false], "{reason:?}");
        }
        assert_eq!(kept(Storage), [false, true, false]);
        for reason in [
            Cancelled,
            LocationRemoved,
            InvalidContent,
            Commit,
            NotJournaled,
        ] {
            assert_eq!(kept(reason), [false; 3], "{reason:?}");
        }
    }
}
