//! What was found out about backups, kept in `state_dir/verified.json` over restarts: so that a schedule knows what is
//! due, and what is damaged stays said until it is gone or found to be whole.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::agent::kept::keep;
use crate::agent::model::{VerifyMode, VerifyReport};

const FILE: &str = "verified.json";

/// Locked while the file is changed: a command may verify beside the agent that runs.
const LOCK: &str = "verified.lock";

/// How often it is looked whether another process is done with the file, and how long in between.
const LOOKS: usize = 100;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The records of all locations. They are read and written each time, so that two processes know the same.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Records {
    folder: Arc<Path>,
    /// What could not be written, by place. It holds until it is, or until this process ends.
    unwritten: Arc<Mutex<Places>>,
    /// Held while they are changed.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Held from reading one until a status has it.
    showing: Arc<Mutex<()>>,
}

type Places = BTreeMap<String, Record>;

/// What is known of one location.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::agent) struct Record {
    /// The last time that the schedule came to its end.
    pub(super) last_run: Option<Run>,
    /// By the backup's id.
    pub(super) backups: BTreeMap<String, Seen>,
    /// When a backup could not be looked at, by its id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unread: BTreeMap<String, DateTime<Utc>>,
}

/// One time that the schedule came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) at: DateTime<Utc>,
    pub(super) mode: VerifyMode,
    /// How many backups were looked at.
    pub(super) backups: usize,
    pub(super) read_bytes: u64,
}

/// The last look at one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    at: DateTime<Utc>,
    mode: VerifyMode,
    is_damaged: bool,
    /// Of the tar: another one under the same id is not what was looked at.
    version: String,
}

impl Records {
    pub(in crate::agent) fn new(state_dir: &Path) -> Self {
        Self {
            folder: state_dir.into(),
            unwritten: Arc::default(),
            changing: Arc::default(),
            showing: Arc::default(),
        }
    }

    pub(in crate::agent) fn of(&self, place: &str) -> Record {
        self.read().remove(place).unwrap_or_default()
    }

    /// Held by who shows one: of two at the same time, the later one knows more.
    pub(super) fn showing(&self) -> MutexGuard<'_, ()> {
        self.showing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What cannot be read is as good as none: everything is due then.
    fn read(&self) -> Places {
        let text = fs::read(self.folder.join(FILE)).ok();
        let mut places: Places = text
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        places.extend(self.unwritten().clone());
        places
    }

    fn unwritten(&self) -> MutexGuard<'_, Places> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a look at a backup.
    pub(super) async fn note(
        &self,
        place: &str,
        backup_id: &str,
        version: &str,
        verified: &VerifyReport,
    ) {
        let (mode, is_damaged, version) = (verified.mode, !verified.ok, version.to_owned());
        let (id, seen) = (
            backup_id.to_owned(),
            Seen {
                at: Utc::now(),
                mode,
                is_damaged,
                version,
            },
        );
        self.change(place, move |record| {
            record.unread.remove(&id);
            match record
                .backups
                .get_mut(&id)
                .filter(|before| before.version == seen.version)
            {
                // Less than a whole look proves nothing against what a whole one found; but it had its turn.
                Some(before)
                    if before.is_damaged
                        && before.mode == VerifyMode::Full
                        && mode == VerifyMode::Quick =>
                {
                    before.at = seen.at;
                }
                _ => drop(record.backups.insert(id, seen)),
            }
        })
        .await;
    }

    /// Notes that a backup could not be looked at: the others come first the next time.
    pub(super) async fn unread(&self, place: &str, backup_id: &str) {
        let id = backup_id.to_owned();
        self.change(place, |record| record.unread.extend([(id, Utc::now())]))
            .await;
    }

    /// Notes the end of a run, and forgets what is `gone`, but for backups that somebody looked at since.
    pub(super) async fn ended(&self, place: &str, run: Run, gone: Record) {
        self.change(place, move |record| {
            record.last_run = Some(run);
            record
                .backups
                .retain(|id, seen| gone.backups.get(id) != Some(seen));
            record
                .unread
                .retain(|id, at| gone.unread.get(id) != Some(at));
        })
        .await;
    }

