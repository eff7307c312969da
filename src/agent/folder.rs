//! One folder, `prefix/backups/` in one bucket or directory: its identity, locks, claims and verification record.
//!
//! Locations that lead to the same folder share it, and it outlives them: a deletion may still run in the background.
//!
//! Lock order: `recovering`, then `changing`. A task takes each at most once and never the first while it holds the second.
//! `recovering` is held for as long as tars are adopted, `changing`, one per backup, for a commit or a deletion. The short
//! lock on the state is never held over an await. Keys are claimed under it, so that two uploads never choose the same.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::model::LastVerified;
use super::verify::record::Record;
use crate::config;
pub use crate::config::FolderId;
use crate::store::{Key, Keys, Object};

/// A younger tar without metadata may belong to another agent's upload that is about to write its metadata.
const SETTLED_AFTER: TimeDelta = TimeDelta::hours(1);

/// Pause of scheduled verification after the storage was away.
const REST: Duration = Duration::from_hours(1);

/// What belongs to one folder.
#[derive(Debug)]
pub struct Folder {
    /// Its identity.
    pub id: FolderId,
    /// Its keys.
    pub keys: Keys,
    /// Held while tars are adopted: of two with one backup id, only one becomes the backup.
    pub(super) recovering: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// One key may have several: an upload may begin before the claim of an ended one is dropped.
    claims: Vec<(Key, ClaimKind)>,
    /// Locks of backups that are committed or deleted, by id.
    changing: HashMap<String, Weak<tokio::sync::RwLock<()>>>,
    record: Record,
    ids: Vec<String>,
    /// When a scheduled verification last failed.
    rests_since: Option<Instant>,
}

/// Owner of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimKind {
    Upload,
    /// An upload that ended and removes what it stored. The next one may choose the key.
    Cleanup,
    /// A tar gets its metadata.
    Adoption,
    /// No upload may choose the key meanwhile.
    Deletion,
}

impl ClaimKind {
    /// Whether a new claim of this kind is refused beside `held`.
    const fn is_refused_beside(self, held: Self) -> bool {
        !matches!(
            (self, held),
            (Self::Upload, Self::Cleanup) | (Self::Deletion, Self::Deletion)
        )
    }
}

/// A claim on a key by an upload or a deletion of this agent. Dropping it releases the key.
#[derive(Debug)]
pub(super) struct Claim {
    folder: Arc<Folder>,
    claim: (Key, ClaimKind),
}

impl Folder {
    /// `ids` are those of locations with this folder.
    pub(super) fn new(settings: &config::Location, ids: Vec<String>) -> Arc<Self> {
        let state = State {
            ids,
            ..State::default()
        };
        Arc::new(Self {
            id: FolderId::from(settings),
            keys: Keys::new(&settings.prefix),
            recovering: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
        })
    }

    /// Other ids that a location with this folder has or had, here or on another machine, than this one.
    pub(super) fn other_ids(&self, own: &str) -> Vec<String> {
        let state = self.state.lock();
        let others = state.ids.iter().filter(|id| *id != own);
        let others: BTreeSet<_> = others.cloned().collect();
        others.into_iter().collect()
    }

    /// Whether a key is in this folder, and not in a folder of another location below it.
    pub(super) fn holds(&self, key: &Key) -> bool {
        let folder = self.keys.folder();
        key.as_str().starts_with(folder) && !key.is_in_location_below(folder)
    }

    /// Notes the id of a location with this folder.
    pub(super) fn add_id(&self, id: &str) {
        let ids = &mut self.state.lock().ids;
        if ids.iter().all(|known| known != id) {
            ids.push(id.to_owned());
        }
    }

