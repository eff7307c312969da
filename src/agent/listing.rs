//! The backups of a location: one cached list, taken by one caller for all, kept for when the bucket is away.
//!
//! A list costs one request a page and a read of each metadata object that is new or changed; what an earlier list
//! read is taken from there by key and `ETag`. Lists are cached under a generation: a change in the bucket begins a new
//! one, so that a listing that was under way when the change came is never served afterwards.

mod rows;
mod sorted;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use futures_util::{StreamExt, TryStreamExt, stream};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

pub use rows::Row;

use super::folder::Folder;
use super::location::Location;
use super::model::{LastUpload, Numbers, SkipCode, SkipCounts, Skipped};
use crate::backup::{AgentBackup, AgentMetadata, Damage, Read, StoredBackup};
use crate::error::{Error, Kind, Result};
use crate::store::{Error as StoreError, Key, Object, Objects, Outcome, Patience, Store};
use sorted::Sorted;

/// How long a list is good for.
pub const LIFETIME: Duration = Duration::from_mins(5);

/// How long a caller waits for a list. HA has no time-out of its own and shows nothing before the slowest agent answers.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A list that is younger than this is not taken again to look for an id that is not in it.
const FRESH: Duration = Duration::from_secs(5);

/// How long a bucket that could not be asked is not asked again, unless somebody wants a fresh list.
const AWAY_FOR: Duration = Duration::from_secs(30);

/// How long after a change the bucket is listed for those who listen: several changes at once cost one list.
const LISTED_AFTER: Duration = Duration::from_secs(1);

/// Metadata objects that are read at the same time.
const READS_IN_FLIGHT: usize = 32;

/// The largest metadata object that is read; real ones have a few KiB.
pub(super) const MAX_METADATA_BYTES: u64 = 1024 * 1024;

/// What of that this agent's own additions may take.
const ADDITIONS_BYTES: u64 = 1024;

/// All metadata that a list keeps: that of tens of thousands of backups.
const MAX_LIST_BYTES: usize = 128 * 1024 * 1024;

/// One metadata object, read once. Kept as text: a long list of parsed backups would take several times the memory.
#[derive(Debug)]
pub struct Metadata {
    /// The backup's id.
    pub backup_id: String,
    /// The backup as the protocol shows it.
    pub json: Box<RawValue>,
    /// What this agent added when it wrote the backup.
    pub stored: Option<AgentMetadata>,
    /// Why it is not what was written. It is listed all the same.
    pub damage: Option<Damage>,
    sha256: Option<String>,
    version: String,
}

/// A backup in the bucket.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its metadata's key.
    pub key: Key,
    /// Its metadata.
    pub metadata: Arc<Metadata>,
    /// Its tar.
    pub tar: Object,
}

/// A list as it was taken.
#[derive(Debug)]
pub struct Listing {
    /// The backups, one for each id.
    pub entries: Vec<Entry>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// Other backups with the same ids, which are left out.
    pub copies: Vec<Entry>,
    /// Tars without metadata, also those that an upload may be at.
    pub orphans: Vec<Object>,
    /// Why the storage let some of the metadata not be read: what is not in this list may be there.
    pub unread: Option<Error>,
    /// When it was taken.
    pub taken: Instant,
}

/// A list as it is served.
#[derive(Debug)]
pub struct View {
    /// The list.
    pub listing: Arc<Listing>,
    /// Why the bucket could not be asked; the list is the last good one then.
    pub error: Option<Error>,
}

/// The cached lists of one location.
#[derive(Debug)]
pub struct Listings {
    store: RwLock<Store>,
    folder: String,
    /// Where the agent keeps its backups; none for another layout.
    shared: Option<Arc<Folder>>,
    generation: AtomicU64,
    cache: Cache<u64, Arc<Listing>>,
    last: Mutex<Option<Arc<Listing>>>,
    failed: Mutex<Option<(Instant, Error)>>,
    /// Who is told of a new list.
    told: RwLock<Weak<Location>>,
}

impl Listings {
    pub(super) fn new(store: Store, folder: &Arc<Folder>) -> Self {
        Self {
            shared: Some(Arc::clone(folder)),
            ..Self::flat(store, folder.keys.folder())
        }
    }

    /// Lists of a folder of the layout that has its objects right under a prefix.
    pub(super) fn flat(store: Store, folder: &str) -> Self {
        Self {
            store: RwLock::new(store),
            folder: folder.to_owned(),
            shared: None,
            generation: AtomicU64::new(0),
            // The newest generation is the only one of use; least-recently-used never turns it away.
            cache: Cache::builder()
                .max_capacity(2)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(LIFETIME)
                .build(),
            last: Mutex::new(None),
            failed: Mutex::new(None),
            told: RwLock::default(),
        }
    }

