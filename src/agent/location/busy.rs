//! Keys of one folder of a bucket that something is being done with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{TimeDelta, Utc};

use crate::store::{Key, Object};

/// A tar without metadata that is younger may be an upload's of another agent, which is about to write it.
const SETTLED_AFTER: TimeDelta = TimeDelta::hours(1);

/// Keys with the number of those who hold them: the next upload may begin before the last one is forgotten.
type Held = Mutex<HashMap<Key, usize>>;

/// What is on its way to a folder, and out of it.
#[derive(Debug, Default)]
pub(in crate::agent) struct Busy {
    arriving: Held,
    leaving: Held,
}

/// Something that is done with a key. Dropping it says that it is over.
#[derive(Debug)]
pub(in crate::agent) struct Hold {
    busy: Arc<Busy>,
    held: fn(&Busy) -> &Held,
    key: Key,
}

impl Busy {
    /// Says that an upload has this key.
    pub(super) fn arriving(self: &Arc<Self>, key: &Key) -> Hold {
        self.hold(key, |busy| &busy.arriving)
    }

    /// Says that this object is being deleted.
    pub(super) fn leaving(self: &Arc<Self>, key: &Key) -> Hold {
        self.hold(key, |busy| &busy.leaving)
    }

    pub(super) fn is_leaving(&self, key: &Key) -> bool {
        lock(&self.leaving).contains_key(key)
    }

    pub(super) fn is_arriving(&self, key: &Key) -> bool {
        lock(&self.arriving).contains_key(key)
    }

    /// Whether nobody is at this tar that has no metadata: no upload or deletion of this agent, and, by its age, no
    /// upload of another one.
    pub(in crate::agent) fn is_settled(&self, tar: &Object) -> bool {
        is_aged(tar) && !self.is_leaving(&tar.key) && !self.is_arriving(&tar.key)
    }

    fn hold(self: &Arc<Self>, key: &Key, held: fn(&Self) -> &Held) -> Hold {
        *lock(held(self)).entry(key.clone()).or_default() += 1;
        Hold {
            busy: Arc::clone(self),
            held,
            key: key.clone(),
        }
    }
}

/// Whether no upload of another agent can be at this tar. One of unknown age may be anybody's.
pub(in crate::agent) fn is_aged(tar: &Object) -> bool {
    tar.modified
        .is_some_and(|modified| Utc::now() - modified >= SETTLED_AFTER)
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = lock((self.held)(&self.busy));
        if let Some(holders) = held.get_mut(&self.key) {
            *holders -= 1;
            if *holders == 0 {
                held.remove(&self.key);
            }
        }
    }
}

fn lock(held: &Held) -> MutexGuard<'_, HashMap<Key, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
