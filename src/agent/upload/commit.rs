//! The commit: the tar, its size confirmed by HEAD, the metadata. A backup exists when its metadata does.
//!
//! Each request is a step of its own, so that the upload's task answers commands while a step waits for the storage. A
//! commit that ends early leaves a tombstone for what its steps may have written.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedRwLockReadGuard;
use tokio::time::timeout;
use tracing::warn;

use super::intake::Received;
use super::plan::Plan;
use super::resume::Ledger;
use super::retention::Reason;
use crate::agent::journal::{Journal, Tombstone};
use crate::backup::{AgentBackup, AgentMetadata, FORMAT, Inventory, StoredBackup};
use crate::error::{Error, Kind};
use crate::store::{
    Backoff, ContentType, CopySource, Error as StoreError, Multipart, Object, Outcome, Part,
    Patience,
};
use crate::units::{rfc3339_millis, sha256};

/// How long to look for a new tar: a proxy that lost its server answers HEAD with a bare 404.
const NOT_FOUND_FOR: Duration = Duration::from_mins(2);

/// How long a request in flight may take after a cancel: its object must exist to be deleted.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// Tombstone of a tar without a known version.
const UNCONFIRMED: Tombstone = Tombstone::Failed {
    metadata: None,
    version: None,
};

/// A tar to commit.
#[derive(Debug)]
pub(super) enum Tar {
    /// Stored with one request.
    Whole(Bytes),
    /// Stored in parts.
    Parts(Multipart, Vec<Part>),
    /// Copied inside the storage with one request.
    Inside(CopySource),
}

/// Description of a tar's content.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) part_size: u64,
    /// Unknown for a copy of another tool's object, whose bytes never passed through an agent.
    pub(super) sha256: Option<String>,
    pub(super) crc32: Option<String>,
    /// What the backup lacks, if its headers were read.
    pub(super) inventory: Option<Box<Inventory>>,
}

type Attempt<T> = Result<T, Failed>;

type StepFuture = BoxFuture<'static, Attempt<Done>>;

/// A commit in progress.
pub(super) struct Commit {
    plan: Arc<Plan>,
    pub(super) content: Content,
    stage: Stage,
    /// The request in flight.
    step: Option<StepFuture>,
    /// Aborted if the commit fails.
    multipart: Option<Multipart>,
    /// Whether one request copies the tar inside the storage.
    pub(super) is_copy: bool,
    /// Version of the tar that an earlier attempt left.
    before: Option<String>,
    /// The tar, until it is stored.
    tar: Option<Tar>,
    /// For what the commit may have written; none before the tar is sent, or after the storage refused it.
    pub(super) tombstone: Option<Tombstone>,
    /// Keeps deletions of this backup away.
    lock: Option<OwnedRwLockReadGuard<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Looks whether the name is still free. All parts are intact.
    Check,
    /// Journals the claim on the key before a single-request PUT.
    Claim,
    Store,
    Confirm,
    Describe,
}

/// Outcome of a step.
enum Done {
    Checked(OwnedRwLockReadGuard<()>, Option<Object>),
    Claimed(Option<Journal>),
    Stored,
    Confirmed(Object),
    Described(Box<StoredBackup>),
}

/// A failed step.
struct Failed {
    error: Box<Error>,
    is_transient: bool,
    /// Whether the request may have had its effect.
    may_have_succeeded: bool,
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self {
            is_transient: error.outcome.is_transient() || error.may_pass,
            may_have_succeeded: error.may_have_succeeded,
            error: Box::new(error.into()),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error: Box::new(error),
            is_transient: false,
            may_have_succeeded: true,
        }
    }
}

impl Content {
    /// Describes content that arrived in parts of `part_size` bytes.
    pub(super) fn of(received: Received, part_size: u64) -> Self {
        Self {
            size: received.size,
            part_size,
            sha256: Some(received.sha256),
            crc32: Some(received.crc32),
            inventory: received.inventory,
        }
    }
}

