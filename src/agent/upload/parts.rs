//! Parts on their way to the bucket: a bounded number at the same time, each from its own buffer.

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::super::location::Location;
use crate::error::{Error, Kind, Result};
use crate::store::{Error as StoreError, Key, Multipart, Part, Patience};

type Stored = std::result::Result<(Part, u64), StoreError>;

/// Sends parts. Nothing is sent before the first one.
pub(super) struct Parts<'u> {
    location: &'u Location,
    key: Key,
    tasks: &'u TaskTracker,
    multipart: Option<Multipart>,
    running: JoinSet<Stored>,
    stored: Vec<Part>,
    next: usize,
}

impl<'u> Parts<'u> {
    pub(super) fn new(location: &'u Location, key: Key, tasks: &'u TaskTracker) -> Self {
        Self { location, key, tasks, multipart: None, running: JoinSet::new(), stored: Vec::new(), next: 0 }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.multipart.is_some()
    }

    /// Sends a part, once fewer than the location's number are on their way. Returns bytes that came to be stored.
    pub(super) async fn send(&mut self, data: Bytes) -> Result<u64> {
        let multipart = match &self.multipart {
            Some(multipart) => multipart.clone(),
            None => self.begin().await?,
        };
        let mut stored_bytes = 0;
        while self.running.len() >= self.location.store.parts_in_flight(self.location.settings.concurrency) {
            stored_bytes += self.one_stored().await?;
        }
        let (number, patience) = (self.next, self.location.patience());
        self.next += 1;
        self.running.spawn(async move {
            let size = data.len() as u64;
            multipart.store_part(number, data, patience).await.map(|part| (part, size))
        });
        Ok(stored_bytes)
    }

    /// Waits for one part on its way and returns its size; 0 when there is none.
    pub(super) async fn one_stored(&mut self) -> Result<u64> {
        match self.running.join_next().await {
            Some(joined) => self.note(joined),
            None => Ok(0),
        }
    }

    pub(super) fn are_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// What was sent: the upload and its parts in order. Parts still on their way are stopped first.
    pub(super) async fn finish(mut self) -> Option<(Multipart, Vec<Part>)> {
        self.running.shutdown().await;
        self.stored.sort_by_key(|part| part.number);
        Some((self.multipart?, self.stored))
    }

    async fn begin(&mut self) -> Result<Multipart> {
        // A task of its own: when the upload is cancelled meanwhile, the server may have heard of it all the same.
        let (store, key, patience) = (self.location.store.clone(), self.key.clone(), self.location.patience());
        let (sender, started) = oneshot::channel();
        self.tasks.spawn(async move {
            let started = Multipart::start(&store, &key, Patience::INTERACTIVE).await;
            if let Err(Ok(unwanted)) = sender.send(started)
                && let Err(error) = unwanted.abort(patience).await
            {
                warn!("an upload of \"{key}\" is left behind: {error}");
            }
        });
        let started = started.await.map_err(|_| Error::new(Kind::Internal, "The upload did not start."))?;
        let multipart = self.location.note(started.map_err(Error::from))?;
        self.multipart = Some(multipart.clone());
        Ok(multipart)
    }

    fn note(&mut self, joined: std::result::Result<Stored, JoinError>) -> Result<u64> {
        let stored = joined.map_err(|panicked| Error::new(Kind::Internal, "A part stopped.").with_source(panicked))?;
        let (part, size) = self.location.note(stored.map_err(Error::from))?;
        self.stored.push(part);
        Ok(size)
    }
}
