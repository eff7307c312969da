//! Reasons not to adopt a tar.

use crate::agent::folder::is_settled;
use crate::agent::model::FailedRecovery;
use crate::error::{Error, Kind};
use crate::store::Object;

/// Why one tar is not adopted.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The backup is listed.
    Duplicate(String),
    /// It may belong to an upload in progress.
    UnderWay(String),
    /// It has metadata.
    HasMetadata(String),
    /// It is no backup of Home Assistant, or a damaged one. Contains why.
    NotABackup(String),
    Error(Error),
}

impl Refusal {
    pub(super) fn of(self, key: &str) -> FailedRecovery {
        let (code, detail) = match self {
            Self::Duplicate(detail) => ("duplicate", detail),
            Self::UnderWay(detail) => ("under_way", detail),
            Self::HasMetadata(detail) => ("has_metadata", detail),
            Self::NotABackup(why) => (
                Kind::InvalidMetadata.code(),
                format!("\"{key}\" cannot be adopted: {why}."),
            ),
            Self::Error(error) => (error.kind().code(), error.to_string()),
        };
        FailedRecovery {
            key: key.to_owned(),
            code,
            detail,
        }
    }

    pub(super) fn under_way(tar: &Object) -> Self {
        let detail = if is_settled(tar) {
            "It is in use by an upload or a deletion."
        } else {
            "It is younger than an hour, so it may belong to an upload in progress."
        };
        Self::UnderWay(detail.to_owned())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
