//! How an upload ends that does not come to be a backup, and what becomes of what it stored.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{Discard, Keep, Phase, Tar, Upload};
use crate::agent::cleanup::{abort_parts as abort, erase_failed as erase};
use crate::agent::journal::Tombstone;
use crate::agent::model::UploadState;
use crate::agent::shutting_down;
use crate::error::{Error, Kind};
use crate::store::Multipart;

/// An upload that nothing happens on is discarded after this long.
const IDLE_LIMIT: Duration = Duration::from_mins(10);

impl Upload {
    /// Stops the upload. Returns false when it is too late: the backup exists.
    pub(in crate::agent) async fn discard(self: &Arc<Self>, what: Discard) -> bool {
        self.is_unwanted
            .fetch_or(what == Discard::All, Ordering::SeqCst);
        self.cancel.cancel();
        // Waits for `receive` to notice.
        let mut phase = self.phase.lock().await;
        match std::mem::replace(&mut *phase, Phase::Ended) {
            Phase::Waiting if what == Discard::All => self.clean_up(None),
            Phase::Waiting => self.record.leave(),
            Phase::Received(_, tar) => self.leave_or_clean_up(Some(tar), &self.cancelled()),
            Phase::Complete => {
                *phase = Phase::Complete;
                return false;
            }
            // Whoever sent the content was told.
            Phase::Ended => return true,
        }
        self.tell(UploadState::Cancelled, None);
        true
    }

    /// Discards the upload when nothing happens on it for too long.
    pub(in crate::agent) async fn expire(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = sleep_until(self.expires_at()) => {}
            }
            match self
                .phase
                .try_lock()
                .map(|phase| matches!(*phase, Phase::Complete | Phase::Ended))
            {
                Ok(true) => return,
                Ok(false) if self.expires_at() <= Instant::now() => {
                    warn!(
                        upload_id = self.id,
                        "nobody went on with the upload of \"{}\"",
                        self.key()
                    );
                    self.discard(Discard::Unfinished).await;
                    return;
                }
                Ok(false) => {}
                // Somebody is at it.
                Err(_) => self.touch(),
            }
        }
    }

    /// Something happens on it.
    pub(super) fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn expires_at(&self) -> Instant {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) + IDLE_LIMIT
    }

    /// Why it ends when it is told to.
    pub(super) fn cancelled(&self) -> Error {
        if self.means.stopping.is_cancelled() && !self.is_unwanted.load(Ordering::SeqCst) {
            return shutting_down();
        }
        Error::new(Kind::Cancelled, "The upload was cancelled.")
    }

    /// Whether what is stored stays for the next attempt, when the upload ends for this reason.
    pub(super) fn keeps_after(&self, why: &Error) -> bool {
        if self.is_unwanted.load(Ordering::SeqCst) || self.location.is_gone() {
            return false;
        }
        match (why.kind(), self.means.options.keep) {
            (Kind::InvalidMetadata | Kind::SizeMismatch | Kind::ChecksumMismatch, _)
            | (_, Keep::Nothing) => false,
            // A sender that leaves makes a request that cannot be read to its end.
            (Kind::Cancelled | Kind::ShuttingDown | Kind::InvalidRequest, Keep::Interrupted) => {
                true
            }
            (_, keep) => keep == Keep::Failed,
        }
    }

    /// What nothing on this machine knows of cannot be gone on with, and nobody would remove it later.
    pub(super) fn leave_or_clean_up(self: &Arc<Self>, tar: Option<Tar>, why: &Error) {
        if self.keeps_after(why) && self.record.is_noted() {
            self.record.leave();
        } else {
            self.clean_up(tar);
        }
    }

    /// Aborts a multipart upload in the background, for as long as the storage may be away; one that was to be gone on
    /// with as well.
    pub(super) fn clean_up(self: &Arc<Self>, tar: Option<Tar>) {
        let resumed = self
            .record
            .resume()
            .map(|(resumed, _)| Tar::Parts(resumed.multipart, Vec::new()));
        let (tar, upload) = (resumed.or(tar), Arc::clone(self));
        // Nothing gets the key before what has to go from it is gone.
        let leaving = self
            .record
            .has_doomed()
            .then(|| self.location.folder.claim_deletion(&self.tar_key()));
        self.means.tasks.spawn(async move {
            if let Some(Tar::Parts(multipart, _)) = tar
                && !abort(&upload.location, &multipart, &upload.key()).await
            {
                return upload.record.leave_unwanted().await;
            }
            upload.record.end_but_doomed().await;
            for (journal, removal) in upload.record.take_doomed() {
                // What an earlier attempt left in its place has to go all the same.
                if erase(
                    &upload.location,
                    &upload.tar_key(),
                    &removal,
                    upload.backup.size,
                )
                .await
                {
                    journal.end().await;
                }
            }
            drop(leaving);
            upload.record.leave();
        });
    }

    /// Removes what is in place of an upload of `size` bytes that failed at the very end, metadata first, in the
    /// background.
    pub(super) async fn erase(
        self: &Arc<Self>,
        removal: Tombstone,
        multipart: Option<Multipart>,
        size: u64,
    ) {
        // Before anybody is told: the agent may be killed at any moment.
        self.record.removing(&removal).await;
        let upload = Arc::clone(self);
        self.means
            .tasks
            .spawn(async move { upload.erased(removal, multipart, size).await });
    }

    pub(super) async fn erased(&self, removal: Tombstone, multipart: Option<Multipart>, size: u64) {
        let (location, key) = (&self.location, self.tar_key());
        // No upload gets the key meanwhile: a deletion whose answer was lost must not hit what came after it.
        let _leaving = location.folder.claim_deletion(&key);
        let is_aborted = match multipart {
            Some(multipart) => abort(location, &multipart, key.as_str()).await,
            None => true,
        };
        if is_aborted && erase(location, &key, &removal, size).await {
            self.record.end().await;
        } else {
            self.record.leave();
        }
    }
}
