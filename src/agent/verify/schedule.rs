//! Verifies backups on the schedule of each location.
//!
//! A run that was due while the agent was down starts when the agent is back. A run that an outage or a shutdown
//! interrupts does not count, but its results are kept: the next run continues with the other backups. A backup that
//! cannot be read does not end the run. A run whose location is removed, moved or rescheduled ends before its next
//! backup, and does not count.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::record::{Record, Run};
use super::status::every;
use super::verifier::Verifier;
use crate::agent::catalog::Listing;
use crate::agent::folder::FolderId;
use crate::agent::location::Location;
use crate::agent::model::{Failure, VerifyMode, VerifyReport};
use crate::agent::uploads::Uploads;
use crate::config::Verify;
use crate::error::{Error, Kind, Result};
use crate::store::Patience;

/// How often the schedules are checked.
const INTERVAL: Duration = Duration::from_mins(1);

/// How often a run checks whether the uploads have ended.
const UPLOADS_INTERVAL: Duration = Duration::from_secs(1);

/// Backups that are read in full mode concurrently: each takes a few parts of memory.
const MAX_FULL: usize = 4;

/// Follows the schedules of all locations.
#[derive(Clone)]
pub(in crate::agent) struct Scheduler {
    verifier: Verifier,
    uploads: Arc<Uploads>,
}

/// What a run verified.
#[derive(Default)]
struct Progress {
    backups: usize,
    read_bytes: u64,
    /// Error of the first backup that could not be read.
    unread: Option<Error>,
}

impl Scheduler {
    pub(in crate::agent) fn new(verifier: Verifier, uploads: Arc<Uploads>) -> Self {
        Self { verifier, uploads }
    }

    /// Runs until `stopping`. Each run is its own task, so that a slow location delays no other; a folder has one at most.
    pub(in crate::agent) async fn run(self, stopping: CancellationToken) {
        let mut ticks = interval(INTERVAL);
        let mut runs: HashMap<FolderId, AbortOnDropHandle<()>> = HashMap::new();
        let full = Arc::new(Semaphore::new(MAX_FULL));
        let follow = async {
            loop {
                ticks.tick().await;
                runs.retain(|_, run| !run.is_finished());
                for location in self.verifier.locations.all() {
                    let folder = location.folder.id.clone();
                    if !runs.contains_key(&folder)
                        && let Some(schedule) = self.due(&location)
                    {
                        let run = self.clone().run_now(location, schedule, Arc::clone(&full));
                        runs.insert(folder, AbortOnDropHandle::new(tokio::spawn(run)));
                    }
                }
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = follow => {}
        }
    }

    /// The schedule of a location, if a run is due.
    fn due(&self, location: &Location) -> Option<Verify> {
        let schedule = location.settings.verify?;
        if location.folder.is_resting() || self.uploads.are_active() {
            return None;
        }
        let now = Utc::now();
        let record = self.verifier.records.of(&location.folder.id);
        (record.due_at(every(schedule), now) <= now).then_some(schedule)
    }

    async fn run_now(self, location: Arc<Location>, schedule: Verify, full: Arc<Semaphore>) {
        let ended = self.verify_backups(&location, schedule, &full).await;
        let Some(location) = self.unchanged(&location) else {
            return;
        };
        let error = ended.unwrap_or_else(|error| {
            warn!(location = location.id(), "verification run failed: {error}");
            location.folder.rest();
            Some(error)
        });
        self.verifier
            .show_with(&location, error.as_ref().map(Failure::from));
    }

    /// The location as it is now; none if it was removed, moved or rescheduled.
    fn unchanged(&self, location: &Location) -> Option<Arc<Location>> {
        self.verifier
            .current(location)
            .filter(|current| current.settings.verify == location.settings.verify)
    }

    /// Verifies as many backups as the schedule says. Returns the error of the first one that could not be read.
    async fn verify_backups(
        &self,
        location: &Arc<Location>,
        schedule: Verify,
        full: &Semaphore,
    ) -> Result<Option<Error>> {
        let mode = if schedule.full {
            VerifyMode::Full
        } else {
            VerifyMode::Quick
        };
        let records = &self.verifier.records;
        let folder = &location.folder.id;
        let known = records.of(folder);
        let listing = location.note(location.scan(Patience::INTERACTIVE).await)?;
        let ids = newest_first(&listing);
        // Metadata that could not be read may belong to a known backup.
        let gone = match listing.unread {
            Some(_) => Record::default(),
            None => known.clone().without(&ids),
        };
        let mut progress = Progress::default();
        for id in known.in_turn(ids) {
            if schedule.sample == Some(progress.backups) {
                break;
            }
            let _permit = match mode {
                VerifyMode::Full => full.acquire().await.ok(),
                VerifyMode::Quick => None,
            };
            self.wait_for_uploads().await;
            let Some(location) = self.unchanged(location) else {
                info!(
                    location = location.id(),
                    "verification run cancelled: the location's settings changed"
                );
                return Ok(progress.unread);
            };
            self.verify_one(&location, id, mode, &mut progress).await?;
        }
        let run = Run {
            at: Utc::now(),
            mode,
            backups: progress.backups,
            read_bytes: progress.read_bytes,
        };
        info!(
            location = location.id(),
            backups = run.backups,
            read_bytes = run.read_bytes,
            "verified backups in {}",
            location.store.description()
        );
        records.end_run(folder, run, gone).await;
        Ok(progress.unread)
    }

    /// # Errors
    /// When the storage is away.
    async fn verify_one(
        &self,
        location: &Arc<Location>,
        id: String,
        mode: VerifyMode,
        progress: &mut Progress,
    ) -> Result<()> {
        match self.find_and_verify(location, &id, mode).await {
            Ok(report) => {
                progress.backups += 1;
                progress.read_bytes += report.read_bytes;
            }
            // Deleted since the scan.
            Err(error) if error.kind() == Kind::BackupNotFound => {}
            Err(error) => {
                // Storage that is away says nothing about this backup.
                location.scan(Patience::INTERACTIVE).await?;
                warn!(
                    location = location.id(),
                    backup_id = id,
                    "could not verify a backup: {error}"
                );
                let records = &self.verifier.records;
                records.add_unread(&location.folder.id, &id).await;
                progress.unread.get_or_insert(error);
            }
        }
        Ok(())
    }

    async fn find_and_verify(
        &self,
        location: &Arc<Location>,
        id: &str,
        mode: VerifyMode,
    ) -> Result<VerifyReport> {
        // It may have been replaced since the scan.
        let entry = location.find(id).await?;
        let (sender, _) = mpsc::channel(1);
        self.verifier.verify(location, entry, mode, sender).await
    }

    /// Uploads have the connection to themselves.
    async fn wait_for_uploads(&self) {
        while self.uploads.are_active() {
            sleep(UPLOADS_INTERVAL).await;
        }
    }
}

fn newest_first(listing: &Listing) -> Vec<String> {
    let mut entries: Vec<_> = listing.entries.iter().collect();
    entries.sort_by_key(|entry| Reverse(entry.tar.modified));
    let ids = entries.into_iter().map(|entry| &entry.metadata.backup_id);
    ids.cloned().collect()
}
