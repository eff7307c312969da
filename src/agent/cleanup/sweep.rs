//! Removes expired leftovers of interrupted uploads.
//!
//! The journals name what this agent stored. The storage, if the key may list unfinished uploads, also names what a lost
//! journal, a lost answer or a removed agent left. Of the latter the sweep removes only what lies in the location's own
//! folder, has a name that an agent gives, and was untouched for a day by the storage's clock. That spares the uploads of
//! other agents and other tools.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::tombstone::abandon;
use crate::agent::folder::FolderId;
use crate::agent::journal::{self, Journals};
use crate::agent::location::Location;
use crate::agent::registry::Registry;
use crate::store::{Leftover, Leftovers, Patience};

/// Interval between sweeps of the journals, and between attempts at a storage that did not answer.
const INTERVAL: Duration = Duration::from_hours(1);

/// Interval between sweeps of one storage.
const STORAGE_INTERVAL: Duration = Duration::from_hours(6);

/// Leftovers of a storage expire after this long without a change.
const KEPT_FOR: TimeDelta = TimeDelta::seconds(journal::KEPT_FOR.as_secs().cast_signed());

/// Home Assistant registers its locations within this time of its start.
const REGISTERED_WITHIN: Duration = Duration::from_mins(10);

/// Leftovers of one location that one sweep examines. The next sweep examines the rest.
const MAX_EXAMINED: usize = 1000;

/// Sweeps journals and storages.
#[derive(Debug)]
pub(in crate::agent) struct Sweeper {
    journals: Arc<Journals>,
    locations: Arc<Registry>,
    tasks: TaskTracker,
    /// Time of each storage's last sweep.
    swept: HashMap<(String, FolderId), Instant>,
    /// Journals without a location, and since when; none once that is logged.
    unclaimed: HashMap<(FolderId, String), Option<Instant>>,
}

impl Sweeper {
    pub(in crate::agent) fn new(
        journals: Arc<Journals>,
        locations: Arc<Registry>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            journals,
            locations,
            tasks,
            swept: HashMap::new(),
            unclaimed: HashMap::new(),
        }
    }

    /// Sweeps at start, for each new location, and periodically, until the agent stops.
    pub(in crate::agent) async fn run(mut self, stopping: CancellationToken) {
        let mut ticks = interval(INTERVAL);
        let mut changes = self.locations.changes();
        let sweeping = async {
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = changes.changed() => {}
                }
                self.sweep_journals().await;
                self.sweep_storages().await;
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = sweeping => {}
        }
    }

    /// Discards what expired journals name.
    pub(in crate::agent) async fn sweep_journals(&mut self) {
        for upload in self.journals.expired().await {
            let (folder, key) = (&upload.header.folder, &upload.header.key);
            if let Some(location) = self.locations.at(folder) {
                info!("sweeping an interrupted upload of \"{key}\" in {folder}");
                abandon(&location, upload, &self.tasks);
            } else {
                let since = self
                    .unclaimed
                    .entry((folder.clone(), key.clone()))
                    .or_insert_with(|| Some(Instant::now()));
                if since.is_some_and(|since| since.elapsed() >= REGISTERED_WITHIN) {
                    *since = None;
                    warn!(
                        "an interrupted upload of \"{key}\" stays: no location leads to {folder}"
                    );
                }
            }
        }
    }

    /// Discards interrupted uploads to a folder that no location leads to any more: they cannot be resumed.
    pub(in crate::agent) async fn sweep_abandoned(&self, location: &Arc<Location>) {
        if self.locations.at(&location.folder.id).is_none() {
            for upload in self.journals.interrupted_in(&location.folder.id).await {
                abandon(location, upload, &self.tasks);
            }
        }
    }

    async fn sweep_storages(&mut self) {
        let is_due = |location: &Arc<Location>| {
            let swept = self.swept.get(&storage(location));
            swept.is_none_or(|at| at.elapsed() >= STORAGE_INTERVAL)
        };
        let due = self.locations.all().into_iter().filter(is_due);
        // Concurrently: a slow storage does not delay the others.
        let journals = &self.journals;
        let sweeps = due.map(async |location| {
            sweep_storage(journals, &location)
                .await
                .then(|| (storage(&location), Instant::now()))
        });
        self.swept
            .extend(join_all(sweeps).await.into_iter().flatten());
    }
}

fn storage(location: &Location) -> (String, FolderId) {
    (location.id().to_owned(), location.folder.id.clone())
}

/// Sweeps a storage, and returns false if it is to be retried soon.
async fn sweep_storage(journals: &Journals, location: &Location) -> bool {
    match location
        .store
        .leftovers(location.folder.keys.folder(), Patience::INTERACTIVE)
        .await
    {
        Ok(found) => {
            let unfinished = found.all.len();
            let (removed, error) = remove_expired(journals, location, found).await;
            location.history().swept(Some(unfinished), removed, error);
            true
        }
        Err(error) if error.outcome.is_transient() => {
            debug!("{error}");
            false
        }
        Err(error) => {
            let mut history = location.history();
            let is_known =
                (history.last_sweep.as_ref()).is_some_and(|last| last.unfinished.is_none());
            if !is_known {
                info!("{error}; only leftovers that a journal names are swept");
            }
            history.swept(None, 0, Some(error.to_string()));
            true
        }
    }
}

/// Removes expired leftovers. Returns their number and the last error.
async fn remove_expired(
    journals: &Journals,
    location: &Location,
    found: Leftovers,
) -> (usize, Option<String>) {
    let (mut removed, mut failed) = (0, None);
    let is_old = |leftover: &&Leftover| {
        found.now - leftover.begun >= KEPT_FOR && location.folder.keys.may_be_ours(&leftover.key)
    };
    for leftover in found.all.iter().filter(is_old).take(MAX_EXAMINED) {
        let Some(age) = expired_age(journals, location, leftover, &found).await else {
            continue;
        };
        let (key, storage, age_hours) =
            (&leftover.key, location.store.description(), age.num_hours());
        match location
            .store
            .remove_leftover(leftover, Patience::INTERACTIVE)
            .await
        {
            Ok(()) => {
                removed += 1;
                info!(
                    age_hours,
                    "swept an unfinished upload of \"{key}\" in {storage}"
                );
            }
            Err(error) => {
                warn!(
                    age_hours,
                    "could not sweep an unfinished upload of \"{key}\" in {storage}: {error}"
                );
                failed = Some(error.to_string());
            }
        }
    }
    (removed, failed)
}

/// The age of a leftover that has expired and has no journal.
async fn expired_age(
    journals: &Journals,
    location: &Location,
    leftover: &Leftover,
    found: &Leftovers,
) -> Option<TimeDelta> {
    // A large upload over a slow line takes days. If the storage does not tell when the last part came, the upload may be
    // active.
    let touched = location
        .store
        .last_touched(leftover, Patience::INTERACTIVE)
        .await?;
    let age = found.now - touched;
    // Checked last: an upload may have resumed it meanwhile.
    let known = journals
        .of_key(&location.folder.id, leftover.key.as_str())
        .await;
    let is_known = match leftover.upload_id() {
        Some(id) if !known.is_empty() => known
            .iter()
            .any(|header| header.upload_id.as_deref() == Some(id)),
        _ => !known.is_empty() || location.folder.is_uploaded(&leftover.key),
    };
    (age >= KEPT_FOR && !is_known).then_some(age)
}