    /// The lock of one backup: shared by its commits, each of which has its own key; exclusive for its deletion.
    pub(super) fn changing(&self, backup_id: &str) -> Arc<tokio::sync::RwLock<()>> {
        let locks = &mut self.state.lock().changing;
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(backup_id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(backup_id.to_owned(), Arc::downgrade(&lock));
        lock
    }

    /// Claims a key for an upload or a deletion of this agent.
    pub(super) fn claim(self: &Arc<Self>, key: &Key, kind: ClaimKind) -> Claim {
        let claim = (key.clone(), kind);
        self.state.lock().claims.push(claim.clone());
        Claim {
            folder: Arc::clone(self),
            claim,
        }
    }

    /// Claims a key, unless a claim of this agent stands against it.
    pub(super) fn try_claim(self: &Arc<Self>, key: &Key, kind: ClaimKind) -> Option<Claim> {
        let claim = (key.clone(), kind);
        let mut state = self.state.lock();
        if is_refused(&state.claims, key, kind) {
            return None;
        }
        state.claims.push(claim.clone());
        drop(state);
        Some(Claim {
            folder: Arc::clone(self),
            claim,
        })
    }

    /// Whether no upload may choose this key now.
    pub(super) fn is_taken(&self, key: &Key) -> bool {
        is_refused(&self.state.lock().claims, key, ClaimKind::Upload)
    }

    /// Whether an upload of this agent has claimed this key.
    pub(super) fn is_uploaded(&self, key: &Key) -> bool {
        let claims = &self.state.lock().claims;
        claims
            .iter()
            .any(|(claimed, kind)| claimed == key && *kind != ClaimKind::Deletion)
    }

    /// Whether an upload or a deletion of this agent has claimed any key.
    pub(super) fn is_claimed(&self) -> bool {
        !self.state.lock().claims.is_empty()
    }

    /// Whether this tar without metadata is an orphan: this agent has no claim on it, and it is too old for another's.
    pub(super) fn is_orphan(&self, tar: &Object) -> bool {
        let claims = &self.state.lock().claims;
        is_settled(tar) && claims.iter().all(|(key, _)| *key != tar.key)
    }

    /// The verification record, as last read or written.
    pub(super) fn record(&self) -> Record {
        self.state.lock().record.clone()
    }

    /// The last verification of a backup whose tar has this version.
    pub fn last_verified(&self, backup_id: &str, version: &str) -> Option<LastVerified> {
        self.state.lock().record.last(backup_id, version)
    }

    /// Sets the verification record; returns whether it differs from the one before.
    pub(super) fn set_record(&self, record: Record) -> bool {
        let mut state = self.state.lock();
        let is_new = state.record != record;
        state.record = record;
        is_new
    }

    /// Pauses scheduled verification after a failure.
    pub(super) fn rest(&self) {
        self.state.lock().rests_since = Some(Instant::now());
    }

    /// Whether scheduled verification is paused.
    pub(super) fn is_resting(&self) -> bool {
        let since = self.state.lock().rests_since;
        since.is_some_and(|since| since.elapsed() < REST)
    }
}

impl Claim {
    /// Lets the next upload choose the key, while this one still removes what it stored.
    pub(super) fn clean_up(&mut self) {
        let mut state = self.folder.state.lock();
        let held = state.claims.iter_mut().find(|claim| **claim == self.claim);
        self.claim.1 = ClaimKind::Cleanup;
        if let Some(held) = held {
            held.1 = ClaimKind::Cleanup;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let claims = &mut self.folder.state.lock().claims;
        if let Some(index) = claims.iter().position(|claim| *claim == self.claim) {
            claims.swap_remove(index);
        }
    }
}

fn is_refused(claims: &[(Key, ClaimKind)], key: &Key, kind: ClaimKind) -> bool {
    claims
        .iter()
        .any(|(claimed, held)| claimed == key && kind.is_refused_beside(*held))
}

/// Whether a tar is too old for an upload of another agent. Unknown age counts as young.
pub(super) fn is_settled(tar: &Object) -> bool {
    tar.modified
        .is_some_and(|modified| Utc::now() - modified >= SETTLED_AFTER)
}
