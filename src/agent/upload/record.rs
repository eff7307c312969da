//! What an upload leaves on this machine for the next attempt, and what it takes over from the last one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::super::cleanup::{abandon, abort_parts as abort, unfinished as multipart};
use super::super::folder::Claim;
use super::super::journal::{
    Header, Interrupted as Left, Journal, Journals, StoredPart, Tombstone,
};
use super::super::location::Location;
use crate::error::{Error, Result};
use crate::store::{Error as StoreError, Key, Multipart, Outcome, Patience};

/// An upload's journal, and what earlier attempts at the same key left.
#[derive(Debug)]
pub(super) struct Record {
    journals: Arc<Journals>,
    open: Mutex<Vec<Journal>>,
    /// Those of earlier attempts at the same key, which say whose tar it is that may be there.
    earlier: Mutex<Vec<Journal>>,
    /// Those of earlier attempts that say what has to go from the key, until a backup has its place.
    doomed: Mutex<Vec<(Journal, Tombstone)>>,
    resumed: Mutex<Option<Resumed>>,
    /// The key is this upload's until its end.
    arriving: Mutex<Option<Claim>>,
}

/// A multipart upload of an earlier attempt, to go on with.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) multipart: Multipart,
    pub(super) parts: BTreeMap<usize, StoredPart>,
    journal: Journal,
}

impl Record {
    /// Takes over what earlier attempts left for this key, where it can be gone on with in parts of `part_size` to a tar
    /// of `size` bytes. What they left for other keys is removed: something else has their place now.
    ///
    /// # Errors
    /// When the bucket cannot be asked what it holds.
    pub(super) async fn take_over(
        left: Vec<Left>,
        location: &Arc<Location>,
        (key, arriving): (&Key, Claim),
        (part_size, size): (u64, u64),
        (journals, tasks): (Arc<Journals>, &TaskTracker),
    ) -> Result<Self> {
        let (mut earlier, mut doomed, mut resumed) = (Vec::new(), Vec::new(), None);
        for left in left {
            if left.header.key != key.as_str() {
                abandon(location, left, tasks);
                continue;
            }
            let usable = if resumed.is_none() {
                usable(location, &left, part_size, size).await?
            } else {
                None
            };
            if let Some((multipart, parts)) = usable {
                if left.is_discarded() {
                    // Its parts are there still, so no tar was made of them.
                    left.journal.resumed().await;
                }
                resumed = Some(Resumed {
                    multipart,
                    parts,
                    journal: left.journal,
                });
                continue;
            }
            // They go on saying whose tar it is that may be under this key.
            match left.tombstone {
                Some(removal) => doomed.push((left.journal, removal)),
                None => earlier.push(left.journal),
            }
            let location = Arc::clone(location);
            tasks.spawn(async move {
                if let Some(multipart) = multipart(&location, &left.header) {
                    abort(&location, &multipart, &left.header.key).await;
                }
            });
        }
        let (earlier, doomed, resumed) =
            (Mutex::new(earlier), Mutex::new(doomed), Mutex::new(resumed));
        Ok(Self {
            journals,
            open: Mutex::default(),
            earlier,
            doomed,
            resumed,
            arriving: Mutex::new(Some(arriving)),
        })
    }

    /// Bytes that an earlier attempt stored.
    pub(super) fn resumed_bytes(&self) -> u64 {
        let resumed = self.resumed.lock().unwrap_or_else(PoisonError::into_inner);
        resumed
            .iter()
            .flat_map(|resumed| resumed.parts.values())
            .map(|part| part.size)
            .sum()
    }

    /// What to go on with; whoever takes it completes or aborts it.
    pub(super) fn resume(&self) -> Option<(Resumed, Journal)> {
        let resumed = self
            .resumed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        let journal = resumed.journal.clone();
        self.open().push(journal.clone());
        Some((resumed, journal))
    }

