//! Verifies backups from time to time, where a location asks for it.
//!
//! What was due while the agent was not running is done when it runs again. A run that the storage or the agent's end
//! interrupts counts as none, but what it had looked at is noted: the next one goes on with the others. So does one that
//! meets a backup that cannot be read, and it counts. One whose location is gone, or has another place or schedule, ends
//! before its next backup, and counts as none.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, interval, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::records::{Record, Run};
use crate::agent::Agent;
use crate::agent::listing::Listing;
use crate::agent::location::Location;
use crate::agent::model::{Failure, VerificationStatus, VerifyMode, VerifyReport};
use crate::config::Verify;
use crate::error::{Error, Kind, Result};
use crate::units::rfc3339;

/// How often it is looked whether something is due.
const INTERVAL: Duration = Duration::from_mins(1);

/// How often it is looked whether uploads have ended.
const UPLOADS_PASS: Duration = Duration::from_secs(1);

/// Backups that are read whole at the same time: each takes a few parts of memory.
const MAX_WHOLE_LOOKS: usize = 4;

/// How long a storage that could not be asked is left alone.
const AGAIN_AFTER: Duration = Duration::from_hours(1);

impl VerificationStatus {
    /// What is shown of a record; nothing where there is nothing to say.
    pub(in crate::agent) fn of(
        record: &Record,
        location: &Location,
        error: Option<Failure>,
    ) -> Option<Self> {
        let (listing, run) = (location.listings.last(), record.last_run.as_ref());
        let damaged = record.damaged(|id, version| {
            listing.as_ref().is_none_or(|listing| {
                listing
                    .find(id)
                    .is_some_and(|entry| entry.tar.version == version)
            })
        });
        let unread = record.unread(|id| {
            listing
                .as_ref()
                .is_none_or(|listing| listing.find(id).is_some())
        });
        let next_at = location
            .settings
            .verify
            .map(|verify| rfc3339(record.due_at(every(verify), Utc::now())));
        let is_of_note =
            run.is_some() || next_at.is_some() || !damaged.is_empty() || !unread.is_empty();
        is_of_note.then(|| Self {
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
}

fn every(verify: Verify) -> TimeDelta {
    TimeDelta::from_std(verify.every).unwrap_or(TimeDelta::MAX)
}

/// Follows the schedules until the agent stops. Each run is a task of its own, so that a location that does not answer
/// keeps no other from its turn; a place has one at most.
pub(in crate::agent) async fn run(agent: Arc<Agent>) {
    let (mut ticks, mut runs) = (
        interval(INTERVAL),
        HashMap::<String, AbortOnDropHandle<()>>::new(),
    );
    let whole_looks = Arc::new(Semaphore::new(MAX_WHOLE_LOOKS));
    let following = async {
        loop {
            ticks.tick().await;
            runs.retain(|_, run| !run.is_finished());
            for location in agent.locations.all() {
                let place = location.settings.place();
                if !runs.contains_key(&place)
                    && let Some(verify) = agent.due(&location)
                {
                    let run = Arc::clone(&agent).follow_schedule(
                        location,
                        verify,
                        Arc::clone(&whole_looks),
                    );
                    runs.insert(place, AbortOnDropHandle::new(tokio::spawn(run)));
                }
            }
        }
    };
    tokio::select! {
        () = agent.stopping().cancelled() => {}
        () = following => {}
    }
}

impl Agent {
    /// Shows in a location's status what is known of its backups. What kept its schedule from its end stays.
    pub(in crate::agent) fn show_verification(&self, location: &Location) {
        let _showing = self.records.showing();
        let error = location.status().verification.and_then(|shown| shown.error);
        location.set_verification(self.records.of(&location.settings.place()), error);
    }

    /// The same when its schedule came to its end, or says what kept it from there.
    fn show_end(&self, location: &Location, error: Option<Failure>) {
        let _showing = self.records.showing();
        location.set_verification(self.records.of(&location.settings.place()), error);
    }

    /// How a location is to be verified, where that is to be done now.
    fn due(&self, location: &Location) -> Option<Verify> {
        let verify = location.settings.verify?;
        let (place, now) = (location.settings.place(), Utc::now());
        let is_due = || self.records.of(&place).due_at(every(verify), now) <= now;
        // An upload has the line to itself.
        (!self.is_resting(&place) && self.uploads_under_way().is_empty() && is_due())
            .then_some(verify)
    }

    async fn follow_schedule(
        self: Arc<Self>,
        location: Arc<Location>,
        verify: Verify,
        whole_looks: Arc<Semaphore>,
    ) {
        let ended = self.verify_some(&location, verify, &whole_looks).await;
        let Some(location) = self.still(&location) else {
            return;
        };
        let error = match ended {
            Ok(unread) => unread,
            Err(error) => {
                warn!(
                    location = location.id(),
                    "verifying backups ended early: {error}"
                );
                self.resting()
                    .insert(location.settings.place(), Instant::now());
                Some(error)
            }
        };
        self.show_end(&location, error.as_ref().map(Failure::from));
    }

    /// The location as it is registered now, unless it is gone or somewhere else.
    fn now(&self, location: &Location) -> Option<Arc<Location>> {
        self.location(location.id())
            .ok()
            .filter(|now| now.folder.id == location.folder.id)
    }

    /// The same, unless it is to be verified in another way.
    fn still(&self, location: &Location) -> Option<Arc<Location>> {
        self.now(location)
            .filter(|now| now.settings.verify == location.settings.verify)
    }

    fn is_resting(&self, place: &str) -> bool {
        self.resting()
            .get(place)
            .is_some_and(|since| since.elapsed() < AGAIN_AFTER)
    }

    /// Looks at as many as the schedule says. One that cannot be read is not one of them; the first such error is given.
    async fn verify_some(
        self: &Arc<Self>,
        location: &Arc<Location>,
        verify: Verify,
        whole_looks: &Semaphore,
    ) -> Result<Option<Error>> {
        let mode = if verify.full {
            VerifyMode::Full
        } else {
            VerifyMode::Quick
        };
        let (place, wanted) = (
            location.settings.place(),
            verify.sample.unwrap_or(usize::MAX),
        );
        let known = self.records.of(&place);
        let listing = location.note(location.listings.taken().await)?;
        let ids = newest_first(&listing);
        // What the storage did not let be read may be there.
        let gone = if listing.unread.is_some() {
            Record::default()
        } else {
            known.clone().without(&ids)
        };
        let (mut backups, mut read_bytes, mut unread) = (0, 0, None);
        for id in known.in_turn(ids) {
            if backups == wanted {
                break;
            }
            let _turn = if verify.full {
                whole_looks.acquire().await.ok()
            } else {
                None
            };
            self.let_uploads_pass().await;
            let Some(location) = &self.still(location) else {
                info!(
                    location = location.id(),
                    "stopped verifying backups: its settings are others now"
                );
                return Ok(unread);
            };
            match self.verify_unheard(location, &id, mode).await {
                Ok(verified) => {
                    backups += 1;
                    read_bytes += verified.read_bytes;
                }
                // Deleted since the list was taken.
                Err(error) if error.kind() == Kind::BackupNotFound => {}
                Err(error) => {
                    // Storage that cannot be asked says nothing of this backup.
                    location.listings.taken().await?;
                    warn!(
                        location = location.id(),
                        backup_id = id,
                        "a backup could not be verified: {error}"
                    );
                    self.records.unread(&place, &id).await;
                    unread.get_or_insert(error);
                }
            }
        }
        info!(
            location = location.id(),
            backups,
            read_bytes,
            "verified backups in {}",
            location.store.place()
        );
        self.records
            .ended(
                &place,
                Run {
                    at: Utc::now(),
                    mode,
                    backups,
                    read_bytes,
                },
                gone,
            )
            .await;
        Ok(unread)
    }

    /// An upload has the line to itself.
    async fn let_uploads_pass(&self) {
        while !self.uploads_under_way().is_empty() {
            sleep(UPLOADS_PASS).await;
        }
    }

    /// Looks at a backup while nobody listens to how far it is.
    async fn verify_unheard(
        self: &Arc<Self>,
        location: &Arc<Location>,
        id: &str,
        mode: VerifyMode,
    ) -> Result<VerifyReport> {
        // It may be another one since the last look.
        let entry = location.listings.find(id).await?;
        let (sender, _) = mpsc::channel(1);
        super::run(Arc::clone(self), Arc::clone(location), entry, mode, sender).await
    }

    /// Notes what a look at a backup came to.
    pub(super) async fn note_verified(
        &self,
        location: &Location,
        id: &str,
        version: &str,
        verified: &VerifyReport,
    ) {
        self.records
            .note(&location.settings.place(), id, version, verified)
            .await;
        // It may have another name by now, or be somebody else's news.
        if let Some(location) = self.now(location) {
            self.show_verification(&location);
        }
    }
}

fn newest_first(listing: &Listing) -> Vec<String> {
    let mut entries: Vec<_> = listing.entries.iter().collect();
    entries.sort_by_key(|entry| Reverse(entry.tar.modified));
    entries
        .into_iter()
        .map(|entry| entry.metadata.backup_id.clone())
        .collect()
}
