//! The locations: those of the configuration, and those that Home Assistant registers while the agent runs.
//!
//! A registered location is not kept over a restart of the agent: Home Assistant has its settings and registers it
//! whenever it connects. Saying the same again changes nothing, so that it may be said often.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::info;

use super::events::Events;
use super::folder::{Folder, FolderId};
use super::location::{Location, not_found};
use super::model::Event;
use crate::config::{self, Origin};
use crate::error::{Error, Kind, Result};
use crate::store::Key;

/// All locations, in the order in which they came.
#[derive(Debug)]
pub(super) struct Registry {
    locations: RwLock<Vec<Arc<Location>>>,
    /// Kept when a location is removed: a deletion may still run in the background.
    folders: Mutex<HashMap<FolderId, Arc<Folder>>>,
    events: Events,
    new_one: Notify,
}

impl Registry {
    pub(super) fn open(settings: Vec<config::Location>, events: &Events) -> Result<Self> {
        let registry = Self {
            locations: RwLock::default(),
            folders: Mutex::default(),
            events: events.clone(),
            new_one: Notify::new(),
        };
        let open = |settings: config::Location| {
            let folder = registry.folder(&settings);
            Location::open(settings, folder, events.clone())
        };
        let locations = settings.into_iter().map(open).collect::<Result<_>>()?;
        *registry
            .locations
            .write()
            .unwrap_or_else(PoisonError::into_inner) = locations;
        Ok(registry)
    }

    fn folder(&self, settings: &config::Location) -> Arc<Folder> {
        let mut folders = self.folders.lock();
        let folder = folders
            .entry(FolderId::from(settings))
            .or_insert_with(|| Folder::new(settings));
        Arc::clone(folder)
    }

    pub(super) fn all(&self) -> Vec<Arc<Location>> {
        self.locations
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn find(&self, id: &str) -> Result<Arc<Location>> {
        self.all()
            .into_iter()
            .find(|location| location.id() == id)
            .ok_or_else(|| not_found(id))
    }

    /// The location that a key of a bucket belongs to.
    pub(super) fn with(&self, place: &str, key: &str) -> Option<Arc<Location>> {
        let key = Key::new(key);
        self.all()
            .into_iter()
            .find(|location| location.store.place() == place && location.keys.may_be_ours(&key))
    }

    /// The location that leads to a folder.
    pub(super) fn at(&self, folder: &FolderId) -> Option<Arc<Location>> {
        self.all()
            .into_iter()
            .find(|location| location.folder.id == *folder)
    }

    /// Waits until a location is registered or gets new settings.
    pub(super) async fn new_one(&self) {
        self.new_one.notified().await;
    }

    /// Registers a location, or gives one that is registered new settings.
    pub(super) fn put(&self, settings: config::Location) -> Result<Arc<Location>> {
        let location = {
            let mut locations = self
                .locations
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let index = locations
                .iter()
                .position(|location| location.id() == settings.id);
            match index {
                Some(index) if locations[index].settings == settings => {
                    return Ok(Arc::clone(&locations[index]));
                }
                Some(index) => {
                    refuse_configured(&locations[index])?;
                    let folder = self.folder(&settings);
                    let location = locations[index].reopen(settings, folder)?;
                    let before = std::mem::replace(&mut locations[index], Arc::clone(&location));
                    if before.folder.id != location.folder.id {
                        before.go();
                    }
                    location
                }
                None => {
                    let folder = self.folder(&settings);
                    let location = Location::open(settings, folder, self.events.clone())?;
                    locations.push(Arc::clone(&location));
                    location
                }
            }
        };
        info!(
            id = location.id(),
            "registered location \"{}\"", location.settings.name
        );
        self.events.send(Event::Location {
            location: location.status().into(),
        });
        self.new_one.notify_one();
        Ok(location)
    }

    /// Forgets a registered location. Nothing in its bucket changes.
    pub(super) fn remove(&self, id: &str) -> Result<()> {
        let location = self.find(id)?;
        refuse_configured(&location)?;
        self.locations
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|other| other.id() != id);
        location.go();
        info!(id, "forgot location \"{}\"", location.settings.name);
        Ok(())
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