    /// Asks the bucket through another store from now on, at once even when the last one could not.
    pub(super) fn use_store(&self, store: Store) {
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
        self.generation.fetch_add(1, Ordering::SeqCst);
        *lock(&self.failed) = None;
    }

    /// Tells this location of each new list from now on.
    pub(super) fn tell(&self, location: &Arc<Location>) {
        *self.told.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(location);
    }

    /// Lists the bucket in a moment, unless another change comes, which then does it.
    pub(super) fn list_soon(self: &Arc<Self>) {
        let (listings, generation) = (Arc::clone(self), self.generation.load(Ordering::SeqCst));
        tokio::spawn(async move {
            sleep(LISTED_AFTER).await;
            if listings.generation.load(Ordering::SeqCst) == generation {
                // What goes wrong is told to those who ask.
                drop(listings.get(false).await);
            }
        });
    }

    fn store(&self) -> Store {
        self.store
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A fresh list, however long it takes: for work that nobody waits for in front of a screen.
    ///
    /// # Errors
    /// When the bucket cannot be asked.
    pub async fn taken(&self) -> Result<Arc<Listing>> {
        self.take(self.generation.load(Ordering::SeqCst)).await
    }

    /// The backups; `refresh` asks the bucket even when the cached list is good.
    ///
    /// # Errors
    /// When the bucket cannot be asked and there is no earlier list.
    pub async fn get(self: &Arc<Self>, refresh: bool) -> Result<View> {
        if let Some(view) = self.while_away().filter(|_| !refresh) {
            return Ok(view);
        }
        let generation = self.current_generation(refresh).await;
        let listings = Arc::clone(self);
        // A task of its own: a list that takes longer than this caller waits is there for the next one.
        let taking = tokio::spawn(async move {
            let taken = listings
                .cache
                .try_get_with(generation, listings.take(generation))
                .await;
            taken.map_err(|error| error.as_ref().clone())
        });
        let error = match timeout(ANSWER_WITHIN, taking).await {
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
                let detail = format!(
                    "Could not list {}: no answer within {seconds} s",
                    self.store().place()
                );
                Error::new(Kind::StorageTimeout, detail)
            }
        };
        // What went wrong before a change says nothing of how it is after.
        if self.generation.load(Ordering::SeqCst) == generation {
            *lock(&self.failed) = Some((Instant::now(), error.clone()));
        }
        match self.last() {
            Some(listing) => Ok(View {
                listing,
                error: Some(error),
            }),
            None => Err(error),
        }
    }

    /// The last good list, when the bucket was just found to be away: nobody waits for that twice in a row.
    fn while_away(&self) -> Option<View> {
        let failed = lock(&self.failed);
        let (_, error) = failed
            .as_ref()
            .filter(|(when, _)| when.elapsed() < AWAY_FOR)?;
        Some(View {
            listing: self.last()?,
            error: Some(error.clone()),
        })
    }

    /// The backup with this id. A list that does not have it is taken anew, for a backup that another tool just made.
    ///
    /// # Errors
    /// [`Kind::BackupNotFound`]; the bucket's error when it cannot be asked.
    pub async fn find(self: &Arc<Self>, backup_id: &str) -> Result<Entry> {
        self.find_all(backup_id).await.map(|(entry, _)| entry)
    }

