//! Deletions to be finished, as journals record them.

use serde::{Deserialize, Serialize};

/// A deletion to be finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::agent) enum Tombstone {
    /// Objects of an upload that failed during its commit, after the sender got the error.
    Failed {
        /// SHA-256 of the metadata object, if the agent may have written it. It identifies the attempt: all attempts may
        /// write the same tar, but no two write the same metadata.
        metadata: Option<String>,
        /// The tar's version, if the agent has seen it.
        version: Option<String>,
    },
    /// The tar of a deleted backup. If its metadata still exists, the deletion never began.
    Deleted {
        /// The tar's version.
        version: String,
    },
}
