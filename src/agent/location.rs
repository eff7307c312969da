//! A backup location at work: its storage, its keys, its list, and how it stands.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use serde::Serialize;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::events::{Event, Events, Report};
use super::listing::Listings;
use crate::config::{self, Backend, Origin};
use crate::error::{Error, Kind, Result};
use crate::store::{Key, Keys, Patience, Store};

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
    /// Held while an upload's keys are chosen.
    pub creating: Arc<tokio::sync::Mutex<()>>,
    /// Held while a backup is put in its place, by several at a time because each has its own, or taken out, by one alone.
    pub changing: Arc<tokio::sync::RwLock<()>>,
    removing: Arc<Mutex<HashSet<Key>>>,
    events: Events,
    health: Arc<Mutex<Health>>,
}

/// What keeps changes of one folder of a bucket apart, whatever the locations are called that lead there.
#[derive(Debug, Clone, Default)]
pub(super) struct Locks {
    creating: Arc<tokio::sync::Mutex<()>>,
    changing: Arc<tokio::sync::RwLock<()>>,
    removing: Arc<Mutex<HashSet<Key>>>,
}

#[derive(Debug, Default)]
struct Health {
    asked: bool,
    error: Option<Report>,
}

/// A location as the protocol shows it; never a secret in it.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The provider's name.
    pub provider: String,
    /// URL of the S3 API, or of the directory.
    pub endpoint: String,
    /// The region, where there is one.
    pub region: Option<String>,
    /// The bucket, where there is one.
    pub bucket: Option<String>,
    /// The folder in it.
    pub prefix: String,
    /// `configuration`, `registered` or `embedded`.
    pub source: &'static str,
    /// `unknown` before the first call, then `ok` or `error`.
    pub status: &'static str,
    /// What is wrong.
    pub error: Option<Report>,
    /// Number of backups in the last list.
    pub backups: Option<usize>,
    /// Size of them all in bytes.
    pub size_bytes: Option<u64>,
}

impl Location {
    /// Opens a location.
    ///
    /// # Errors
    /// When its storage cannot be set up with these settings.
    pub(super) fn open(settings: config::Location, locks: Locks, events: Events) -> Result<Arc<Self>> {
        let store = Store::open(&settings)?;
        let keys = Keys::new(&settings.prefix);
        let listings = Arc::new(Listings::new(store.clone(), keys.folder()));
        Ok(Arc::new(Self {
            settings,
            store,
            keys,
            listings,
            creating: locks.creating,
            changing: locks.changing,
            removing: locks.removing,
            events,
            health: Arc::default(),
        }))
    }

    /// The same location with other settings. Where it is still the same folder of the same bucket, its list and its
    /// status go on, and uploads under way have the new key and the new limits from their next request.
    ///
    /// # Errors
    /// As [`Self::open`]; the old one is as it was then.
    pub(super) fn reopen(&self, settings: config::Location, locks: Locks) -> Result<Arc<Self>> {
        if !self.settings.is_same_place(&settings) {
            return Self::open(settings, locks, self.events.clone());
        }
        let store = self.store.reopen(&settings)?;
        self.listings.use_store(store.clone());
        Ok(Arc::new(Self {
            settings,
            store,
            keys: self.keys.clone(),
            listings: Arc::clone(&self.listings),
            creating: Arc::clone(&self.creating),
            changing: Arc::clone(&self.changing),
            removing: Arc::clone(&self.removing),
            events: self.events.clone(),
            health: Arc::clone(&self.health),
        }))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.settings.id
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
        if result.is_err() { self.note(result) } else { result }
    }

    /// Notes what came of a call, and tells the listeners when that changes the location's status.
    ///
    /// # Errors
    /// The one that `result` holds.
    pub fn note<T>(&self, result: Result<T>) -> Result<T> {
        match &result {
            Ok(_) => self.set_health(None),
            Err(error) if concerns_storage(error.kind()) => self.set_health(Some(Report::from(error))),
            Err(_) => {}
        }
        result
    }

    /// Tells the listeners that the backups are no longer the same, and makes the next list a fresh one.
    pub fn changed(&self, backup_id: &str) {
        self.listings.changed(backup_id);
        self.events.send(Event::Backups { location: self.settings.id.clone() });
    }

    /// Deletes objects in the background, for as long as the storage may be away. No upload gets their keys meanwhile:
    /// a deletion whose answer was lost must not hit what came after it.
    pub(super) fn remove_later(self: &Arc<Self>, keys: Vec<Key>, tasks: &TaskTracker) {
        self.removing().extend(keys.iter().cloned());
        let location = Arc::clone(self);
        tasks.spawn(async move {
            for key in keys {
                if let Err(error) = location.store.delete(&key, location.patience()).await {
                    warn!("\"{key}\" is left behind: {error}");
                }
                location.removing().remove(&key);
            }
        });
    }

    /// Whether a deletion of this object is under way.
    pub(super) fn is_removing(&self, key: &Key) -> bool {
        self.removing().contains(key)
    }

    fn removing(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.removing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its events go.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The location as it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let (endpoint, region, bucket) = match (&self.settings.backend, self.store.dialect()) {
            (Backend::S3(s3), Some(dialect)) => {
                (dialect.endpoint.to_string(), Some(dialect.region), Some(s3.bucket.clone()))
            }
            (Backend::S3(s3), None) => (s3.endpoint.to_string(), None, Some(s3.bucket.clone())),
            (Backend::Directory(path), _) => (format!("file://{}", path.display()), None, None),
        };
        let last = self.listings.last();
        let (asked, error) = {
            let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            (health.asked, health.error.clone())
        };
        Status {
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
            backups: last.as_ref().map(|listing| listing.entries.len()),
            size_bytes: last.map(|listing| listing.entries.iter().map(|entry| entry.tar.size).sum()),
        }
    }

    fn set_health(&self, error: Option<Report>) {
        let changed = {
            let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            let code = |report: &Option<Report>| report.as_ref().map(|report| report.code);
            let changed = !health.asked || code(&health.error) != code(&error);
            if changed {
                let now = Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                *health = Health { asked: true, error: error.map(|report| Report { since: Some(now), ..report }) };
            }
            changed
        };
        if changed {
            self.events.send(Event::Location { location: self.status() });
        }
    }
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
            | Kind::StorageUnreachable
            | Kind::StorageTimeout
            | Kind::StorageThrottled
            | Kind::StorageFull
            | Kind::StorageError
    )
}

/// The error for an id that no location has.
pub(super) fn not_found(id: &str) -> Error {
    Error::new(Kind::LocationNotFound, format!("There is no location \"{id}\"."))
}