    /// Notes that the upload has begun.
    pub(super) async fn begin(&self, header: Header, tasks: &TaskTracker) -> Option<Journal> {
        // A task of its own: when the upload is cancelled meanwhile, nobody else would know of the file.
        let (journals, (sender, begun)) = (Arc::clone(&self.journals), oneshot::channel());
        tasks.spawn(async move {
            if let Err(Some(unwanted)) = sender.send(journals.begin(header).await) {
                unwanted.end().await;
            }
        });
        let journal = begun.await.ok().flatten()?;
        self.open().push(journal.clone());
        Some(journal)
    }

    /// Whether there is a journal of what is stored.
    pub(super) fn is_noted(&self) -> bool {
        !self.open().is_empty()
            || self
                .resumed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some()
    }

    /// Leaves to the sweep what could not be removed.
    pub(super) async fn leave_unwanted(&self) {
        let open = self.open().clone();
        for journal in open {
            journal.discarded().await;
        }
        self.leave();
    }

    /// Notes that what is in place has to go.
    pub(super) async fn removing(&self, removal: &Tombstone) {
        let noted = [self.open().clone(), self.earlier().clone()].concat();
        for journal in noted {
            journal.bury(removal.clone()).await;
        }
    }

    /// Leaves everything to the next attempt.
    pub(super) fn leave(&self) {
        drop(
            self.resumed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.open().clear();
        self.earlier().clear();
        drop(self.take_doomed());
        self.release();
    }

    /// Nothing is left to go on with, and the key has its backup, or nothing.
    pub(super) async fn end(&self) {
        self.end_but_doomed().await;
        for (journal, _) in self.take_doomed() {
            journal.end().await;
        }
        self.release();
    }

    /// What earlier attempts left to be removed from the key; whoever takes it sees to that.
    pub(super) fn take_doomed(&self) -> Vec<(Journal, Tombstone)> {
        std::mem::take(&mut *self.doomed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn has_doomed(&self) -> bool {
        !self
            .doomed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Nothing is left to go on with.
    pub(super) async fn end_but_doomed(&self) {
        let noted = [
            std::mem::take(&mut *self.open()),
            std::mem::take(&mut *self.earlier()),
        ]
        .concat();
        for journal in noted {
            journal.end().await;
        }
    }

    fn release(&self) {
        drop(
            self.arriving
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    fn open(&self) -> MutexGuard<'_, Vec<Journal>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn earlier(&self) -> MutexGuard<'_, Vec<Journal>> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The upload that an earlier attempt left and those of its parts that the bucket still holds.
async fn usable(
    location: &Location,
    left: &Left,
    part_size: u64,
    size: u64,
) -> Result<Option<(Multipart, BTreeMap<usize, StoredPart>)>> {
    let is_of = left
        .header
        .is_of(part_size, size, &location.settings.keeps());
    let Some(multipart) = multipart(location, &left.header).filter(|_| is_of) else {
        return Ok(None);
    };
    let mut parts = left.parts.clone();
    match multipart.stored_parts(Patience::INTERACTIVE).await {
        Ok(held) => {
            let is_held = |part: &StoredPart| {
                held.iter().any(|held| {
                    held.part_number == part.number + 1 && held.is(&part.e_tag, part.size)
                })
            };
            parts.retain(|_, part| is_held(part));
        }
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) if error.outcome.is_transient() => return location.note(Err(error.into())),
        // Whoever may not ask which parts there are may still store parts. The journal was right when it was written; but
        // where there is a tar, it was made of them since.
        Err(_) => {
            let made = location
                .store
                .object_if_any(&Key::new(&left.header.key), Patience::INTERACTIVE)
                .await;
            if location.note(made.map_err(Error::from))?.is_some() {
                return Ok(None);
            }
        }
    }
    info!(
        parts = parts.len(),
        "going on with the upload of \"{}\" in {}",
        left.header.key,
        location.store.place()
    );
    Ok(Some((multipart, parts)))
}

fn is_gone(error: &StoreError) -> bool {
    matches!(error.outcome, Outcome::NoSuchUpload | Outcome::NotFound)
}
