//! One folder, `prefix/backups/` in one bucket or directory: its identity, its locks and its claims.
//!
//! Locations that lead to the same folder share it, and it outlives them: a deletion may still run in the background.
//!
//! Lock order: `recovering`, then `changing`, then `creating`. A task takes each at most once and never an earlier one
//! while it holds a later one. `creating` is held for a few requests, `changing` for a commit or a deletion,
//! `recovering` for as long as tars are adopted. The lock of the claims is never held over an await.

mod id;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use chrono::{TimeDelta, Utc};
use parking_lot::Mutex;

use crate::config;
use crate::store::{Key, Keys, Object};
pub use id::FolderId;

/// A younger tar without metadata may belong to another agent's upload that is about to write its metadata.
const SETTLED_AFTER: TimeDelta = TimeDelta::hours(1);

/// What belongs to one folder.
#[derive(Debug)]
pub struct Folder {
    /// Its identity.
    pub id: FolderId,
    /// Its keys.
    pub keys: Keys,
    /// Held while tars are adopted: of two with one backup id, only one becomes the backup.
    pub(super) recovering: tokio::sync::Mutex<()>,
    changing: Mutex<HashMap<String, Weak<tokio::sync::RwLock<()>>>>,
    /// Held while an upload chooses its key.
    pub(super) creating: tokio::sync::Mutex<()>,
    claims: Mutex<HashMap<Key, Claims>>,
}

/// Number of claims on one key: an upload may begin before the claim of an ended one is dropped.
#[derive(Debug, Default)]
struct Claims {
    uploads: usize,
    deletions: usize,
}

#[derive(Debug, Clone, Copy)]
enum ClaimKind {
    Upload,
    Deletion,
}

/// A claim on a key by an upload or a deletion of this agent. Dropping it releases the key.
#[derive(Debug)]
pub(super) struct Claim {
    folder: Arc<Folder>,
    key: Key,
    kind: ClaimKind,
}

impl Folder {
    pub(super) fn new(settings: &config::Location) -> Arc<Self> {
        Arc::new(Self {
            id: FolderId::from(settings),
            keys: Keys::new(&settings.prefix),
            recovering: tokio::sync::Mutex::default(),
            changing: Mutex::default(),
            creating: tokio::sync::Mutex::default(),
            claims: Mutex::default(),
        })
    }

    /// The lock of one backup: shared by its commits, each of which has its own key; exclusive for its deletion.
    pub(super) fn changing(&self, backup_id: &str) -> Arc<tokio::sync::RwLock<()>> {
        let mut locks = self.changing.lock();
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(backup_id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(backup_id.to_owned(), Arc::downgrade(&lock));
        lock
    }

    /// Claims a key for an upload.
    pub(super) fn claim(self: &Arc<Self>, key: &Key) -> Claim {
        self.claim_as(key, ClaimKind::Upload)
    }

    /// Claims a key for a deletion: no upload may choose it meanwhile.
    pub(super) fn claim_deletion(self: &Arc<Self>, key: &Key) -> Claim {
        self.claim_as(key, ClaimKind::Deletion)
    }

    /// Whether an upload of this agent has claimed this key.
    pub(super) fn has_upload(&self, key: &Key) -> bool {
        let claims = self.claims.lock();
        claims.get(key).is_some_and(|claims| claims.uploads > 0)
    }

    /// Whether a deletion has claimed this key.
    pub(super) fn has_deletion(&self, key: &Key) -> bool {
        let claims = self.claims.lock();
        claims.get(key).is_some_and(|claims| claims.deletions > 0)
    }

    /// Whether this tar without metadata is an orphan: this agent has no claim on it, and it is too old for another's.
    pub(super) fn is_orphan(&self, tar: &Object) -> bool {
        is_settled(tar) && !self.claims.lock().contains_key(&tar.key)
    }

    fn claim_as(self: &Arc<Self>, key: &Key, kind: ClaimKind) -> Claim {
        *self
            .claims
            .lock()
            .entry(key.clone())
            .or_default()
            .count(kind) += 1;
        Claim {
            folder: Arc::clone(self),
            key: key.clone(),
            kind,
        }
    }
}

impl Claims {
    fn count(&mut self, kind: ClaimKind) -> &mut usize {
        match kind {
            ClaimKind::Upload => &mut self.uploads,
            ClaimKind::Deletion => &mut self.deletions,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut all = self.folder.claims.lock();
        if let Some(claims) = all.get_mut(&self.key) {
            *claims.count(self.kind) -= 1;
            if claims.uploads + claims.deletions == 0 {
                all.remove(&self.key);
            }
        }
    }
}

/// Whether a tar is too old for an upload of another agent. Unknown age counts as young.
pub(super) fn is_settled(tar: &Object) -> bool {
    tar.modified
        .is_some_and(|modified| Utc::now() - modified >= SETTLED_AFTER)
}
