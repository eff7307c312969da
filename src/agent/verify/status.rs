//! Verification status of a location, from its folder's record.

use chrono::{TimeDelta, Utc};

use super::record::Record;
use crate::agent::catalog::Listing;
use crate::agent::model::{Failure, VerificationStatus};
use crate::config::Verify;
use crate::units::rfc3339;

/// Returns the status to show; none without a schedule and without results.
pub(in crate::agent) fn verification_status(
    record: &Record,
    listing: Option<&Listing>,
    schedule: Option<Verify>,
    error: Option<Failure>,
) -> Option<VerificationStatus> {
    let find = |id: &str| listing.and_then(|listing| listing.find(id));
    let damaged = record.damaged(|id, version| {
        listing.is_none() || find(id).is_some_and(|entry| entry.tar.version == version)
    });
    let unread = record.unread(|id| listing.is_none() || find(id).is_some());
    let run = record.last_run.as_ref();
    let next_at = schedule.map(|schedule| rfc3339(record.due_at(every(schedule), Utc::now())));
    if run.is_none() && next_at.is_none() && damaged.is_empty() && unread.is_empty() {
        return None;
    }
    Some(VerificationStatus {
        verified_at: run.map(|run| rfc3339(run.at)),
        next_at,
        mode: run.map(|run| run.mode),
        backups: run.map_or(0, |run| run.backups),
        read_bytes: run.map_or(0, |run| run.read_bytes),
        damaged,
        unread,
        error,
    })
}

/// Interval of a schedule.
pub(super) fn every(schedule: Verify) -> TimeDelta {
    TimeDelta::from_std(schedule.every).unwrap_or(TimeDelta::MAX)
}