impl Commit {
    pub(super) fn new(plan: Arc<Plan>, content: Content, tar: Tar) -> Self {
        Self {
            step: Some(check(Arc::clone(&plan)).boxed()),
            plan,
            content,
            stage: Stage::Check,
            multipart: match &tar {
                Tar::Parts(multipart, _) => Some(multipart.clone()),
                Tar::Whole(_) | Tar::Inside(_) => None,
            },
            is_copy: matches!(tar, Tar::Inside(_)),
            before: None,
            tar: Some(tar),
            tombstone: None,
            lock: None,
        }
    }

    /// Carries the commit out. Cancel safe: calling it again continues it.
    ///
    /// # Errors
    /// Errors of the storage with the reason for which the upload ends.
    pub(super) async fn run(
        &mut self,
        ledger: &mut Ledger,
    ) -> Result<Box<StoredBackup>, (Reason, Error)> {
        loop {
            let Some(step) = &mut self.step else {
                let error = Error::new(Kind::Internal, "The commit ended already.");
                return Err((Reason::Commit, error));
            };
            let done = step.await;
            self.step = None;
            match done.and_then(|done| self.next(done, ledger)) {
                Ok(ControlFlow::Continue(next)) => self.step = Some(next),
                Ok(ControlFlow::Break(stored)) => return Ok(stored),
                Err(failed) => {
                    if self.stage == Stage::Store && !failed.may_have_succeeded {
                        self.tombstone = None;
                    }
                    return Err((self.reason(&failed), *failed.error));
                }
            }
        }
    }

    /// Waits a moment for the request in flight and makes no other. Returns the multipart upload to abort.
    pub(super) async fn settle(mut self: Box<Self>, ledger: &mut Ledger) -> Option<Multipart> {
        // A check writes nothing.
        if self.stage != Stage::Check
            && let Some(step) = &mut self.step
            && let Ok(Ok(Done::Claimed(journal))) = timeout(SETTLE_WITHIN, step).await
        {
            ledger.own(journal);
        }
        self.multipart
    }

    /// Begins the step that follows, or returns the backup after the last one.
    fn next(
        &mut self,
        done: Done,
        ledger: &mut Ledger,
    ) -> Attempt<ControlFlow<Box<StoredBackup>, StepFuture>> {
        let plan = Arc::clone(&self.plan);
        let step = match done {
            Done::Checked(lock, before) => {
                self.lock = Some(lock);
                self.before = before.map(|tar| tar.version);
                if self.multipart.is_some() {
                    return self.store().map(ControlFlow::Continue);
                }
                ledger.decline(&plan);
                self.stage = Stage::Claim;
                let header = plan.header(None);
                let journals = Arc::clone(&plan.context.journals);
                async move { Ok(Done::Claimed(journals.begin(header).await)) }.boxed()
            }
            Done::Claimed(journal) => {
                ledger.own(journal);
                self.store()?
            }
            Done::Stored => {
                self.stage = Stage::Confirm;
                confirm(plan, self.content.size).boxed()
            }
            Done::Confirmed(tar) => {
                self.stage = Stage::Describe;
                let stored = self.describe();
                let json = stored
                    .to_object()
                    .map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
                self.tombstone = Some(Tombstone::Failed {
                    metadata: Some(sha256(&json)),
                    version: Some(tar.version),
                });
                async move {
                    let (store, patience) = (&plan.store, plan.patience());
                    store
                        .write(&plan.metadata, json.into(), ContentType::Json, patience)
                        .await?;
                    Ok(Done::Described(Box::new(stored)))
                }
                .boxed()
            }
            Done::Described(stored) => {
                if let Some(faults) = stored.agent.as_ref().and_then(AgentMetadata::faults) {
                    warn!("the backup \"{}\" is incomplete: {faults}", self.plan.tar);
                }
                return Ok(ControlFlow::Break(stored));
            }
        };
        Ok(ControlFlow::Continue(step))
    }

