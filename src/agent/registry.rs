//! The locations: those of the configuration, and those that Home Assistant registers while the agent runs.
//!
//! A registered location lasts until the agent ends: Home Assistant stores its settings and registers it at each connect.
//! Registering is idempotent.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::info;

use super::events::Events;
use super::folder::{Folder, FolderId};
use super::location::{Location, not_found};
use crate::config::{self, Origin};
use crate::error::{Error, Kind, Result};

/// All locations, in the order in which they were added.
#[derive(Debug)]
pub(super) struct Registry {
    state: Mutex<State>,
    events: Events,
    /// Signals that a location was added or has new settings.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    locations: Vec<Arc<Location>>,
    /// Kept when a location is removed: a deletion may still run in the background.
    folders: HashMap<FolderId, Arc<Folder>>,
}

impl Registry {
    /// # Errors
    /// When a location's storage cannot be set up.
    pub(super) fn open(settings: Vec<config::Location>, events: &Events) -> Result<Self> {
        let mut state = State::default();
        for settings in settings {
            let folder = state.folder(&settings);
            let location = Location::open(settings, folder, events.clone())?;
            state.locations.push(Arc::new(location));
        }
        Ok(Self {
            state: Mutex::new(state),
            events: events.clone(),
            changes: watch::Sender::default(),
        })
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

    /// Registers a location, or gives a registered one new settings.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`] for a location of the configuration; errors of [`Location::open`].
    pub(super) fn put(&self, settings: config::Location) -> Result<Arc<Location>> {
        let (location, is_new) = self.state.lock().put(settings, &self.events)?;
        if is_new {
            info!(
                id = location.id(),
                "registered location \"{}\"", location.settings.name
            );
            location.announce();
            self.changes.send_replace(());
        }
        Ok(location)
    }

    /// Removes a registered location. Its bucket stays unchanged.
    ///
    /// # Errors
    /// [`Kind::LocationNotFound`]; [`Kind::InvalidRequest`] for a location of the configuration.
    pub(super) fn remove(&self, id: &str) -> Result<()> {
        let location = self.find(id)?;
        refuse_configured(&location)?;
        self.state.lock().locations.retain(|other| other.id() != id);
        location.retire();
        info!(id, "removed location \"{}\"", location.settings.name);
        Ok(())
    }
}

impl State {
    /// Returns the location, and whether its settings are new.
    fn put(
        &mut self,
        settings: config::Location,
        events: &Events,
    ) -> Result<(Arc<Location>, bool)> {
        let mut known = self.locations.iter();
        let Some(index) = known.position(|location| location.id() == settings.id) else {
            let folder = self.folder(&settings);
            let location = Arc::new(Location::open(settings, folder, events.clone())?);
            self.locations.push(Arc::clone(&location));
            return Ok((location, true));
        };
        let before = Arc::clone(&self.locations[index]);
        if *before.settings == settings {
            return Ok((before, false));
        }
        refuse_configured(&before)?;
        let folder = self.folder(&settings);
        let location = Arc::new(before.reopen(settings, folder)?);
        self.locations[index] = Arc::clone(&location);
        if before.folder.id != location.folder.id {
            before.retire();
        }
        Ok((location, true))
    }

    fn folder(&mut self, settings: &config::Location) -> Arc<Folder> {
        let folder = self
            .folders
            .entry(FolderId::from(settings))
            .or_insert_with(|| Folder::new(settings));
        Arc::clone(folder)
    }
}

fn refuse_configured(location: &Location) -> Result<()> {
    if location.settings.origin == Origin::Registered {
        return Ok(());
    }
    let detail = format!(
        "The location \"{}\" is set in the agent's own configuration.",
        location.id()
    );
    Err(Error::new(Kind::InvalidRequest, detail).with_hint("Change it there, or use another id."))
}