    async fn change(&self, place: &str, change: impl FnOnce(&mut Record) + Send + 'static) {
        let (records, place) = (self.clone(), place.to_owned());
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let changed = spawn_blocking(move || {
            records.change_now(&place, change);
            drop(changing);
        });
        drop(changed.await);
    }

    fn change_now(&self, place: &str, change: impl FnOnce(&mut Record)) {
        let locked = self.lock();
        let mut places = self.read();
        change(places.entry(place.to_owned()).or_default());
        let written = locked.and_then(|lock| {
            keep(
                &self.folder.join(FILE),
                &serde_json::to_vec_pretty(&places)?,
            )?;
            lock.unlock()
        });
        let mut unwritten = self.unwritten();
        let Err(error) = written else {
            return unwritten.clear();
        };
        // Said once; and a command that has no state directory has nothing to remember either.
        if unwritten.is_empty() && self.folder.exists() {
            let folder = self.folder.display();
            warn!(
                "\"{folder}\" cannot be written: {error}; what verifying finds is forgotten when the agent ends"
            );
        }
        unwritten.extend(places.remove_entry(place));
    }

    fn lock(&self) -> io::Result<File> {
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.folder.join(LOCK))?;
        for _ in 0..LOOKS {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => sleep(LOOK_EVERY),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "another process holds it",
        ))
    }
}

impl Record {
    /// When the schedule is to be followed next. A time that lies ahead is of a clock that was wrong.
    pub(super) fn due_at(&self, every: chrono::TimeDelta, now: DateTime<Utc>) -> DateTime<Utc> {
        self.last_run
            .as_ref()
            .map(|run| run.at)
            .filter(|at| *at <= now)
            .map_or(now, |at| at + every)
    }

    /// What is known of all backups but these.
    pub(super) fn without(mut self, ids: &[String]) -> Self {
        for id in ids {
            self.backups.remove(id);
            self.unread.remove(id);
        }
        self
    }

    /// First those that nobody looked at, or tried to, for the longest time. `ids` begin with the newest.
    pub(super) fn in_turn(&self, ids: Vec<String>) -> Vec<String> {
        let mut ids = ids;
        ids.sort_by_key(|id| {
            self.backups
                .get(id)
                .map(|seen| seen.at)
                .max(self.unread.get(id).copied())
        });
        ids
    }

    /// Backups that nobody could look at since, of those that `is_there` finds by id.
    pub(super) fn unread(&self, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        self.unread
            .keys()
            .filter(|id| is_there(id))
            .cloned()
            .collect()
    }

    /// Backups that are known to be damaged, of those that `is_there` finds by id and version.
    pub(super) fn damaged(&self, is_there: impl Fn(&str, &str) -> bool) -> Vec<String> {
        let damaged = self
            .backups
            .iter()
            .filter(|(id, seen)| seen.is_damaged && is_there(id, &seen.version));
        damaged.map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn verified(mode: VerifyMode, ok: bool) -> VerifyReport {
        VerifyReport {
            ok,
            mode,
            size_bytes: 1,
            read_bytes: 1,
            sha256: None,
            problems: Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_is_known_lasts_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        records
            .note("here", "a1", "v1", &verified(VerifyMode::Full, false))
            .await;
        records
            .note("here", "b2", "v1", &verified(VerifyMode::Quick, true))
            .await;
        let again = Records::new(folder.path());
        assert_eq!(again.of("here"), records.of("here"));
        assert_eq!(again.of("here").damaged(|_, _| true), ["a1"]);
        assert_eq!(again.of("elsewhere"), Record::default());
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(Records::new(folder.path()).of("here"), Record::default());
    }

    #[tokio::test]
    async fn a_quick_look_does_not_acquit() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        for (mode, ok, damaged) in [
            (VerifyMode::Full, false, 1),
            (VerifyMode::Quick, true, 1),
            (VerifyMode::Full, true, 0),
            (VerifyMode::Quick, false, 1),
        ] {
            records.note("here", "a1", "v1", &verified(mode, ok)).await;
            assert_eq!(
                records.of("here").damaged(|_, _| true).len(),
                damaged,
                "{mode:?} {ok}"
            );
        }
        assert_eq!(
            records
                .of("here")
                .damaged(|_, version| version == "v2")
                .len(),
            0,
            "it is another one now"
        );
    }

    #[tokio::test]
    async fn those_that_were_not_looked_at_for_long_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        let in_turn = || {
            records
                .of("here")
                .in_turn(["new", "b", "a"].map(str::to_owned).to_vec())
        };
        assert_eq!(in_turn(), ["new", "b", "a"]);
        records
            .note("here", "new", "v1", &verified(VerifyMode::Full, true))
            .await;
        records
            .note("here", "b", "v1", &verified(VerifyMode::Full, true))
            .await;
        assert_eq!(in_turn(), ["a", "new", "b"]);
        records.unread("here", "a").await;
        assert_eq!(
            in_turn(),
            ["new", "b", "a"],
            "one that cannot be read does not come before the others for ever"
        );
    }

