//! The journals that an upload owns: its own, and those of earlier attempts at the same key.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::plan::Plan;
use crate::agent::cleanup::{abandon, abort_parts, erase_failed, unfinished};
use crate::agent::folder::{Claim, ClaimKind};
use crate::agent::journal::{Interrupted, Journal, StoredPart, Tombstone};
use crate::agent::location::Location;
use crate::error::Result;
use crate::store::{Key, Multipart, Outcome, Store};

/// The journals of an upload.
#[derive(Debug)]
pub(super) struct Ledger {
    own: Option<Journal>,
    earlier: Vec<Earlier>,
    resumable: Option<Resumable>,
    /// The key belongs to this upload until it ends.
    claim: Claim,
}

/// A multipart upload of an earlier attempt that this upload can resume.
#[derive(Debug)]
pub(super) struct Resumable {
    pub(super) multipart: Multipart,
    pub(super) parts: BTreeMap<usize, StoredPart>,
    journal: Journal,
}

/// What an earlier attempt at the same key left that cannot be resumed. Its journal still says whose tar may be there.
#[derive(Debug)]
struct Earlier {
    journal: Journal,
    /// Objects to be deleted unless this upload replaces them.
    tombstone: Option<Tombstone>,
    /// Aborts its parts; returns whether they are gone.
    abort: Option<JoinHandle<bool>>,
}

/// Properties of an upload that an earlier attempt must share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) location: &'a Arc<Location>,
    /// The location's storage; reports outages to the upload.
    pub(super) store: &'a Store,
    pub(super) tar: &'a Key,
    pub(super) part_size: u64,
    pub(super) size: u64,
    pub(super) tasks: &'a TaskTracker,
}

impl Ledger {
    /// Takes over interrupted uploads to the same key, and resumes one if it can. Uploads to other keys are discarded:
    /// another backup took their names.
    ///
    /// # Errors
    /// If the storage cannot tell which parts it holds.
    pub(super) async fn take_over(
        interrupted: Vec<Interrupted>,
        wanted: Wanted<'_>,
        claim: Claim,
    ) -> Result<Self> {
        let Wanted {
            location, tasks, ..
        } = wanted;
        let mut ledger = Self {
            own: None,
            earlier: Vec::new(),
            resumable: None,
            claim,
        };
        for upload in interrupted {
            if upload.header.key != wanted.tar.as_str() {
                abandon(location, upload, tasks);
                continue;
            }
            if ledger.resumable.is_none()
                && let Some((multipart, parts)) = resumable(&upload, wanted).await?
            {
                if upload.is_discarded() {
                    // Its parts still exist, so no tar was made of them.
                    upload.journal.resumed().await;
                }
                ledger.resumable = Some(Resumable {
                    multipart,
                    parts,
                    journal: upload.journal,
                });
                continue;
            }
            let multipart = unfinished(location, &upload.header);
            ledger.earlier.push(Earlier {
                journal: upload.journal,
                tombstone: upload.tombstone,
                abort: multipart
                    .map(|multipart| spawn_abort(multipart, location, wanted.tar, tasks)),
            });
        }
        Ok(ledger)
    }

    /// Lets the next attempt choose the key, while this one's leftovers are removed.
    pub(super) fn clean_up(&mut self) {
        self.claim.clean_up();
    }

    /// Bytes that an earlier attempt stored.
    pub(super) fn resumed_bytes(&self) -> u64 {
        self.resumable
            .iter()
            .flat_map(|resumable| resumable.parts.values())
            .map(|part| part.size)
            .sum()
    }

    /// Hands over the multipart upload to resume.
    pub(super) fn resume(&mut self) -> Option<(Resumable, Journal)> {
        let resumable = self.resumable.take()?;
        let journal = resumable.journal.clone();
        self.own = Some(journal.clone());
        Some((resumable, journal))
    }

    /// Aborts the multipart upload to resume, because this upload needs no parts.
    pub(super) fn decline(&mut self, plan: &Plan) {
        if let Some(resumable) = self.resumable.take() {
            let tasks = &plan.context.tasks;
            self.earlier.push(Earlier {
                journal: resumable.journal,
                tombstone: None,
                abort: Some(spawn_abort(
                    resumable.multipart,
                    &plan.location,
                    &plan.tar,
                    tasks,
                )),
            });
        }
    }

    /// Takes the upload's own journal.
    pub(super) fn own(&mut self, journal: Option<Journal>) {
        self.own = journal;
    }

    /// Whether a journal records the stored parts.
    pub(super) fn is_journaled(&self) -> bool {
        self.own.is_some() || self.resumable.is_some()
    }

