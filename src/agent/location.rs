//! A backup location: its settings, its storage, its folder, its catalog and its status.

mod backups;
mod health;
mod history;
pub mod ids;
pub(super) mod waiting;

use std::sync::Arc;

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::time::Instant;
use tracing::{info, warn};

use super::catalog::{Catalog, Listing};
use super::events::Events;
use super::folder::Folder;
use super::model::{Beside, CheckReport, Event, Failure, LastCheck, LocationStatus, Numbers};
use super::verify::record::Record;
use super::verify::status::verification_status;
use crate::config::{self, Backend, Origin};
use crate::error::{Error, Kind, Reason, Result};
use crate::store::{Patience, Store};
use crate::units::{lasting, rfc3339};
use health::{Change, Health, Purpose};
use history::History;

/// A location, shared by all tasks that work on it.
///
/// Its settings never change: new settings make another `Location`, with the same state if it is still the same folder.
#[derive(Debug, Clone)]
pub struct Location {
    /// Its settings.
    pub settings: Arc<config::Location>,
    /// Its storage.
    pub store: Store,
    /// The folder in its bucket, which other locations may share.
    pub folder: Arc<Folder>,
    /// List of its backups.
    pub catalog: Arc<Catalog>,
    events: Events,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    health: Health,
    /// As in the last event.
    numbers: Numbers,
    /// Why the last scheduled verification failed.
    verify_error: Option<Failure>,
    history: History,
    /// What lay beside the folder, and when.
    beside: Option<(Instant, Option<Beside>)>,
    /// Whether the location was removed or moved to another folder.
    is_gone: bool,
}

impl Location {
    /// Opens a location. Nothing is sent yet.
    pub(super) fn open(settings: config::Location, folder: Arc<Folder>, events: Events) -> Self {
        if let Backend::S3(s3) = &settings.backend
            && let Some(warning) = s3.short_secret()
        {
            warn!(location = settings.id, "{warning}");
        }
        Self {
            store: Store::open(&settings),
            settings: Arc::new(settings),
            catalog: Arc::new(Catalog::new(Arc::clone(&folder))),
            folder,
            events,
            state: Arc::default(),
        }
    }

    /// Returns the location with other settings. In the same folder, its list and its error stay, and uploads in progress
    /// use the new key and limits from their next request.
    pub(super) fn reopen(&self, settings: config::Location, folder: Arc<Folder>) -> Self {
        if self.folder.id != folder.id {
            return Self::open(settings, folder, self.events.clone());
        }
        let store = self.store.reopen(&settings);
        self.catalog.invalidate();
        let mut state = self.state.lock();
        state.health.has_new_settings();
        state.history.last_check = None;
        drop(state);
        Self {
            settings: Arc::new(settings),
            store,
            ..self.clone()
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.settings.id
    }

    /// Marks it as removed or moved to another folder: interrupted uploads are not kept for a resume any more.
    pub(super) fn retire(&self) {
        self.state.lock().is_gone = true;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state.lock().is_gone
    }

    /// Retry budget of a transfer while the storage is away.
    #[must_use]
    pub fn patience(&self) -> Patience {
        Patience::lasting(self.settings.outage)
    }

    /// Sender of its events.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Its last check.
    #[must_use]
    pub fn last_check(&self) -> Option<LastCheck> {
        self.history().last_check.clone()
    }

    /// Record of its work. Locked until dropped.
    pub(super) fn history(&self) -> MappedMutexGuard<'_, History> {
        MutexGuard::map(self.state.lock(), |state| &mut state.history)
    }

    /// Notes the result of a request to the storage, and sends an event if the status changes by it.
    ///
    /// # Errors
    /// The error in `result`.
    pub fn note<T, E: Into<Error>>(&self, result: Result<T, E>) -> Result<T> {
        let result = self.note_error(result);
        if result.is_ok() {
            self.note_success();
        }
        result
    }

    /// The same for a request that stores a backup: a location that can be listed may refuse it.
    ///
    /// # Errors
    /// The error in `result`.
    pub(super) fn note_write<T, E: Into<Error>>(&self, result: Result<T, E>) -> Result<T> {
        let result = result.map_err(Into::into);
        match &result {
            Ok(_) => self.note_success(),
            Err(error) => self.note_refused_write(error),
        }
        result
    }

    /// Notes a result that may come from the cache: only its error says something about the storage.
    ///
    /// # Errors
    /// The error in `result`.
    pub fn note_error<T, E: Into<Error>>(&self, result: Result<T, E>) -> Result<T> {
        result
            .map_err(Into::into)
            .inspect_err(|error| self.note_failure(error))
    }

    /// Notes that the storage answered a request.
    pub(super) fn note_success(&self) {
        self.change_health("", |health| health.succeeded(Purpose::Read));
    }

    /// Notes that a backup was stored.
    pub(super) fn note_stored(&self) {
        self.change_health("", |health| health.succeeded(Purpose::Write));
    }

    /// Notes why a request failed, if that concerns the storage.
    pub(super) fn note_failure(&self, error: &Error) {
        self.note_failure_of(Purpose::Read, error);
    }

    /// Notes why a backup could not be stored, if that concerns the storage. The error lasts until one is, or a check passes.
    pub(super) fn note_refused_write(&self, error: &Error) {
        self.note_failure_of(Purpose::Write, error);
    }