    /// The same with the earlier uploads of it that the same list has.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) async fn find_all(self: &Arc<Self>, backup_id: &str) -> Result<(Entry, Vec<Entry>)> {
        let found =
            |listing: &Listing| Some((listing.find(backup_id)?, listing.earlier(backup_id)));
        // A change of one backup does not make the others' entries wrong: many deletions need no listing in between.
        let recent = self
            .last()
            .filter(|listing| listing.taken.elapsed() < LIFETIME);
        if let Some(found) = recent.as_deref().and_then(found) {
            return Ok(found);
        }
        let is_aged = recent.is_some_and(|listing| listing.taken.elapsed() >= FRESH);
        let view = self.get(is_aged).await?;
        if let Some(found) = found(&view.listing) {
            return Ok(found);
        }
        let unread = view.listing.unread.clone();
        Err(view.error.or(unread).unwrap_or_else(|| {
            let detail = format!(
                "There is no backup \"{backup_id}\" in {}.",
                self.store().place()
            );
            Error::new(Kind::BackupNotFound, detail)
        }))
    }

    /// The last good list, however old.
    #[must_use]
    pub fn last(&self) -> Option<Arc<Listing>> {
        lock(&self.last).clone()
    }

    /// Something changed in the bucket: no list that was begun before this call is served after it.
    pub fn outdate(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        *lock(&self.failed) = None;
    }

    /// This backup changed in the bucket: no list that was begun before this call is served after it, and even the
    /// last good one does not show the backup as it was.
    pub fn changed(&self, backup_id: &str) {
        let mut last = lock(&self.last);
        self.outdate();
        if let Some(listing) = last.as_ref() {
            let is_other = |entry: &&Entry| entry.metadata.backup_id != backup_id;
            let others = |entries: &[Entry]| entries.iter().filter(is_other).cloned().collect();
            let (entries, copies) = (others(&listing.entries), others(&listing.copies));
            let (skipped, orphans) = (listing.skipped.clone(), listing.orphans.clone());
            let unread = listing.unread.clone();
            *last = Some(Arc::new(Listing {
                entries,
                skipped,
                copies,
                orphans,
                unread,
                taken: listing.taken,
            }));
        }
    }

    async fn current_generation(&self, refresh: bool) -> u64 {
        let generation = self.generation.load(Ordering::SeqCst);
        let cached = self.cache.get(&generation).await;
        let is_old = cached.is_some_and(|listing| listing.taken.elapsed() >= listing.lifetime());
        if !refresh && !is_old {
            return generation;
        }
        // Callers that find the same list old begin one new generation together.
        let next = generation + 1;
        self.generation
            .compare_exchange(generation, next, Ordering::SeqCst, Ordering::SeqCst)
            .map_or_else(|now| now, |_| next)
    }

    async fn take(&self, generation: u64) -> Result<Arc<Listing>> {
        let start = Instant::now();
        let mut objects = self
            .store()
            .list(&self.folder, Patience::INTERACTIVE)
            .await?;
        objects
            .objects
            .retain(|object| !object.key.is_in_location_below(&self.folder));
        let known = self.last();
        let listing = Arc::new(self.read(objects, known.as_deref(), start).await?);
        let told = self
            .told
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade();
        debug!(
            location = told.as_ref().map(|location| location.id()),
            folder = self.folder,
            backups = listing.entries.len(),
            skipped = listing.skipped.len(),
            duration_ms = start.elapsed().as_millis(),
            "listed {}",
            self.store().place()
        );
        self.note_skipped(&listing.skipped, known.as_deref());
        self.note_damaged(&listing, known.as_deref());
        *lock(&self.failed) = None;
        let mut last = lock(&self.last);
        // What changed since this list was begun is not in it.
        let is_current = self.generation.load(Ordering::SeqCst) == generation;
        if is_current {
            *last = Some(Arc::clone(&listing));
        }
        drop(last);
        if let Some(location) = told.filter(|_| is_current) {
            location.listed();
        }
        Ok(listing)
    }

    async fn read(
        &self,
        objects: Objects,
        known: Option<&Listing>,
        taken: Instant,
    ) -> Result<Listing, StoreError> {
        let mut sorted = Sorted::from(objects);
        let known: HashMap<&Key, &Entry> = known
            .iter()
            .flat_map(|listing| listing.all())
            .map(|entry| (&entry.key, entry))
            .collect();
        let pairs = std::mem::take(&mut sorted.pairs);
        let read = stream::iter(pairs).map(|(object, tar)| {
            let known = known
                .get(&object.key)
                .filter(|entry| entry.metadata.version == object.version);
            let known = known.map(|entry| Arc::clone(&entry.metadata));
            async move {
                let metadata = match known {
                    Some(metadata) => Ok(metadata),
                    None => self.read_metadata(&object).await?,
                };
                Ok::<_, StoreError>((object.key, tar, metadata))
            }
        });
        let mut read = read.buffered(READS_IN_FLIGHT);
        let (entries, copies, orphans, unread) = (Vec::new(), Vec::new(), Vec::new(), None);
        let mut listing = Listing {
            entries,
            skipped: sorted.skipped,
            copies,
            orphans,
            unread,
            taken,
        };
        let (mut unread, mut room) = (None, MAX_LIST_BYTES);
        while let Some((key, tar, metadata)) = read.try_next().await? {
            let metadata = metadata.and_then(|metadata| metadata.within(&mut room));
            let metadata = metadata.map_err(|error| {
                let reason = error.to_string();
                unread = Some(error)
                    .filter(|error| !is_of_the_object(error.outcome))
                    .or(unread.take());
                reason
            });
            listing.add(key, tar, metadata);
        }
        // One object that the server fails on does not hide the others; a server that fails on all of them is ill.
        listing.unread = match unread {
            Some(error) if listing.entries.is_empty() => return Err(error),
            unread => unread.map(Error::from),
        };
        listing.keep_one_for_each_id();
        // Right under a prefix, a tar may be anything.
        if let Some(shared) = &self.shared {
            listing.add_orphans(sorted.orphans, shared);
        }
        Ok(listing)
    }

    /// The outer error ends the whole list, because the bucket is away; the inner one skips this object.
    async fn read_metadata(
        &self,
        object: &Object,
    ) -> Result<Result<Arc<Metadata>, StoreError>, StoreError> {
        match self
            .store()
            .read(&object.key, MAX_METADATA_BYTES, Patience::INTERACTIVE)
            .await
        {
            Ok(json) => Ok(Metadata::parse(&json, &object.version).map(Arc::new)),
            // These may be about one object.
            Err(error)
                if is_of_the_object(error.outcome)
                    || matches!(
                        error.outcome,
                        Outcome::Forbidden | Outcome::ServerError | Outcome::NotS3
                    ) =>
            {
                Ok(Err(error))
            }
            Err(error) => Err(error),
        }
    }

    fn note_skipped(&self, skipped: &[Skipped], known: Option<&Listing>) {
        let known = known.map_or(&[][..], |listing| &listing.skipped);
        for skipped in skipped.iter().filter(|skipped| !known.contains(skipped)) {
            warn!(
                key = skipped.key,
                "left out of the list of {}: {}",
                self.store().place(),
                skipped.reason
            );
        }
    }

    fn note_damaged(&self, listing: &Listing, known: Option<&Listing>) {
        let is_known = |entry: &Entry| {
            known.is_some_and(|known| {
                known
                    .all()
                    .any(|other| Arc::ptr_eq(&other.metadata, &entry.metadata))
            })
        };
        for entry in listing
            .all()
            .filter(|entry| entry.metadata.damage.is_some() && !is_known(entry))
        {
            if let Some(damage) = &entry.metadata.damage {
                let (key, store) = (entry.key.as_str(), self.store());
                warn!(
                    key,
                    "the metadata of a backup in {} is damaged: {damage}; it is listed as it is",
                    store.place()
                );
            }
        }
    }
}

