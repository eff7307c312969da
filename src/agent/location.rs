//! A backup location at work: its storage, its keys, its list, and how it stands.

mod history;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;

use super::events::Events;
use super::folder::Folder;
use super::listing::{Listing, Listings};
use super::model::{Event, Failure, LastCheck, LocationStatus, Numbers, VerificationStatus};
use super::verify::Record;
use crate::config::{self, Backend, Origin};
use crate::error::{Error, Kind, Result};
use crate::store::{Keys, Patience, Store};
use crate::units::rfc3339;
use history::History;

/// A location, shared by everything that works on it.
#[derive(Debug)]
pub struct Location {
    /// Its settings.
    pub settings: config::Location,
    /// Its storage.
    pub store: Store,
    /// Its keys.
    pub keys: Keys,
    /// Its backups.
    pub listings: Arc<Listings>,
    /// The folder in its bucket, which other locations may share.
    pub folder: Arc<Folder>,
    events: Events,
    health: Arc<Mutex<Health>>,
    pub(super) history: Arc<History>,
    is_gone: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Health {
    asked: bool,
    error: Option<Failure>,
    /// As the listeners know them.
    numbers: Numbers,
    /// What is known of its backups, and what kept it from being known.
    verified: (Record, Option<Failure>),
}

impl Location {
    /// Opens a location.
    ///
    /// # Errors
    /// When its storage cannot be set up with these settings.
    pub(super) fn open(
        settings: config::Location,
        folder: Arc<Folder>,
        events: Events,
    ) -> Result<Arc<Self>> {
        let store = Store::open(&settings)?;
        let listings = Arc::new(Listings::new(store.clone(), &folder));
        Ok(Self::owning_its_list(Self {
            settings,
            store,
            keys: folder.keys.clone(),
            listings,
            folder,
            events,
            health: Arc::default(),
            history: Arc::default(),
            is_gone: Arc::default(),
        }))
    }

    fn owning_its_list(location: Self) -> Arc<Self> {
        let location = Arc::new(location);
        location.listings.tell(&location);
        location
    }

    /// The same location with other settings. Where it is still the same folder of the same bucket, its list and its
    /// status go on, and uploads under way have the new key and the new limits from their next request.
    ///
    /// # Errors
    /// As [`Self::open`]; the old one is as it was then.
    pub(super) fn reopen(
        &self,
        settings: config::Location,
        folder: Arc<Folder>,
    ) -> Result<Arc<Self>> {
        if self.folder.id != folder.id {
            return Self::open(settings, folder, self.events.clone());
        }
        let store = self.store.reopen(&settings)?;
        self.listings.use_store(store.clone());
        Ok(Self::owning_its_list(Self {
            settings,
            store,
            keys: self.keys.clone(),
            listings: Arc::clone(&self.listings),
            folder,
            events: self.events.clone(),
            health: Arc::clone(&self.health),
            history: Arc::clone(&self.history),
            is_gone: Arc::clone(&self.is_gone),
        }))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.settings.id
    }

    /// It was forgotten, or leads to another place now: nobody goes on with what is interrupted from here on.
    pub(super) fn go(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    /// The last check that was made of it.
    #[must_use]
    pub fn last_check(&self) -> Option<LastCheck> {
        self.history.last_check()
    }

    /// How long a transfer to or from it waits for storage that is away.
    #[must_use]
    pub fn patience(&self) -> Patience {
        Patience::lasting(self.settings.outage)
    }

    /// Notes what came of a call that may not have asked the storage: only its failure tells something.
    ///
    /// # Errors
    /// The one that `result` holds.
    pub fn note_error<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.note(result)
        } else {
            result
        }
    }

    /// Notes what came of a call, and tells the listeners when that changes the location's status.
    ///
    /// # Errors
    /// The one that `result` holds.
    pub fn note<T>(&self, result: Result<T>) -> Result<T> {
        match &result {
            Ok(_) => self.set_health(None),
            Err(error) if concerns_storage(error.kind()) => {
                self.set_health(Some(Failure::from(error)));
            }
            Err(_) => {}
        }
        result
    }

