//! The locations: those of the configuration, and those that Home Assistant registers while the agent runs.
//!
//! A registered location is not kept over a restart of the agent: Home Assistant has its settings and registers it
//! whenever it connects. Saying the same again changes nothing, so that it may be said often.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Notify;
use tracing::info;

use super::events::{Event, Events};
use super::location::{Location, Locks, not_found};
use crate::config::{self, Origin};
use crate::error::{Error, Kind, Result};
use crate::store::Key;

/// All locations, in the order in which they came.
#[derive(Debug)]
pub(super) struct Registry {
    locations: RwLock<Vec<Arc<Location>>>,
    /// By place, and kept when a location is forgotten: something of it may still be deleted in the background.
    locks: Mutex<HashMap<String, Locks>>,
    events: Events,
    new_one: Notify,
}

impl Registry {
    pub(super) fn open(settings: Vec<config::Location>, events: &Events) -> Result<Self> {
        let registry = Self {
            locations: RwLock::default(),
            locks: Mutex::default(),
            events: events.clone(),
            new_one: Notify::new(),
        };
        let open = |settings: config::Location| {
            let locks = registry.locks(&settings);
            Location::open(settings, locks, events.clone())
        };
        let locations = settings.into_iter().map(open).collect::<Result<_>>()?;
        *registry
            .locations
            .write()
            .unwrap_or_else(PoisonError::into_inner) = locations;
        Ok(registry)
    }

    fn locks(&self, settings: &config::Location) -> Locks {
        self.locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(settings.place())
            .or_default()
            .clone()
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
                    let locks = self.locks(&settings);
                    let location = locations[index].reopen(settings, locks)?;
                    let before = std::mem::replace(&mut locations[index], Arc::clone(&location));
                    if !before.settings.is_same_place(&location.settings) {
                        before.go();
                    }
                    location
                }
                None => {
                    let locks = self.locks(&settings);
                    let location = Location::open(settings, locks, self.events.clone())?;
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