    /// Notes why a transfer waits for the storage.
    pub(super) fn note_waiting(&self, error: &Error) {
        let limit = lasting(self.settings.outage);
        let retrying = format!("; retrying for up to {limit}");
        if concerns_storage(error.kind()) {
            self.change_health(&retrying, |health| {
                health.failed(Purpose::Read, error.into())
            });
        }
    }

    fn note_failure_of(&self, purpose: Purpose, error: &Error) {
        let is_of_a_name = error.reason() == Reason::NameChanged.code();
        if concerns_storage(error.kind()) && !is_of_a_name {
            self.change_health("", |health| health.failed(purpose, error.into()));
        }
    }

    /// Notes a check: it does what a backup does, so its result is the status.
    pub(super) fn note_check(&self, report: CheckReport) {
        let failed = report.steps.iter().find_map(|step| {
            let purpose = match step.step {
                "write" | "multipart" | "read" => Purpose::Write,
                _ => Purpose::Read,
            };
            Some((purpose, step.error.clone()?))
        });
        self.change_health("", |health| match failed {
            Some((purpose, failure)) => health.failed_check(purpose, failure),
            None => health.succeeded_check(),
        });
        self.history().checked(report);
    }

    /// Whether no request has told of the storage for long.
    pub(super) fn is_to_be_asked(&self) -> bool {
        self.state.lock().health.is_to_be_asked()
    }

    /// Applies a result of a request; logs the beginning (with `more`) and the end of a failure, and sends the new status.
    fn change_health(&self, more: &str, apply: impl FnOnce(&mut Health) -> Change) {
        let mut state = self.state.lock();
        let change = apply(&mut state.health);
        if change == Change::None {
            return;
        }
        if change != Change::Asked {
            // It is about the status before.
            state.history.last_check = None;
        }
        let error = state.health.error().cloned();
        drop(state);
        let (location, storage) = (self.id(), self.store.description());
        match (change, error) {
            (Change::Fails, Some(Failure { code, detail, .. })) => {
                warn!(location, code, "{}{more}", detail.trim_end_matches('.'));
            }
            (Change::WorksAgain { was_away, after }, _) => {
                let how = if was_away { "is reachable" } else { "works" };
                info!(location, "{storage} {how} again after {}", lasting(after));
            }
            _ => {}
        }
        self.announce();
    }

    /// Sets the verification record, and why the last scheduled run failed.
    pub(super) fn set_verification(&self, record: Record, error: Option<Failure>) {
        let is_new_record = self.folder.set_record(record);
        self.update(|state| {
            let is_new = is_new_record || state.verify_error != error;
            state.verify_error = error;
            is_new
        });
    }

    /// What lay beside the folder at the last look.
    pub(super) fn beside(&self) -> Option<(Instant, Option<Beside>)> {
        self.state.lock().beside.clone()
    }

    pub(super) fn set_beside(&self, found: Option<Beside>) {
        self.state.lock().beside = Some((Instant::now(), found));
    }

    /// Why the last scheduled verification failed.
    pub(super) fn verify_error(&self) -> Option<Failure> {
        self.state.lock().verify_error.clone()
    }

    /// Applies a change, and sends the new status if `change` returns true.
    fn update(&self, change: impl FnOnce(&mut State) -> bool) {
        let has_changed = change(&mut self.state.lock());
        if has_changed {
            self.announce();
        }
    }

    /// Sends the status.
    pub(super) fn announce(&self) {
        self.events.send(Event::Location {
            location: Box::new(self.status()),
        });
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> LocationStatus {
        let settings = &self.settings;
        let (endpoint, region, bucket) = match (&settings.backend, self.store.dialect()) {
            (Backend::S3(s3), Some(dialect)) => (
                dialect.endpoint.to_string(),
                Some(dialect.region),
                Some(s3.bucket.clone()),
            ),
            (Backend::S3(s3), None) => (s3.endpoint.to_string(), None, Some(s3.bucket.clone())),
            (Backend::Directory(path), _) => (format!("file://{}", path.display()), None, None),
        };
        let listing = self.catalog.last();
        let record = self.folder.record();
        let state = self.state.lock();
        LocationStatus {
            id: settings.id.clone(),
            name: settings.name.clone(),
            provider: settings.provider.clone(),
            endpoint,
            region,
            bucket,
            prefix: settings.prefix.clone(),
            folder: self.folder.id.to_string(),
            other_ids: self.folder.other_ids(&settings.id),
            keeps_versions: self.store.keeps_versions(),
            source: match settings.origin {
                Origin::Configuration => "configuration",
                Origin::Registered => "registered",
                Origin::Embedded => "embedded",
            },
            status: state.health.status(),
            error: state.health.error().cloned(),
            asked_at: state.health.asked_at().map(rfc3339),
            numbers: listing.as_deref().map(Listing::numbers).unwrap_or_default(),
            verification: verification_status(
                &record,
                listing.as_deref(),
                settings.verify,
                state.verify_error.clone(),
            ),
            verified_at: record.last_at().map(rfc3339),
        }
    }
}

/// Whether an error concerns the location as a whole, and not only one call.
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

/// Error for an unknown location id.
pub(super) fn not_found(id: &str) -> Error {
    let detail = format!("There is no location \"{id}\".");
    Error::new(Kind::LocationNotFound, detail)
}
