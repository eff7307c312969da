//! Parts on their way to the bucket: a bounded number at the same time, each from its own buffer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tracing::{info, warn};

use super::Upload;
use crate::agent::journal::{Header, Journal, StoredPart};
use crate::error::{Error, Kind, Result};
use crate::store::{CopySource, Error as StoreError, Multipart, Part, PartDigest};

/// How long parts under way may take when the sender has left or the agent stops. Its sender hears of that within the four
/// seconds in which requests end.
const LAST_PARTS_WITHIN: Duration = Duration::from_secs(2);

type Stored = std::result::Result<(Part, u64), StoreError>;

/// Where a part's bytes are.
pub(super) enum Piece {
    /// In memory, with the digest that the provider verifies.
    Bytes(Bytes, PartDigest),
    /// In another object at the same endpoint.
    Inside(CopySource, Range<u64>),
}

/// Sends parts. Nothing is sent before the first one.
pub(super) struct Parts<'u> {
    upload: &'u Upload,
    multipart: Option<Multipart>,
    journal: Option<Journal>,
    known: BTreeMap<usize, StoredPart>,
    running: JoinSet<Stored>,
    stored: Vec<Part>,
    next: usize,
}

impl Piece {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(data, _) => data.len() as u64,
            Self::Inside(_, range) => range.end - range.start,
        }
    }

    /// Identity of the piece among others of the same size and number. The range follows from the number.
    fn hash(&self) -> String {
        match self {
            Self::Bytes(_, digest) => digest.to_string(),
            Self::Inside(source, _) => format!("copy:{}", source.name()),
        }
    }

    /// Whether the journal's `hash` is of this piece; an earlier version or setting may have used another algorithm.
    fn is(&self, hash: &str) -> bool {
        match (self, hash.parse::<PartDigest>()) {
            (Self::Bytes(data, digest), Ok(recorded)) => {
                if recorded.algorithm() == digest.algorithm() {
                    recorded == *digest
                } else {
                    recorded.matches(data)
                }
            }
            _ => self.hash() == hash,
        }
    }
}

impl<'u> Parts<'u> {
    pub(super) fn new(upload: &'u Upload) -> Self {
        Self {
            upload,
            multipart: None,
            journal: None,
            known: BTreeMap::new(),
            running: JoinSet::new(),
            stored: Vec::new(),
            next: 0,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.multipart.is_some()
    }

    /// Sends a part, once fewer than the location's number are on their way; not one that an earlier attempt stored.
    /// Returns bytes that came to be stored.
    pub(super) async fn send(&mut self, piece: Piece) -> Result<u64> {
        let multipart = match &self.multipart {
            Some(multipart) => multipart.clone(),
            None => self.begin().await?,
        };
        let (number, size, hash) = (self.next, piece.size(), piece.hash());
        let known = self.known.remove(&number);
        if let Some(part) = known
            .as_ref()
            .filter(|part| part.size == size && piece.is(&part.hash))
        {
            self.next += 1;
            self.stored.push(Part {
                number,
                e_tag: part.e_tag.clone(),
            });
            return Ok(size);
        }
        let (location, mut stored_bytes) = (&self.upload.location, 0);
        while self.running.len()
            >= location
                .store
                .parts_in_flight(location.settings.parts_in_flight())
        {
            stored_bytes += self.one_stored().await?;
        }
        self.next += 1;
        if known.is_some() {
            self.replacing(number).await;
        }
        let (patience, journal) = (location.patience(), self.journal.clone());
        self.running.spawn(async move {
            let part = match piece {
                Piece::Bytes(data, digest) => {
                    multipart.put_part(number, data, &digest, patience).await?
                }
                Piece::Inside(source, range) => {
                    multipart
                        .copy_part(number, &source, range, patience)
                        .await?
                }
            };
            if let Some(journal) = journal {
                journal
                    .note(StoredPart {
                        number,
                        size,
                        e_tag: part.e_tag.clone(),
                        hash,
                    })
                    .await;
            }
            Ok((part, size))
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

    /// What was sent: the upload and its parts in order. Parts still on their way are stopped first; where the next
    /// attempt goes on with them, those that are nearly there may arrive.
    pub(super) async fn finish(mut self, is_kept: bool) -> Option<(Multipart, Vec<Part>)> {
        if is_kept {
            drop(
                timeout(LAST_PARTS_WITHIN, async {
                    while self.running.join_next().await.is_some() {}
                })
                .await,
            );
        }
        self.running.shutdown().await;
        self.stored.sort_by_key(|part| part.number);
        Some((self.multipart?, self.stored))
    }

    async fn begin(&mut self) -> Result<Multipart> {
        if let Some((resumed, journal)) = self.upload.record.resume() {
            (self.known, self.journal) = (resumed.parts, Some(journal));
            let multipart = resumed.multipart.in_store(&self.upload.store);
            self.multipart = Some(multipart.clone());
            return Ok(multipart);
        }
        let multipart = self.start().await?;
        self.multipart = Some(multipart.clone());
        if let Some(upload_id) = multipart.upload_id() {
            self.journal = self
                .upload
                .record
                .begin(
                    self.upload.header(Some(upload_id)),
                    &self.upload.means.tasks,
                )
                .await;
        }
        Ok(multipart)
    }

    async fn start(&self) -> Result<Multipart> {
        // A task of its own: when the upload is cancelled meanwhile, the server may have heard of it all the same.
        let location = &self.upload.location;
        let (store, key, patience) = (
            self.upload.store.clone(),
            self.upload.tar_key(),
            location.patience(),
        );
        let (sender, started) = oneshot::channel();
        self.upload.means.tasks.spawn(async move {
            let started = Multipart::start(&store, &key, patience).await;
            if let Err(Ok(unwanted)) = sender.send(started)
                && let Err(error) = unwanted.abort(patience).await
            {
                warn!("an upload of \"{key}\" is left behind: {error}");
            }
        });
        let started = started
            .await
            .map_err(|_| Error::new(Kind::Internal, "The upload did not start."))?;
        location.note(started.map_err(Error::from))
    }

    /// Another stream than the one that was interrupted: an encrypted backup is encrypted anew each time.
    async fn replacing(&self, number: usize) {
        if !self.upload.differs.swap(true, Ordering::Relaxed) {
            let (upload_id, key) = (&self.upload.id, self.upload.key());
            info!(
                upload_id,
                part = number + 1,
                "\"{key}\" comes as another stream than before: what differs is stored anew"
            );
            self.upload.tell_again();
        }
        if let Some(journal) = &self.journal {
            journal.replacing(number).await;
        }
    }

    fn note(&mut self, joined: std::result::Result<Stored, JoinError>) -> Result<u64> {
        let stored = joined.map_err(|panicked| {
            Error::new(Kind::Internal, "A part stopped.").with_source(panicked)
        })?;
        let (part, size) = self.upload.location.note(stored.map_err(Error::from))?;
        self.stored.push(part);
        Ok(size)
    }
}

impl Upload {
    /// What its journal begins with.
    pub(super) fn header(&self, upload_id: Option<&str>) -> Header {
        Header {
            place: self.location.store.place().to_owned(),
            key: self.key(),
            backup_id: self.backup.backup_id.clone(),
            upload_id: upload_id.map(str::to_owned),
            part_size: self.part_size,
            size: Some(self.backup.size),
            kept: Some(self.location.settings.keeps()),
        }
    }
}
