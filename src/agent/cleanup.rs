//! Deletes what no backup needs: backups on request, the objects of failed uploads, expired journals, orphaned parts.
//!
//! Each deletion is journaled before its first request, so that the [`sweep`] finishes it after a crash or an outage.
//! Another agent on the same folder may have taken the name since, so each object's identity is checked before it is deleted.

mod delete;
mod sweep;
mod tombstone;

pub(super) use delete::{Deletion, EarlierCopy, delete};
pub(super) use sweep::Sweeper;
pub(super) use tombstone::{abandon, abort_parts, erase_failed, retract_metadata, unfinished};