/// Whether that is what one object is, and not what keeps it from being read.
const fn is_of_the_object(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::NotFound | Outcome::Changed | Outcome::Refused
    )
}

/// Refuses a backup whose metadata would be too large to be read again: it would never be listed.
///
/// # Errors
/// [`Kind::InvalidMetadata`].
pub(super) fn refuse_when_unreadable(backup: &AgentBackup) -> Result<()> {
    let bytes = serde_json::to_vec(backup).map_or(u64::MAX, |json| json.len() as u64);
    if bytes <= MAX_METADATA_BYTES - ADDITIONS_BYTES {
        return Ok(());
    }
    let most = MAX_METADATA_BYTES / 1024;
    let detail = format!(
        "The backup's metadata has {bytes} bytes, and of more than {most} KiB nothing is listed."
    );
    Err(Error::new(Kind::InvalidMetadata, detail))
}

impl Listing {
    /// How long it is good for.
    fn lifetime(&self) -> Duration {
        if self.unread.is_some() {
            AWAY_FOR
        } else {
            LIFETIME
        }
    }

    /// Its figures.
    pub(super) fn numbers(&self) -> Numbers {
        let uploads = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry.metadata.uploaded_at()?, entry)));
        Numbers {
            backups: Some(self.entries.len()),
            size_bytes: Some(self.entries.iter().map(|entry| entry.tar.size).sum()),
            last_upload: uploads
                .max_by_key(|(at, _)| *at)
                .and_then(|(_, entry)| entry.as_last_upload()),
            skipped: Some(SkipCounts::of(&self.skipped)),
        }
    }

    /// The backup with this id.
    #[must_use]
    pub fn find(&self, backup_id: &str) -> Option<Entry> {
        self.entries
            .iter()
            .find(|entry| entry.metadata.backup_id == backup_id)
            .cloned()
    }

    /// All of them, also several of one id.
    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().chain(&self.copies)
    }

    /// Earlier uploads of this backup that were not removed when the last one took their place.
    fn earlier(&self, backup_id: &str) -> Vec<Entry> {
        // Of damaged metadata, the id may be another backup's.
        let is_ours = |entry: &&Entry| {
            let metadata = &entry.metadata;
            metadata.backup_id == backup_id
                && metadata.sha256().is_some()
                && metadata.damage.is_none()
        };
        self.copies.iter().filter(is_ours).cloned().collect()
    }

    /// The key of metadata that is not in the list, though this tar is beside it.
    #[must_use]
    pub fn metadata_of(&self, tar: &str) -> Option<&str> {
        let metadata = Key::new(tar).metadata_of_tar()?;
        self.skipped
            .iter()
            .map(|skipped| &*skipped.key)
            .find(|key| *key == metadata.as_str())
    }

    fn add(&mut self, key: Key, tar: Object, metadata: Result<Arc<Metadata>, String>) {
        let reason = match metadata {
            Ok(metadata) => match &metadata.stored {
                Some(stored) if stored.size != tar.size => {
                    format!(
                        "its tar has {} bytes, not the {} that were uploaded",
                        tar.size, stored.size
                    )
                }
                _ => return self.entries.push(Entry { key, metadata, tar }),
            },
            Err(reason) => reason,
        };
        self.skipped.push(Skipped::new(
            key.as_str(),
            SkipCode::InvalidMetadata,
            reason,
        ));
    }

    fn add_orphans(&mut self, orphans: Vec<Object>, place: &Folder) {
        let reason = "it has no metadata; recover adopts it";
        let skipped = orphans.iter().filter(|tar| place.is_orphan(tar));
        self.skipped.extend(
            skipped.map(|tar| Skipped::new(tar.key.as_str(), SkipCode::MetadataMissing, reason)),
        );
        self.orphans = orphans;
    }

    /// HA knows a backup by its id alone. Of several, the one that this agent wrote last wins, then the last by name.
    fn keep_one_for_each_id(&mut self) {
        let mut best: HashMap<&str, usize> = HashMap::new();
        let uploaded_at = |entry: &Entry| {
            entry
                .metadata
                .stored
                .as_ref()
                .map(|stored| stored.uploaded_at.clone())
        };
        let rank = |entry: &Entry| (uploaded_at(entry), entry.key.clone());
        for (index, entry) in self.entries.iter().enumerate() {
            let held = best.entry(&entry.metadata.backup_id).or_insert(index);
            if rank(entry) > rank(&self.entries[*held]) {
                *held = index;
            }
        }
        if best.len() == self.entries.len() {
            return;
        }
        let kept: std::collections::HashSet<usize> = best.into_values().collect();
        for (index, entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if kept.contains(&index) {
                self.entries.push(entry);
                continue;
            }
            let reason = format!(
                "another object has the same backup id, \"{}\"",
                entry.metadata.backup_id
            );
            self.skipped.push(Skipped::new(
                entry.key.as_str(),
                SkipCode::Duplicate,
                reason,
            ));
            self.copies.push(entry);
        }
    }
}