    #[tokio::test]
    async fn one_that_is_damaged_does_not_come_before_the_others_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        let in_turn = || {
            records
                .of("here")
                .in_turn(["b", "a"].map(str::to_owned).to_vec())
        };
        records
            .note("here", "a", "v1", &verified(VerifyMode::Full, false))
            .await;
        records
            .note("here", "b", "v1", &verified(VerifyMode::Quick, true))
            .await;
        assert_eq!(in_turn(), ["a", "b"]);
        records
            .note("here", "a", "v1", &verified(VerifyMode::Quick, true))
            .await;
        assert_eq!(in_turn(), ["b", "a"]);
        assert_eq!(records.of("here").damaged(|_, _| true), ["a"]);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_known_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let (records, lock) = (Records::new(folder.path()), folder.path().join(LOCK));
        fs::create_dir(&lock).unwrap();
        records
            .note("here", "a1", "v1", &verified(VerifyMode::Full, false))
            .await;
        records
            .note("there", "a1", "v1", &verified(VerifyMode::Full, true))
            .await;
        assert_eq!(records.of("here").damaged(|_, _| true), ["a1"]);
        assert_eq!(Records::new(folder.path()).of("here"), Record::default());
        fs::remove_dir(&lock).unwrap();
        records
            .note("here", "b2", "v1", &verified(VerifyMode::Full, false))
            .await;
        for place in ["here", "there"] {
            assert_eq!(Records::new(folder.path()).of(place), records.of(place));
        }
        assert_eq!(records.of("here").damaged(|_, _| true), ["a1", "b2"]);
    }

    #[tokio::test]
    async fn another_process_is_waited_for_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        let held = records.lock().unwrap();
        records
            .note("here", "a1", "v1", &verified(VerifyMode::Full, false))
            .await;
        assert_eq!(records.of("here").damaged(|_, _| true), ["a1"]);
        drop(held);
        records.unread("here", "b2").await;
        let again = Records::new(folder.path()).of("here");
        assert_eq!(
            (again.unread(|_| true), again.unread(|_| false).len()),
            (vec!["b2".to_owned()], 0)
        );
        records
            .note("here", "b2", "v1", &verified(VerifyMode::Quick, true))
            .await;
        assert_eq!(
            records.of("here").unread(|_| true).len(),
            0,
            "it was looked at"
        );
    }

    #[test]
    fn it_is_due_at_once_and_then_when_its_time_is_over() {
        let (now, every) = (Utc::now(), TimeDelta::days(7));
        let ran = |at| Record {
            last_run: Some(Run {
                at,
                mode: VerifyMode::Full,
                backups: 1,
                read_bytes: 1,
            }),
            ..Record::default()
        };
        assert_eq!(Record::default().due_at(every, now), now);
        assert_eq!(
            ran(now - TimeDelta::days(9)).due_at(every, now),
            now - TimeDelta::days(2)
        );
        assert_eq!(
            ran(now + TimeDelta::days(9)).due_at(every, now),
            now,
            "the clock was wrong"
        );
    }
}
