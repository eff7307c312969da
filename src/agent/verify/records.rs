//! Verification records of all folders, persisted in `state_dir/verified.json`.
//!
//! The file is read and written at each change, because a command may verify beside the running agent. A file that
//! version 0.1 wrote is read, and rewritten at the next change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use chrono::Utc;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tracing::warn;

use super::record::{NotABackup, Record, Run, Seen};
use crate::agent::folder::FolderId;
use crate::agent::kept::keep;
use crate::agent::model::VerifyReport;

const FILE: &str = "verified.json";

/// Locked while the file is changed.
const LOCK: &str = "verified.lock";

/// Attempts to lock the file, and the pause between them.
const LOCK_ATTEMPTS: usize = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The records of all folders.
#[derive(Debug, Clone)]
pub(super) struct Records {
    state_dir: Arc<Path>,
    /// Records that could not be written; kept until they are, or until the process ends.
    unwritten: Arc<Mutex<Folders>>,
    /// Serialises changes within the process; held in a blocking thread only.
    writing: Arc<Mutex<()>>,
}

type Folders = BTreeMap<FolderId, Record>;

/// Content of the file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Current {
        folders: Vec<FolderRecord>,
    },
    /// Version 0.1: by the text that identified a folder.
    Legacy(BTreeMap<String, Record>),
}

#[derive(Serialize, Deserialize)]
struct FolderRecord {
    folder: FolderId,
    #[serde(flatten)]
    record: Record,
}

impl Records {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.into(),
            unwritten: Arc::default(),
            writing: Arc::default(),
        }
    }

    pub(super) fn of(&self, folder: &FolderId) -> Record {
        self.read().remove(folder).unwrap_or_default()
    }

    /// Adds the verification of a backup.
    pub(super) async fn add(&self, folder: &FolderId, backup_id: &str, report: &VerifyReport) {
        let id = backup_id.to_owned();
        let seen = Seen {
            at: Utc::now(),
            mode: report.mode,
            is_damaged: !report.ok,
            version: report.version.clone(),
            problems: report
                .problems
                .iter()
                .map(|finding| finding.detail.clone())
                .collect(),
        };
        self.change(folder, move |record| record.add(id, seen))
            .await;
    }

    /// Adds a backup that could not be read.
    pub(super) async fn add_unread(&self, folder: &FolderId, backup_id: &str) {
        let id = backup_id.to_owned();
        self.change(folder, |record| record.add_unread(id)).await;
    }

    /// Adds tars that are no backups; `orphans` are the keys of all tars without metadata.
    pub(super) async fn add_not_backups(
        &self,
        folder: &FolderId,
        found: BTreeMap<String, NotABackup>,
        orphans: BTreeSet<String>,
    ) {
        self.change(folder, move |record| {
            record.add_not_backups(found, &orphans);
        })
        .await;
    }

    /// Ends a run, and forgets the backups in `gone`.
    pub(super) async fn end_run(&self, folder: &FolderId, run: Run, gone: Record) {
        self.change(folder, move |record| record.end(run, &gone))
            .await;
    }

    /// An unreadable file counts as none: every backup is due then.
    fn read(&self) -> Folders {
        let text = fs::read(self.state_dir.join(FILE)).ok();
        let content = text.and_then(|text| serde_json::from_slice(&text).ok());
        let mut folders: Folders = match content {
            None => Folders::new(),
            Some(Content::Current { folders }) => folders
                .into_iter()
                .map(|saved| (saved.folder, saved.record))
                .collect(),
            Some(Content::Legacy(records)) => records
                .into_iter()
                .filter_map(|(place, record)| Some((FolderId::from_record_of_0_1(&place)?, record)))
                .collect(),
        };
        folders.extend(self.unwritten.lock().clone());
        folders
    }

    async fn change(&self, folder: &FolderId, change: impl FnOnce(&mut Record) + Send + 'static) {
        let records = self.clone();
        let folder = folder.clone();
        drop(spawn_blocking(move || records.change_now(&folder, change)).await);
    }

    fn change_now(&self, folder: &FolderId, change: impl FnOnce(&mut Record)) {
        let _writing = self.writing.lock();
        let lock = self.lock();
        let mut folders = self.read();
        change(folders.entry(folder.clone()).or_default());
        let written = lock.and_then(|lock| {
            self.write(&folders)?;
            lock.unlock()
        });
        let mut unwritten = self.unwritten.lock();
        let Err(error) = written else {
            return unwritten.clear();
        };
        // Warned of once. A command without a state directory has nothing to remember.
        if unwritten.is_empty() && self.state_dir.exists() {
            let state_dir = self.state_dir.display();
            warn!(
                "\"{state_dir}\" cannot be written: {error}; verification results are lost when the agent stops"
            );
        }
        unwritten.extend(folders.remove_entry(folder));
    }

    fn write(&self, folders: &Folders) -> io::Result<()> {
        let folders = folders.clone().into_iter();
        let content = Content::Current {
            folders: folders
                .map(|(folder, record)| FolderRecord { folder, record })
                .collect(),
        };
        keep(
            &self.state_dir.join(FILE),
            &serde_json::to_vec_pretty(&content)?,
        )
    }

    fn lock(&self) -> io::Result<File> {
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.state_dir.join(LOCK))?;
        for _ in 0..LOCK_ATTEMPTS {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "another process holds it",
        ))
    }
}

#[cfg(test)]
mod tests;
