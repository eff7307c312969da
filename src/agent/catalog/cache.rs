//! Cache of a location's list.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::listing::{Listing, View};
use super::scan::scan;
use crate::agent::folder::Folder;
use crate::error::{Error, Kind, Result};
use crate::store::{Patience, Store};

/// Lifetime of a cached list.
pub const LIFETIME: Duration = Duration::from_mins(5);

/// How long an interactive call waits for a scan. HA shows nothing until the slowest backup agent answers.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A list younger than this is not refreshed to find an id that it lacks.
const FRESH: Duration = Duration::from_secs(5);

/// How long the stale list is served without a scan after storage was away.
const AWAY_FOR: Duration = Duration::from_secs(30);

/// The cached lists of one location.
#[derive(Debug)]
pub struct Catalog {
    folder: Arc<Folder>,
    /// By generation. Concurrent callers of one generation share one scan.
    cache: Cache<u64, Arc<Listing>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    /// Last good list, however old.
    last: Option<Arc<Listing>>,
    /// Last failed scan of this generation.
    failed: Option<(Instant, Error)>,
}

impl Catalog {
    pub(in crate::agent) fn new(folder: Arc<Folder>) -> Self {
        Self {
            folder,
            // Only the newest generation is of use; LRU never evicts it.
            cache: Cache::builder()
                .max_capacity(2)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(LIFETIME)
                .build(),
            state: Mutex::default(),
        }
    }

    /// Scans the folder, however long it takes; each request is retried for as long as `patience` lasts.
    ///
    /// # Errors
    /// When the storage cannot be listed.
    pub(in crate::agent) async fn scan(
        &self,
        store: &Store,
        patience: Patience,
    ) -> Result<Arc<Listing>> {
        let generation = self.generation();
        self.scan_generation(store, generation, patience).await
    }

    /// Serves the cached list, or scans the folder; `refresh` always scans. Answers within [`ANSWER_WITHIN`], with the
    /// last good list if the scan fails. `on_list` runs after each scan, also one that ends after the answer.
    ///
    /// # Errors
    /// When the scan fails and there is no earlier list.
    pub(in crate::agent) async fn get(
        self: &Arc<Self>,
        store: &Store,
        refresh: bool,
        on_list: impl FnOnce() + Send + 'static,
    ) -> Result<View> {
        if let Some(view) = self.while_away().filter(|_| !refresh) {
            return Ok(view);
        }
        let generation = self.current_generation(refresh).await;
        let catalog = Arc::clone(self);
        let scanned = store.clone();
        // Its own task: a scan that takes longer than this caller waits is cached for the next one.
        let scan = tokio::spawn(async move {
            let scan = catalog.scan_generation(&scanned, generation, Patience::INTERACTIVE);
            let listing = catalog.cache.try_get_with(generation, scan).await;
            on_list();
            listing.map_err(|error| (*error).clone())
        });
        let error = match timeout(ANSWER_WITHIN, scan).await {
            Ok(Ok(Ok(listing))) => {
                return Ok(View {
                    listing,
                    error: None,
                });
            }
            Ok(Ok(Err(error))) => error,
            Ok(Err(panicked)) => {
                Error::new(Kind::Internal, "The listing stopped.").with_source(panicked)
            }
            Err(_) => {
                let seconds = ANSWER_WITHIN.as_secs();
                let storage = store.description();
                let detail = format!("Could not list {storage}: no answer within {seconds} s");
                Error::new(Kind::StorageTimeout, detail)
            }
        };
        let mut state = self.state.lock();
        // A failure before an invalidation says nothing about the time after it.
        if state.generation == generation {
            state.failed = Some((Instant::now(), error.clone()));
        }
        match &state.last {
            Some(listing) => Ok(View {
                listing: Arc::clone(listing),
                error: Some(error),
            }),
            None => Err(error),
        }
    }

    /// The last good list, however old.
    #[must_use]
    pub fn last(&self) -> Option<Arc<Listing>> {
        self.state.lock().last.clone()
    }

    /// The last good list if it has not expired. A change of one backup leaves the other entries valid, so several
    /// deletions in a row need no scan in between.
    pub(in crate::agent) fn recent(&self) -> Option<Arc<Listing>> {
        self.last()
            .filter(|listing| listing.taken.elapsed() < LIFETIME)
    }

    /// Whether a list is too old to trust that an id is not in it.
    pub(in crate::agent) fn may_miss(listing: &Listing) -> bool {
        listing.taken.elapsed() >= FRESH
    }

    /// Generation of the cache; each change in the bucket starts a new one.
    pub(in crate::agent) fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// Invalidates the cached list: no scan that started before this call is served after it.
    pub(in crate::agent) fn invalidate(&self) {
        self.state.lock().invalidate();
    }

    /// Invalidates the cached list, and drops this backup even from the stale one.
    pub(in crate::agent) fn invalidate_backup(&self, backup_id: &str) {
        let mut state = self.state.lock();
        state.invalidate();
        state.last = state
            .last
            .take()
            .map(|listing| Arc::new(listing.without(backup_id)));
    }

    /// The stale list if the storage was away a moment ago, so that no caller waits for it twice in a row.
    fn while_away(&self) -> Option<View> {
        let state = self.state.lock();
        let (at, error) = state.failed.as_ref()?;
        if at.elapsed() >= AWAY_FOR {
            return None;
        }
        Some(View {
            listing: state.last.clone()?,
            error: Some(error.clone()),
        })
    }

    async fn current_generation(&self, refresh: bool) -> u64 {
        let generation = self.generation();
        let cached = self.cache.get(&generation).await;
        let is_expired = cached.is_some_and(|listing| {
            let lifetime = match listing.unread {
                Some(_) => AWAY_FOR,
                None => LIFETIME,
            };
            listing.taken.elapsed() >= lifetime
        });
        let mut state = self.state.lock();
        // Callers that find the same list expired start one generation together.
        if (refresh || is_expired) && state.generation == generation {
            state.generation += 1;
        }
        state.generation
    }

    async fn scan_generation(
        &self,
        store: &Store,
        generation: u64,
        patience: Patience,
    ) -> Result<Arc<Listing>> {
        let known = self.last();
        let listing = scan(store, &self.folder, known.as_deref(), patience).await?;
        let listing = Arc::new(listing);
        let mut state = self.state.lock();
        state.failed = None;
        // A scan that raced with a change may lack it.
        if state.generation == generation {
            state.last = Some(Arc::clone(&listing));
        }
        Ok(listing)
    }
}

impl State {
    fn invalidate(&mut self) {
        self.generation += 1;
        self.failed = None;
    }
}