    /// Records objects to be deleted, before the sender gets the error: the agent may be killed at any moment.
    pub(super) async fn bury(&self, tombstone: &Tombstone) {
        let earlier = self.earlier.iter().map(|earlier| &earlier.journal);
        for journal in self.own.iter().chain(earlier) {
            journal.bury(tombstone.clone()).await;
        }
    }

    /// Removes the journals of a complete upload.
    pub(super) async fn complete(self, tasks: &TaskTracker) {
        if let Some(own) = self.own {
            own.end().await;
        }
        for earlier in self.earlier {
            if earlier.is_aborted() {
                earlier.finish(true).await;
            } else {
                tasks.spawn(earlier.finish(true));
            }
        }
    }

    /// Aborts `multipart`, or what could have been resumed, deletes the tombstone's objects, and removes the journals.
    /// What fails is left to the sweep.
    pub(super) async fn discard(
        mut self,
        plan: &Plan,
        multipart: Option<Multipart>,
        tombstone: Option<Tombstone>,
        size: u64,
    ) {
        let multipart = match self.resume() {
            Some((resumable, _)) => Some(resumable.multipart),
            None => multipart,
        };
        let has_tombstone = self
            .earlier
            .iter()
            .any(|earlier| earlier.tombstone.is_some());
        // No upload may choose the key meanwhile: a deletion whose answer was lost must not hit its tar.
        let _claim = (tombstone.is_some() || has_tombstone)
            .then(|| plan.location.folder.claim(&plan.tar, ClaimKind::Deletion));
        let _own_claim = self.claim;
        if let Some(multipart) = multipart
            && !abort_parts(&plan.location, &multipart, plan.tar.as_str()).await
        {
            if let Some(journal) = &self.own {
                journal.discarded().await;
            }
            return;
        }
        let is_erased = match &tombstone {
            Some(tombstone) => erase_failed(&plan.location, &plan.tar, tombstone, size).await,
            None => true,
        };
        if !is_erased {
            return;
        }
        if let Some(own) = self.own {
            own.end().await;
        }
        for mut earlier in self.earlier {
            if let Some(earlier_tombstone) = earlier.tombstone.take()
                && tombstone.is_none()
                && !erase_failed(&plan.location, &plan.tar, &earlier_tombstone, size).await
            {
                continue;
            }
            earlier.finish(tombstone.is_some()).await;
        }
    }
}

impl Earlier {
    fn is_aborted(&self) -> bool {
        self.abort.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Removes its journal once its parts are gone, or leaves them to the sweep. Its tombstone is obsolete.
    async fn finish(self, is_replaced: bool) {
        let is_aborted = match self.abort {
            Some(abort) => abort.await.unwrap_or(false),
            None => true,
        };
        if is_aborted {
            return self.journal.end().await;
        }
        if is_replaced {
            // Its tombstone, if any, would name the new tar.
            self.journal.resumed().await;
        }
        self.journal.discarded().await;
    }
}

fn spawn_abort(
    multipart: Multipart,
    location: &Arc<Location>,
    tar: &Key,
    tasks: &TaskTracker,
) -> JoinHandle<bool> {
    let (location, tar) = (Arc::clone(location), tar.to_string());
    tasks.spawn(async move { abort_parts(&location, &multipart, &tar).await })
}

/// The multipart upload of an interrupted upload with those of its parts that the storage still holds.
async fn resumable(
    upload: &Interrupted,
    wanted: Wanted<'_>,
) -> Result<Option<(Multipart, BTreeMap<usize, StoredPart>)>> {
    let Wanted {
        location, store, ..
    } = wanted;
    let (header, patience) = (&upload.header, location.patience());
    let is_of = header.is_of(wanted.part_size, wanted.size, &location.settings.keeps());
    let Some(multipart) = unfinished(location, header).filter(|_| is_of) else {
        return Ok(None);
    };
    let mut parts = upload.parts.clone();
    match multipart.in_store(store).stored_parts(patience).await {
        Ok(held) => parts.retain(|_, part| {
            held.iter()
                .any(|held| held.part_number == part.number + 1 && held.is(&part.e_tag, part.size))
        }),
        Err(error) if matches!(error.outcome, Outcome::NoSuchUpload | Outcome::NotFound) => {
            return Ok(None);
        }
        Err(error) if error.outcome.is_transient() => return location.note(Err(error)),
        // A key without ListParts may still store parts. The journal was right when it was written, but a tar under the
        // key was made of its parts since.
        Err(_) => {
            let tar = store.object_if_any(wanted.tar, patience).await;
            if location.note(tar)?.is_some() {
                return Ok(None);
            }
        }
    }
    info!(
        parts = parts.len(),
        "resuming the upload of \"{}\" in {}",
        header.key,
        location.store.description()
    );
    Ok(Some((multipart, parts)))
}
