//! The locations: those of the configuration, and those that Home Assistant registers while the agent runs.
//!
//! No two have the same folder: retention at the one would delete the backups of the other.
//!
//! A registered location lasts until the agent ends: Home Assistant stores its settings and registers it at each connect.
//! Registering is idempotent.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::info;

use super::events::Events;
use super::folder::{Folder, FolderId};
use super::location::ids::Ids;
use super::location::{Location, not_found};
use super::model::CheckReport;
use crate::config::{self, Origin};
use crate::error::{Error, Kind, Reason, Result};

/// All locations, in the order in which they were added.
#[derive(Debug)]
pub(super) struct Registry {
    state: Mutex<State>,
    ids: Ids,
    events: Events,
    /// Signals that a location was added or has new settings.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    locations: Vec<Arc<Location>>,
    /// Kept when a location is removed: a deletion may still run in the background.
    folders: HashMap<FolderId, Arc<Folder>>,
    /// Folders of registered locations that were refused, by id, because another location had them.
    refused_moves: HashMap<String, FolderId>,
}

impl Registry {
    pub(super) fn open(settings: Vec<config::Location>, ids: Ids, events: &Events) -> Self {
        let mut state = State::default();
        for settings in settings {
            let folder = state.folder(&settings, &ids);
            let location = Location::open(settings, folder, events.clone());
            state.locations.push(Arc::new(location));
        }
        Self {
            state: Mutex::new(state),
            ids,
            events: events.clone(),
            changes: watch::Sender::default(),
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Location>> {
        self.state.lock().locations.clone()
    }

    /// # Errors
    /// [`Kind::LocationNotFound`].
    pub(super) fn find(&self, id: &str) -> Result<Arc<Location>> {
        let found = self.all().into_iter().find(|location| location.id() == id);
        found.ok_or_else(|| not_found(id))
    }

    /// Notes a check, unless the location has other settings now, of which it says nothing.
    pub(super) fn note_check(&self, location: &Location, report: &CheckReport) {
        let current = self.find(location.id());
        if current.is_ok_and(|current| current.settings == location.settings) {
            location.note_check(report.clone());
        }
    }

    /// A location of this folder.
    pub(super) fn at(&self, folder: &FolderId) -> Option<Arc<Location>> {
        self.all()
            .into_iter()
            .find(|location| location.folder.id == *folder)
    }

    /// Signals each location that is added or gets new settings.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The id for a location with these settings: that of the location with this folder, or the remembered one.
    pub(super) fn id_for(&self, settings: config::Location) -> String {
        let locations = self.all();
        let folder = FolderId::from(&settings);
        let mut same = locations.iter().filter(|other| other.folder.id == folder);
        if let Some(location) = same.next() {
            return location.id().to_owned();
        }
        let others = locations.iter().map(|other| (*other.settings).clone());
        self.ids.choose(settings, others.collect())
    }

    /// Registers a location, or gives a registered one new settings. One that the configuration has under this id stays.
    ///
    /// # Errors
    /// [`Reason::FolderInUse`] if another location has the folder; [`Kind::InvalidRequest`] for the id of a location of the
    /// configuration with another folder.
    pub(super) async fn put(self: &Arc<Self>, settings: config::Location) -> Result<Arc<Location>> {
        let (location, is_new) = self.state.lock().put(settings, self)?;
        if is_new {
            self.ids.note(&location.settings);
            location.folder.add_id(location.id());
            info!(
                id = location.id(),
                "registered location \"{}\"", location.settings.name
            );
            location.announce();
            self.changes.send_replace(());
        }
        let registry = Arc::clone(self);
        // An error is logged; the location works without.
        drop(spawn_blocking(move || registry.ids.save()).await);
        Ok(location)
    }

    /// Removes a registered location, or the embedded one. What it holds stays unchanged.
    ///
    /// # Errors
    /// [`Kind::LocationNotFound`]; [`Kind::InvalidRequest`] for a location of the configuration.
    pub(super) fn remove(&self, id: &str) -> Result<()> {
        let location = self.find(id)?;
        if location.settings.origin != Origin::Embedded {
            refuse_configured(&location)?;
        }
        let mut state = self.state.lock();
        state.locations.retain(|other| other.id() != id);
        state.refused_moves.remove(id);
        drop(state);
        location.retire();
        info!(
            id,
            "removed location \"{}\"; what {} holds stays",
            location.settings.name,
            location.store.description()
        );
        Ok(())
    }
}

impl State {
    /// Returns the location, and whether its settings are new.
    fn put(
        &mut self,
        settings: config::Location,
        registry: &Registry,
    ) -> Result<(Arc<Location>, bool)> {
        let folder = FolderId::from(&settings);
        self.make_room(&settings.id, &folder);
        self.refused_moves.remove(&settings.id);
        self.refuse_second(&settings.id, &folder)?;
        let mut known = self.locations.iter();
        let Some(index) = known.position(|location| location.id() == settings.id) else {
            let folder = self.folder(&settings, &registry.ids);
            let location = Arc::new(Location::open(settings, folder, registry.events.clone()));
            self.locations.push(Arc::clone(&location));
            return Ok((location, true));
        };
        let before = Arc::clone(&self.locations[index]);
        let is_merged = !is_registered(&before) && before.folder.id == folder;
        if is_merged || *before.settings == settings {
            return Ok((before, false));
        }
        refuse_configured(&before)?;
        let folder = self.folder(&settings, &registry.ids);
        let location = Arc::new(before.reopen(settings, folder));
        self.locations[index] = Arc::clone(&location);
        if before.folder.id != location.folder.id {
            before.retire();
        }
        Ok((location, true))
    }

    /// Removes the registered location of this folder if it is to move to the applicant's: two may exchange theirs. No other
    /// applicant takes a folder, and none does during an upload or a deletion.
    fn make_room(&mut self, id: &str, folder: &FolderId) {
        let mut registered = self.locations.iter().filter(|own| is_registered(own));
        let Some(own) = registered.find(|own| own.id() == id) else {
            return;
        };
        let given = own.folder.id.clone();
        let leaves = |other: &mut Arc<Location>| {
            let wanted = self.refused_moves.get(other.id());
            let is_exchange = other.folder.id == *folder && wanted == Some(&given);
            is_exchange && other.id() != id && !other.folder.is_claimed()
        };
        for location in self.locations.extract_if(.., leaves) {
            location.retire();
            info!(
                id = location.id(),
                "removed location \"{}\", which moves", location.settings.name
            );
        }
    }

    /// # Errors
    /// [`Reason::FolderInUse`] if a location of another id has the folder.
    fn refuse_second(&mut self, id: &str, folder: &FolderId) -> Result<()> {
        let mut others = self.locations.iter().filter(|other| other.id() != id);
        let Some(other) = others.find(|other| other.folder.id == *folder) else {
            return Ok(());
        };
        let detail = format!(
            "\"{id}\" would have the same folder as the location \"{}\" (\"{}\"), {folder}.",
            other.id(),
            other.settings.name
        );
        let mut own = self.locations.iter().filter(|own| own.id() == id);
        if own.next().is_some_and(|own| is_registered(own)) {
            self.refused_moves.insert(id.to_owned(), folder.clone());
        }
        let error = Error::new(Kind::InvalidRequest, detail);
        Err(error.with_reason(Some(Reason::FolderInUse)))
    }

    fn folder(&mut self, settings: &config::Location, ids: &Ids) -> Arc<Folder> {
        let folder = self
            .folders
            .entry(FolderId::from(settings))
            .or_insert_with(|| Folder::new(settings, ids.of(settings)));
        Arc::clone(folder)
    }
}

fn is_registered(location: &Location) -> bool {
    location.settings.origin == Origin::Registered
}

fn refuse_configured(location: &Location) -> Result<()> {
    if is_registered(location) {
        return Ok(());
    }
    let detail = format!(
        "The location \"{}\" is set in the agent's own configuration.",
        location.id()
    );
    Err(Error::new(Kind::InvalidRequest, detail).with_hint("Change it there, or use another id."))
}
