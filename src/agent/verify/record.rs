//! Record of one folder: what is due to be verified, which backups are damaged, and which tars are no backups.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::agent::model::{LastVerified, VerifyMode};
use crate::store::Object;
use crate::units::rfc3339;

/// Results of verifying the backups of one folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::agent) struct Record {
    /// The last scheduled run that reached its end.
    pub(super) last_run: Option<Run>,
    /// By backup id.
    backups: BTreeMap<String, Seen>,
    /// When reading a backup last failed, by backup id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unread: BTreeMap<String, DateTime<Utc>>,
    /// Tars without metadata that are no backups, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    not_backups: BTreeMap<String, NotABackup>,
}

/// A tar without metadata that is no backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::agent) struct NotABackup {
    /// Version of the tar: another version may be a backup.
    version: String,
    /// What is wrong with it.
    reason: String,
}

/// A scheduled run that reached its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) at: DateTime<Utc>,
    pub(super) mode: VerifyMode,
    /// Number of verified backups.
    pub(super) backups: usize,
    pub(super) read_bytes: u64,
}

/// Last verification of one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) at: DateTime<Utc>,
    pub(super) mode: VerifyMode,
    pub(super) is_damaged: bool,
    /// Version of the tar: another version is another backup.
    pub(super) version: String,
    /// What was found, as sentences. Version 0.1 did not record it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) problems: Vec<String>,
}

impl NotABackup {
    pub(in crate::agent) fn of(tar: &Object, reason: &str) -> Self {
        Self {
            version: tar.version.clone(),
            reason: reason.to_owned(),
        }
    }
}

impl Record {
    /// Adds the verification of a backup.
    pub(super) fn add(&mut self, id: String, seen: Seen) {
        self.unread.remove(&id);
        let before = self.backups.get_mut(&id);
        match before.filter(|before| before.version == seen.version) {
            // A quick look cannot refute the finding of a full one; only the backup's turn is over.
            Some(before)
                if before.is_damaged
                    && before.mode == VerifyMode::Full
                    && seen.mode == VerifyMode::Quick =>
            {
                before.at = seen.at;
            }
            _ => drop(self.backups.insert(id, seen)),
        }
    }

    /// Adds a backup that could not be read: the others come first in the next run.
    pub(super) fn add_unread(&mut self, id: String) {
        self.unread.insert(id, Utc::now());
    }

    /// Adds tars that are no backups, and forgets those that are no longer among `orphans`.
    pub(super) fn add_not_backups(
        &mut self,
        found: BTreeMap<String, NotABackup>,
        orphans: &BTreeSet<String>,
    ) {
        self.not_backups.extend(found);
        self.not_backups.retain(|key, _| orphans.contains(key));
    }

    /// Why this tar is no backup, if it is known to be none.
    pub(in crate::agent) fn why_not_a_backup(&self, tar: &Object) -> Option<&str> {
        let known = self.not_backups.get(tar.key.as_str())?;
        (known.version == tar.version).then_some(&*known.reason)
    }

    /// Ends a run, and forgets the backups in `gone` unless they were verified since.
    pub(super) fn end(&mut self, run: Run, gone: &Self) {
        self.last_run = Some(run);
        self.backups
            .retain(|id, seen| gone.backups.get(id) != Some(seen));
        self.unread.retain(|id, at| gone.unread.get(id) != Some(at));
    }

    /// When a backup was verified last.
    pub(in crate::agent) fn last_at(&self) -> Option<DateTime<Utc>> {
        self.backups.values().map(|seen| seen.at).max()
    }

    /// When the next run is due. A last run in the future was dated by a wrong clock.
    pub(super) fn due_at(&self, every: TimeDelta, now: DateTime<Utc>) -> DateTime<Utc> {
        self.last_run
            .as_ref()
            .map(|run| run.at)
            .filter(|at| *at <= now)
            .map_or(now, |at| at + every)
    }

    /// The record without these backups.
    pub(super) fn without(mut self, ids: &[String]) -> Self {
        for id in ids {
            self.backups.remove(id);
            self.unread.remove(id);
        }
        self
    }

    /// Sorts backup ids for a run: the longest unverified first, then in the given order.
    pub(super) fn in_turn(&self, mut ids: Vec<String>) -> Vec<String> {
        ids.sort_by_key(|id| {
            let seen = self.backups.get(id).map(|seen| seen.at);
            seen.max(self.unread.get(id).copied())
        });
        ids
    }

    /// The last verification of a backup whose tar has this version.
    pub(in crate::agent) fn last(&self, id: &str, version: &str) -> Option<LastVerified> {
        let seen = self.backups.get(id);
        seen.filter(|seen| seen.version == version)
            .map(|seen| LastVerified {
                at: rfc3339(seen.at),
                mode: seen.mode,
                is_damaged: seen.is_damaged,
            })
    }

    /// Unread backups, of those that `exists` finds by id.
    pub(super) fn unread(&self, exists: impl Fn(&str) -> bool) -> Vec<String> {
        let unread = self.unread.keys().filter(|id| exists(id));
        unread.cloned().collect()
    }

    /// What a full verification found wrong with this version of a backup's tar; none if it found nothing.
    pub(super) fn finding(&self, id: &str, version: &str) -> Option<&[String]> {
        let seen = self
            .backups
            .get(id)
            .filter(|seen| seen.version == version)?;
        (seen.is_damaged && seen.mode == VerifyMode::Full).then_some(&seen.problems)
    }

    /// Damaged backups, of those that `exists` finds by id and version.
    pub(super) fn damaged(&self, exists: impl Fn(&str, &str) -> bool) -> Vec<String> {
        let damaged = self
            .backups
            .iter()
            .filter(|(id, seen)| seen.is_damaged && exists(id, &seen.version));
        damaged.map(|(id, _)| id.clone()).collect()
    }
}