impl Entry {
    fn as_last_upload(&self) -> Option<LastUpload> {
        let stored = self.metadata.stored.as_ref()?;
        Some(LastUpload {
            backup_id: self.metadata.backup_id.clone(),
            uploaded_at: stored.uploaded_at.clone(),
            size_bytes: self.tar.size,
            duration_ms: stored.duration_ms,
        })
    }
}

impl Metadata {
    /// Upload time; none if another tool rewrote it as something else than a time.
    fn uploaded_at(&self) -> Option<DateTime<FixedOffset>> {
        DateTime::parse_from_rfc3339(&self.stored.as_ref()?.uploaded_at).ok()
    }

    /// SHA-256 of the tar, where it is known.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Takes its bytes from what the list has room for.
    fn within(self: Arc<Self>, room: &mut usize) -> Result<Arc<Self>, StoreError> {
        let full = || {
            let mib = MAX_LIST_BYTES / 1024 / 1024;
            StoreError::new(
                Outcome::Refused,
                format!("the metadata before it has {mib} MiB already"),
            )
        };
        *room = room.checked_sub(self.json.get().len()).ok_or_else(full)?;
        Ok(self)
    }

    fn parse(json: &[u8], version: &str) -> Result<Self, StoreError> {
        let unreadable = |error: serde_json::Error| {
            StoreError::new(
                Outcome::Refused,
                format!("Home Assistant would refuse it: {error}"),
            )
        };
        let Read {
            stored,
            sha256,
            damage,
        } = StoredBackup::read(json).map_err(unreadable)?;
        let json = serde_json::value::to_raw_value(&stored).map_err(unreadable)?;
        let (backup_id, stored, version) =
            (stored.backup.backup_id, stored.agent, version.to_owned());
        Ok(Self {
            backup_id,
            json,
            stored,
            damage,
            sha256,
            version,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