    fn store(&mut self) -> Attempt<StepFuture> {
        let tar = self
            .tar
            .take()
            .ok_or_else(|| Error::new(Kind::Internal, "The tar is stored already."))?;
        self.stage = Stage::Store;
        self.tombstone = Some(UNCONFIRMED);
        Ok(store_tar(
            Arc::clone(&self.plan),
            tar,
            self.content.size,
            self.before.take(),
        )
        .boxed())
    }

    fn reason(&self, failed: &Failed) -> Reason {
        match self.stage {
            Stage::Check | Stage::Claim => Reason::of(&failed.error),
            // All attempts failed, but an earlier one may have arrived.
            Stage::Store if failed.is_transient => Reason::Storage,
            Stage::Store | Stage::Confirm | Stage::Describe => Reason::Commit,
        }
    }

    fn describe(&self) -> StoredBackup {
        let (plan, content) = (&self.plan, &self.content);
        let backup = AgentBackup {
            size: content.size,
            ..plan.backup.clone()
        };
        let is_known = content.sha256.is_some() || content.inventory.is_some();
        let agent = is_known.then(|| AgentMetadata {
            format: FORMAT,
            size: content.size,
            sha256: content.sha256.clone(),
            crc32: content.crc32.clone(),
            part_size: content.sha256.is_some().then_some(content.part_size),
            uploaded_at: rfc3339_millis(Utc::now()),
            duration_ms: u64::try_from(plan.started.elapsed().as_millis()).ok(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            inventory: content.inventory.clone(),
        });
        StoredBackup { backup, agent }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// Checks that the name is still free: another agent on the same folder may have chosen it too, and both would overwrite
/// each other. A tar that an earlier attempt left there is no obstacle.
async fn check(plan: Arc<Plan>) -> Attempt<Done> {
    let lock = plan.location.folder.changing(&plan.backup.backup_id);
    let lock = lock.read_owned().await;
    let found = plan.store.object_if_any(&plan.tar, plan.patience()).await?;
    let is_free = match &found {
        None => true,
        Some(_) if plan.is_own_tar => {
            let metadata = plan.store.object_if_any(&plan.metadata, plan.patience());
            metadata.await?.is_none()
        }
        Some(_) => false,
    };
    if is_free {
        return Ok(Done::Checked(lock, found));
    }
    let detail = format!(
        "Another program wrote \"{}\" to {} during this upload.",
        plan.tar,
        plan.location.store.description()
    );
    let error =
        Error::new(Kind::StorageError, detail).with_hint("Upload it again: it gets another name.");
    Err(error.into())
}

async fn store_tar(plan: Arc<Plan>, tar: Tar, size: u64, before: Option<String>) -> Attempt<Done> {
    let (store, key, patience) = (&plan.store, &plan.tar, plan.patience());
    match tar {
        Tar::Parts(multipart, parts) => {
            multipart
                .complete(&parts, size, before.as_deref(), patience)
                .await?;
        }
        Tar::Whole(data) => store.write(key, data, ContentType::Tar, patience).await?,
        Tar::Inside(source) => store.copy(&source, key, patience).await?,
    }
    Ok(Done::Stored)
}

/// Confirms that the tar has the size that was sent. A cache may keep the 404 of the question whether the name was free.
async fn confirm(plan: Arc<Plan>, size: u64) -> Attempt<Done> {
    let wait = plan.location.settings.outage.min(NOT_FOUND_FOR);
    let mut backoff = Backoff::new(Patience::lasting(wait));
    let tar = loop {
        match plan
            .store
            .object_or_listed(&plan.tar, plan.patience())
            .await
        {
            Err(error) if error.outcome == Outcome::NotFound => {
                let error = StoreError {
                    may_pass: true,
                    ..error
                };
                backoff.pause(error).await?;
            }
            found => break found?,
        }
    };
    if tar.size == size {
        return Ok(Done::Confirmed(tar));
    }
    let detail = format!(
        "\"{}\" has {} bytes in the bucket, but {size} were sent.",
        tar.key, tar.size
    );
    Err(Error::new(Kind::StorageError, detail).into())
}
