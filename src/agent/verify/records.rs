//! What was found out about backups, kept in `state_dir/verified.json` over restarts: so that a schedule knows what is
//! due, and what is damaged stays said until it is gone or found to be whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{Mode, Verified};
use crate::agent::kept::keep;

const FILE: &str = "verified.json";

/// The records of all locations. They are read and written each time: a command may verify beside the agent that runs.
#[derive(Debug)]
pub(in crate::agent) struct Records {
    folder: PathBuf,
}

type Places = BTreeMap<String, Record>;

/// What is known of one location.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::agent) struct Record {
    /// The last time that the schedule came to its end.
    pub(super) last_run: Option<Run>,
    /// By the backup's id.
    pub(super) backups: BTreeMap<String, Seen>,
}

/// One time that the schedule came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) at: DateTime<Utc>,
    pub(super) mode: Mode,
    /// How many backups were looked at.
    pub(super) backups: usize,
    pub(super) read_bytes: u64,
}

/// The last look at one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    at: DateTime<Utc>,
    mode: Mode,
    is_damaged: bool,
    /// Of the tar: another one under the same id is not what was looked at.
    version: String,
}

impl Records {
    pub(in crate::agent) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.to_owned() }
    }

    pub(in crate::agent) fn of(&self, place: &str) -> Record {
        self.read().remove(place).unwrap_or_default()
    }

    /// What cannot be read is as good as none: everything is due then.
    fn read(&self) -> Places {
        fs::read(self.folder.join(FILE)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Notes a look at a backup.
    pub(super) fn note(&self, place: &str, backup_id: &str, version: &str, verified: &Verified) {
        let (mode, is_damaged, version) = (verified.mode, !verified.ok, version.to_owned());
        let seen = Seen { at: Utc::now(), mode, is_damaged, version };
        self.change(place, |record| {
            match record.backups.get(backup_id).filter(|before| before.version == seen.version) {
                // Less than a whole look proves nothing against what a whole one found.
                Some(before) if before.is_damaged && before.mode == Mode::Full && mode == Mode::Quick => {}
                _ => drop(record.backups.insert(backup_id.to_owned(), seen)),
            }
        });
    }

    /// Notes the end of a run, and forgets backups that are not there any more.
    pub(super) fn ended(&self, place: &str, run: Run, there: &BTreeSet<String>) {
        self.change(place, |record| {
            record.last_run = Some(run);
            record.backups.retain(|id, _| there.contains(id));
        });
    }

    fn change(&self, place: &str, change: impl FnOnce(&mut Record)) {
        // A command that has no state directory has nothing to remember either.
        if !self.folder.exists() {
            return;
        }
        let written = File::open(&self.folder).and_then(|folder| {
            folder.lock()?;
            let mut places = self.read();
            change(places.entry(place.to_owned()).or_default());
            keep(&self.folder.join(FILE), &serde_json::to_vec_pretty(&places)?)
        });
        if let Err(error) = written {
            let folder = self.folder.display();
            warn!("\"{folder}\" cannot be written: {error}; what was found out about a backup is forgotten");
        }
    }
}

impl Record {
    /// When the schedule is to be followed next. A time that lies ahead is of a clock that was wrong.
    pub(super) fn due_at(&self, every: chrono::TimeDelta, now: DateTime<Utc>) -> DateTime<Utc> {
        self.last_run.as_ref().map(|run| run.at).filter(|at| *at <= now).map_or(now, |at| at + every)
    }

    /// Those that nobody looked at for the longest time, as many as `sample` says. `ids` begin with the newest.
    pub(super) fn choose(&self, ids: Vec<String>, sample: Option<usize>) -> Vec<String> {
        let mut ids = ids;
        ids.sort_by_key(|id| self.backups.get(id).map(|seen| seen.at));
        ids.truncate(sample.unwrap_or(usize::MAX));
        ids
    }

    /// Backups that are known to be damaged, of those that `is_there` finds by id and version.
    pub(super) fn damaged(&self, is_there: impl Fn(&str, &str) -> bool) -> Vec<String> {
        let damaged = self.backups.iter().filter(|(id, seen)| seen.is_damaged && is_there(id, &seen.version));
        damaged.map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn verified(mode: Mode, ok: bool) -> Verified {
        Verified { ok, mode, size_bytes: 1, read_bytes: 1, sha256: None, problems: Vec::new() }
    }

    #[test]
    fn what_is_known_lasts_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        records.note("here", "a1", "v1", &verified(Mode::Full, false));
        records.note("here", "b2", "v1", &verified(Mode::Quick, true));
        let again = Records::new(folder.path());
        assert_eq!(again.of("here"), records.of("here"));
        assert_eq!(again.of("here").damaged(|_, _| true), ["a1"]);
        assert_eq!(again.of("elsewhere"), Record::default());
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(Records::new(folder.path()).of("here"), Record::default());
    }

    #[test]
    fn a_quick_look_does_not_acquit() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        for (mode, ok, damaged) in
            [(Mode::Full, false, 1), (Mode::Quick, true, 1), (Mode::Full, true, 0), (Mode::Quick, false, 1)]
        {
            records.note("here", "a1", "v1", &verified(mode, ok));
            assert_eq!(records.of("here").damaged(|_, _| true).len(), damaged, "{mode:?} {ok}");
        }
        assert_eq!(records.of("here").damaged(|_, version| version == "v2").len(), 0, "it is another one now");
    }

    #[test]
    fn those_that_were_not_looked_at_for_long_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        let ids = || ["new", "b", "a"].map(str::to_owned).to_vec();
        assert_eq!(records.of("here").choose(ids(), Some(2)), ["new", "b"]);
        records.note("here", "new", "v1", &verified(Mode::Full, true));
        records.note("here", "b", "v1", &verified(Mode::Full, true));
        assert_eq!(records.of("here").choose(ids(), Some(2)), ["a", "new"]);
        assert_eq!(records.of("here").choose(ids(), None).len(), 3);
    }

    #[test]
    fn it_is_due_at_once_and_then_when_its_time_is_over() {
        let (now, every) = (Utc::now(), TimeDelta::days(7));
        let ran = |at| Record {
            last_run: Some(Run { at, mode: Mode::Full, backups: 1, read_bytes: 1 }),
            ..Record::default()
        };
        assert_eq!(Record::default().due_at(every, now), now);
        assert_eq!(ran(now - TimeDelta::days(9)).due_at(every, now), now - TimeDelta::days(2));
        assert_eq!(ran(now + TimeDelta::days(9)).due_at(every, now), now, "the clock was wrong");
    }
}