    /// Tells the listeners that the backups are no longer the same, and makes the next list a fresh one.
    pub fn changed(&self, backup_id: &str) {
        self.listings.changed(backup_id);
        self.listed();
        self.tell_of_backups();
    }

    /// The same when nobody knows what is different.
    pub fn outdated(&self) {
        self.listings.outdate();
        self.tell_of_backups();
    }

    fn tell_of_backups(&self) {
        self.events.send(Event::Backups {
            location: self.settings.id.clone(),
        });
        if self.events.has_listeners() {
            self.listings.list_soon();
        }
    }

    /// Tells the listeners what the list changed in the location's numbers.
    pub(super) fn listed(&self) {
        let numbers = numbers(self.listings.last());
        let mut health = self.health();
        if health.numbers != numbers {
            health.numbers = numbers;
            drop(health);
            self.events.send(Event::Location {
                location: self.status().into(),
            });
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its events go.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The location as it stands.
    #[must_use]
    pub fn status(&self) -> LocationStatus {
        let (endpoint, region, bucket) = match (&self.settings.backend, self.store.dialect()) {
            (Backend::S3(s3), Some(dialect)) => (
                dialect.endpoint.to_string(),
                Some(dialect.region),
                Some(s3.bucket.clone()),
            ),
            (Backend::S3(s3), None) => (s3.endpoint.to_string(), None, Some(s3.bucket.clone())),
            (Backend::Directory(path), _) => (format!("file://{}", path.display()), None, None),
        };
        let (asked, error, (record, why_not)) = {
            let health = self.health();
            (health.asked, health.error.clone(), health.verified.clone())
        };
        LocationStatus {
            id: self.settings.id.clone(),
            name: self.settings.name.clone(),
            provider: self.settings.provider.clone(),
            endpoint,
            region,
            bucket,
            prefix: self.settings.prefix.clone(),
            source: match self.settings.origin {
                Origin::Configuration => "configuration",
                Origin::Registered => "registered",
                Origin::Embedded => "embedded",
            },
            status: match (asked, &error) {
                (false, _) => "unknown",
                (true, None) => "ok",
                (true, Some(_)) => "error",
            },
            error,
            numbers: numbers(self.listings.last()),
            verification: VerificationStatus::of(&record, self, why_not),
        }
    }

    /// Takes what is known of its backups, and tells the listeners when that is something new.
    pub(super) fn set_verification(&self, record: Record, why_not: Option<Failure>) {
        let is_new = {
            let mut health = self.health();
            let before = std::mem::replace(&mut health.verified, (record, why_not));
            before != health.verified
        };
        if is_new {
            self.events.send(Event::Location {
                location: self.status().into(),
            });
        }
    }

    fn set_health(&self, error: Option<Failure>) {
        let changed = {
            let mut health = self.health();
            let code = |report: &Option<Failure>| report.as_ref().map(|report| report.code);
            let changed = !health.asked || code(&health.error) != code(&error);
            if changed {
                let now = rfc3339(Utc::now());
                health.asked = true;
                health.error = error.map(|report| Failure {
                    since: Some(now),
                    ..report
                });
            }
            changed
        };
        if changed {
            self.events.send(Event::Location {
                location: self.status().into(),
            });
        }
    }
}

/// Figures of the last list.
fn numbers(listing: Option<Arc<Listing>>) -> Numbers {
    listing.map(|listing| listing.numbers()).unwrap_or_default()
}

/// Whether an error says something of the location, and not only of one call.
const fn concerns_storage(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::StorageAuth
            | Kind::StorageForbidden
            | Kind::BucketNotFound
            | Kind::WrongRegion
            | Kind::ClockSkew
            | Kind::StorageCertificate
            | Kind::StorageUnreachable
            | Kind::StorageTimeout
            | Kind::StorageThrottled
            | Kind::StorageFull
            | Kind::StorageError
    )
}

/// The error for an id that no location has.
pub(super) fn not_found(id: &str) -> Error {
    Error::new(
        Kind::LocationNotFound,
        format!("There is no location \"{id}\"."),
    )
}
