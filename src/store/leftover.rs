//! Unfinished uploads in a bucket or a directory, and when they last made progress.
//!
//! Sources: `ListMultipartUploads` and `ListParts` in Amazon's API reference. Ages follow the server's own clock, from its
//! answers: this machine's may be off.

use chrono::{DateTime, Utc};

use super::Store;
use super::backend::Leftover;
use super::error::Error;
use super::multipart::Multipart;
use super::pages::Bounds;
use super::retry::Patience;

/// Unfinished uploads: pages of a thousand.
const UPLOADS: Bounds = Bounds {
    what: "listing",
    pages: 100,
    items: usize::MAX,
    weight: 64 * 1024 * 1024,
};

/// Unfinished uploads of a folder.
#[derive(Debug)]
pub struct Leftovers {
    /// Each of them.
    pub all: Vec<Leftover>,
    /// Current time at the server.
    pub now: DateTime<Utc>,
}

impl Store {
    /// Lists the unfinished uploads under `folder`, those in flight included.
    ///
    /// # Errors
    /// What a listing fails with: not every provider has this one, and not every key may ask for it.
    pub async fn leftovers(&self, folder: &str, patience: Patience) -> Result<Leftovers, Error> {
        let patience = self.remote(patience);
        let action = &format!("list the unfinished uploads in {}", self.description);
        let listed = self.pages(&UPLOADS, action, patience, |call, after| async move {
            self.backend.unfinished(&call, folder, after).await
        });
        let (all, date) = listed.await?;
        // Without the server's clock, ages are unknown.
        let now = date.or_else(|| all.is_empty().then(Utc::now));
        let now = now.ok_or_else(|| Error::refused(action, "the answer has no date"))?;
        Ok(Leftovers { all, now })
    }

    /// Returns when it last made progress; nothing when that is unknown, or it no longer exists.
    pub async fn last_touched(
        &self,
        leftover: &Leftover,
        patience: Patience,
    ) -> Option<DateTime<Utc>> {
        let multipart = Multipart::of(self, leftover.session());
        let parts = multipart.stored_parts(patience).await.ok()?;
        let stored = parts
            .iter()
            .map(|part| part.last_modified.as_deref()?.parse().ok());
        let times: Option<Vec<DateTime<Utc>>> = stored.chain([Some(leftover.begun)]).collect();
        times?.into_iter().max()
    }

    /// Removes it. Idempotent: one that no longer exists counts as removed.
    ///
    /// # Errors
    /// What a request fails with.
    pub async fn remove_leftover(
        &self,
        leftover: &Leftover,
        patience: Patience,
    ) -> Result<(), Error> {
        Multipart::of(self, leftover.session())
            .abort(patience)
            .await
    }
}
