//! The backups of a location, by its catalog.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Location;
use crate::agent::catalog::{Catalog, Entry, Listing, View};
use crate::agent::model::Event;
use crate::error::{Error, Kind, Result};
use crate::store::Patience;

/// Delay between a change and the scan for subscribers, so that several changes cost one scan.
const SCAN_DELAY: Duration = Duration::from_secs(1);

impl Location {
    /// Lists the backups, within [`crate::agent::catalog::ANSWER_WITHIN`]; `refresh` bypasses the cache.
    ///
    /// # Errors
    /// When the scan fails and there is no earlier list.
    pub(in crate::agent) async fn list(&self, refresh: bool) -> Result<View> {
        let location = self.clone();
        self.catalog
            .get(&self.store, refresh, move || location.announce_numbers())
            .await
    }

    /// The same, and notes the result in the location's status.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(in crate::agent) async fn list_and_note(&self, refresh: bool) -> Result<View> {
        let start = Instant::now();
        let view = self.note_error(self.list(refresh).await)?;
        match &view.error {
            Some(error) => self.note_failure(error),
            // An older list says nothing about the storage now.
            None if view.listing.taken >= start => self.note_success(),
            None => {}
        }
        Ok(view)
    }

    /// Finds a backup and opens it with `open`; once more by a fresh list if its tar was deleted or renamed since the scan.
    ///
    /// # Errors
    /// Those of [`Self::find`] and of `open`.
    pub(in crate::agent) async fn open_backup<T, F>(
        self: &Arc<Self>,
        backup_id: &str,
        open: impl Fn(Arc<Self>, Entry) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let entry = self.note_error(self.find(backup_id).await)?;
        match open(Arc::clone(self), entry).await {
            Err(error) if error.kind() == Kind::BackupNotFound => {
                let entry = self.note_error(self.find(backup_id).await)?;
                open(Arc::clone(self), entry).await
            }
            opened => opened,
        }
    }

    /// Scans the folder, however long it takes: for work in the background. Each request is retried for as long as
    /// `patience` lasts.
    ///
    /// # Errors
    /// When the storage cannot be listed.
    pub(in crate::agent) async fn scan(&self, patience: Patience) -> Result<Arc<Listing>> {
        let listing = self.catalog.scan(&self.patient_store(), patience).await?;
        self.announce_numbers();
        Ok(listing)
    }

    /// Finds a backup. A list without it is refreshed, in case another tool has just uploaded it.
    ///
    /// # Errors
    /// [`Kind::BackupNotFound`], and those of [`Self::list`].
    pub(in crate::agent) async fn find(&self, backup_id: &str) -> Result<Entry> {
        self.find_all(backup_id).await.map(|(entry, _)| entry)
    }

    /// Finds a backup, and its earlier uploads in the same list.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(in crate::agent) async fn find_all(&self, backup_id: &str) -> Result<(Entry, Vec<Entry>)> {
        let recent = self.catalog.recent();
        if let Some(found) = recent
            .as_ref()
            .and_then(|listing| listing.find_all(backup_id))
        {
            return Ok(found);
        }
        let refresh = recent.is_some_and(|listing| Catalog::may_miss(&listing));
        let view = self.list(refresh).await?;
        if let Some(found) = view.listing.find_all(backup_id) {
            return Ok(found);
        }
        let error = view.error.or_else(|| view.listing.unread.clone());
        Err(error.unwrap_or_else(|| self.no_such_backup(backup_id)))
    }

    pub(in crate::agent) fn no_such_backup(&self, backup_id: &str) -> Error {
        let storage = self.store.description();
        let detail = format!("There is no backup \"{backup_id}\" in {storage}.");
        Error::new(Kind::BackupNotFound, detail)
    }

    /// Invalidates the list after a change of this backup, and sends events.
    pub(in crate::agent) fn changed(&self, backup_id: &str) {
        self.catalog.invalidate_backup(backup_id);
        self.announce_numbers();
        self.announce_change();
    }

    /// Invalidates the list after an unknown change, and sends an event.
    pub(in crate::agent) fn outdated(&self) {
        self.catalog.invalidate();
        self.announce_change();
    }

    fn announce_change(&self) {
        self.events.send(Event::Backups {
            location: self.id().to_owned(),
        });
        if !self.events.has_listeners() {
            return;
        }
        let location = self.clone();
        let generation = self.catalog.generation();
        tokio::spawn(async move {
            sleep(SCAN_DELAY).await;
            // A later change scans by itself.
            if location.catalog.generation() == generation {
                // Its error is in the location's status.
                drop(location.list(false).await);
            }
        });
    }

    /// Sends the status if the last list changed its numbers.
    fn announce_numbers(&self) {
        let listing = self.catalog.last();
        let numbers = listing.map(|listing| listing.numbers()).unwrap_or_default();
        self.update(|state| {
            let has_changed = state.numbers != numbers;
            state.numbers = numbers;
            has_changed
        });
    }
}
