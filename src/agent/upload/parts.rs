//! Parts of a tar, stored concurrently within a bound, each from its own buffer.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::timeout;

use super::plan::Plan;
use super::resume::Ledger;
use crate::agent::journal::{Journal, StoredPart};
use crate::error::{Error, Kind, Result};
use crate::store::{CopySource, Error as StoreError, Multipart, Part, PartDigest};

/// How long parts in flight may take after the sender left or the agent stops. It must end within the four seconds in
/// which requests drain.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

type Stored = std::result::Result<(Part, u64), StoreError>;

/// Content of a part.
pub(super) enum Piece {
    /// Bytes in memory, with the digest that the provider verifies.
    Bytes(Bytes, PartDigest),
    /// A range of another object at the same endpoint.
    Inside(CopySource, Range<u64>),
}

/// Stores parts. The multipart upload begins with the first one.
#[derive(Debug)]
pub(super) struct Parts {
    plan: Arc<Plan>,
    start: Start,
    /// Parts that an earlier attempt stored.
    known: BTreeMap<usize, StoredPart>,
    running: JoinSet<Stored>,
    stored: Vec<Part>,
    next: usize,
}

#[derive(Debug)]
enum Start {
    NotBegun,
    /// A task of its own, so that a cancelled upload still learns what the provider started.
    Starting(JoinHandle<std::result::Result<Begun, StoreError>>),
    Begun(Begun),
}

#[derive(Debug, Clone)]
struct Begun {
    multipart: Multipart,
    journal: Option<Journal>,
}

/// Outcome of one step.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Bytes that were stored, or turned out to be stored already.
    pub(super) stored_bytes: u64,
    /// Whether a part replaces one of an earlier attempt.
    pub(super) differs: bool,
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

impl Parts {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            start: Start::NotBegun,
            known: BTreeMap::new(),
            running: JoinSet::new(),
            stored: Vec::new(),
            next: 0,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        matches!(self.start, Start::Begun(_))
    }

    pub(super) fn are_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Waits until one more part may be sent, and returns none then. Before that, returns each part that gets stored.
    /// Cancel safe.
    ///
    /// # Errors
    /// Errors of the storage.
    pub(super) async fn ready(&mut self, ledger: &mut Ledger) -> Result<Option<Step>> {
        if let Start::NotBegun = self.start {
            self.begin(ledger);
        }
        if let Start::Starting(starting) = &mut self.start {
            let started = starting.await;
            self.start = Start::NotBegun;
            let begun = self.plan.location.note_write(started.map_err(panicked)?)?;
            ledger.own(begun.journal.clone());
            self.start = Start::Begun(begun);
        }
        let location = &self.plan.location;
        let limit = location
            .store
            .parts_in_flight(location.settings.parts_in_flight());
        if self.running.len() < limit {
            return Ok(None);
        }
        self.one_stored().await.map(Some)
    }

    /// Sends a part, unless an earlier attempt stored it. [`Self::ready`] must have returned none.
    pub(super) fn send(&mut self, piece: Piece) -> Step {
        let Start::Begun(begun) = &self.start else {
            return Step::default();
        };
        let begun = begun.clone();
        let (number, size) = (self.next, piece.size());
        self.next += 1;
        let known = self.known.remove(&number);
        let differs = known.is_some();
        if let Some(part) = known
            && part.size == size
            && piece.is(&part.hash)
        {
            self.stored.push(Part {
                number,
                e_tag: part.e_tag,
            });
            return Step {
                stored_bytes: size,
                differs: false,
            };
        }
        let patience = self.plan.patience();
        self.running.spawn(async move {
            if differs && let Some(journal) = &begun.journal {
                journal.replacing(number).await;
            }
            let hash = piece.hash();
            let part = match piece {
                Piece::Bytes(data, digest) => {
                    begun
                        .multipart
                        .put_part(number, data, &digest, patience)
                        .await?
                }
                Piece::Inside(source, range) => {
                    begun
                        .multipart
                        .copy_part(number, &source, range, patience)
                        .await?
                }
            };
            if let Some(journal) = begun.journal {
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
        Step {
            stored_bytes: 0,
            differs,
        }
    }

    /// Waits for one part in flight. Cancel safe.
    ///
    /// # Errors
    /// Errors of the storage.
    pub(super) async fn one_stored(&mut self) -> Result<Step> {
        let Some(joined) = self.running.join_next().await else {
            return Ok(Step::default());
        };
        let (part, stored_bytes) = self.plan.location.note_write(joined.map_err(panicked)?)?;
        self.stored.push(part);
        Ok(Step {
            stored_bytes,
            differs: false,
        })
    }

    /// Gives parts in flight a moment to arrive, then stops them.
    pub(super) async fn drain(mut self) {
        let draining = async { while self.running.join_next().await.is_some() {} };
        drop(timeout(DRAIN_WITHIN, draining).await);
        self.running.shutdown().await;
    }

    /// The multipart upload and its parts in order; none if nothing was sent.
    pub(super) fn finish(&mut self) -> Option<(Multipart, Vec<Part>)> {
        let Start::Begun(begun) = &self.start else {
            return None;
        };
        let mut parts = mem::take(&mut self.stored);
        parts.sort_by_key(|part| part.number);
        Some((begun.multipart.clone(), parts))
    }

    /// Stops all parts and returns the multipart upload to abort, even one that is only being started.
    pub(super) async fn stop(mut self, ledger: &mut Ledger) -> Option<Multipart> {
        self.running.shutdown().await;
        match self.start {
            Start::NotBegun => None,
            Start::Starting(starting) => {
                let begun = starting.await.ok()?.ok()?;
                ledger.own(begun.journal);
                Some(begun.multipart)
            }
            Start::Begun(begun) => Some(begun.multipart),
        }
    }

    fn begin(&mut self, ledger: &mut Ledger) {
        let plan = Arc::clone(&self.plan);
        if let Some((resumable, journal)) = ledger.resume() {
            self.known = resumable.parts;
            self.start = Start::Begun(Begun {
                multipart: resumable.multipart.in_store(&plan.store),
                journal: Some(journal),
            });
            return;
        }
        let tasks = plan.context.tasks.clone();
        self.start = Start::Starting(tasks.spawn(async move {
            let multipart = Multipart::start(&plan.store, &plan.tar, plan.patience()).await?;
            let journal = match multipart.upload_id() {
                Some(upload_id) => {
                    let journals = &plan.context.journals;
                    journals.begin(plan.header(Some(upload_id))).await
                }
                None => None,
            };
            Ok(Begun { multipart, journal })
        }));
    }
}

fn panicked(error: JoinError) -> Error {
    Error::new(Kind::Internal, "A part stopped.").with_source(error)
}
