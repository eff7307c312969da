//! One folder, `prefix/backups/` in one bucket or directory: its identity, locks, claims and verification record.
//!
//! Locations that lead to the same folder share it, and it outlives them: a deletion may still run in the background.
//!
//! Lock order: `recovering`, then `changing`, then `creating`. A task takes each at most once and never an earlier one
//! while it holds a later one. `creating` is held for a few requests, `changing`, one per backup, for a commit or a deletion,
//! `recovering` for as long as tars are adopted. The short lock on the state is never held over an await.

mod id;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::verify::record::Record;
use crate::config;
use crate::store::{Key, Keys, Object};
pub use id::FolderId;

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
    /// Held while an upload chooses its key.
    pub(super) creating: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// One key may have several: an upload may begin before the claim of an ended one is dropped.
    claims: Vec<(Key, ClaimKind)>,
    /// Locks of backups that are committed or deleted, by id.
    changing: HashMap<String, Weak<tokio::sync::RwLock<()>>>,
    record: Record,
    /// When a scheduled verification last failed.
    rests_since: Option<Instant>,
}

/// Owner of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimKind {
    Upload,
    /// No upload may choose the key meanwhile.
    Deletion,
}

/// A claim on a key by an upload or a deletion of this agent. Dropping it releases the key.
#[derive(Debug)]
pub(super) struct Claim {
    folder: Arc<Folder>,
    claim: (Key, ClaimKind),
}

impl Folder {
    pub(super) fn new(settings: &config::Location) -> Arc<Self> {
        Arc::new(Self {
            id: FolderId::from(settings),
            keys: Keys::new(&settings.prefix),
            recovering: tokio::sync::Mutex::default(),
            creating: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        })
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

    /// Whether an upload, or a deletion, of this agent has claimed this key.
    pub(super) fn is_claimed(&self, key: &Key, kind: ClaimKind) -> bool {
        let claims = &self.state.lock().claims;
        claims
            .iter()
            .any(|claim| (&claim.0, claim.1) == (key, kind))
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

impl Drop for Claim {
    fn drop(&mut self) {
        let claims = &mut self.folder.state.lock().claims;
        if let Some(index) = claims.iter().position(|claim| *claim == self.claim) {
            claims.swap_remove(index);
        }
    }
}

/// Whether a tar is too old for an upload of another agent. Unknown age counts as young.
pub(super) fn is_settled(tar: &Object) -> bool {
    tar.modified
        .is_some_and(|modified| Utc::now() - modified >= SETTLED_AFTER)
}
