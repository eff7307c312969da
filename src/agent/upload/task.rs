//! The task that owns an upload. It alone changes the upload's state; handles send it commands.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::commit::{Commit, Content, Tar};
use super::inside::{Inside, InsideCopy};
use super::intake::{Arrival, Body, Intake, Received};
use super::plan::Plan;
use super::progress::{Outage, Progress};
use super::replaced::delete_replaced;
use super::resume::Ledger;
use super::retention::{Reason, Retention, retention};
use super::state::{Caller, IDLE_LIMIT, News, Remains, Reply, State};
use crate::agent::model::UploadState;
use crate::agent::task::shutting_down;
use crate::backup::StoredBackup;
use crate::error::{Error, Kind};

/// How long a commit may take to finish after another upload of its backup began.
const COMMIT_WITHIN: Duration = Duration::from_secs(10);

/// A call of a handle.
pub(super) enum Command {
    Content(Body, Reply<Received>),
    CopyInside(Inside, Reply<StoredBackup>),
    Complete {
        size: u64,
        crc32: String,
        reply: Reply<StoredBackup>,
    },
    /// Answered with false if the backup exists.
    Discard(Reason, oneshot::Sender<bool>),
}

impl Command {
    /// Answers a call with why it cannot be carried out; an upload to discard has no backup.
    pub(super) fn refuse(self, error: &Error) {
        // A caller that left needs no answer.
        match self {
            Self::Content(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::CopyInside(_, reply) | Self::Complete { reply, .. } => {
                drop(reply.send(Err(error.clone())));
            }
            Self::Discard(_, reply) => drop(reply.send(true)),
        }
    }
}

/// End of an upload.
enum End {
    Complete(Box<StoredBackup>),
    Discarded(Reason, Error),
}

/// An upload.
pub(super) struct Task {
    plan: Arc<Plan>,
    commands: mpsc::UnboundedReceiver<Command>,
    outages: mpsc::UnboundedReceiver<Outage>,
    progress: Progress,
    ledger: Ledger,
    /// Callers that wait for the end.
    discards: Vec<oneshot::Sender<bool>>,
}

impl Task {
    pub(super) fn new(
        plan: Plan,
        commands: mpsc::UnboundedReceiver<Command>,
        outages: mpsc::UnboundedReceiver<Outage>,
        progress: Progress,
        ledger: Ledger,
    ) -> Self {
        info!(
            location = plan.location.id(),
            upload_id = plan.id,
            size_bytes = plan.backup.size,
            part_size = plan.part_size,
            resumed_bytes = ledger.resumed_bytes(),
            "uploading to \"{}\" in {}",
            plan.tar,
            plan.location.store.description()
        );
        Self {
            plan: Arc::new(plan),
            commands,
            outages,
            progress,
            ledger,
            discards: Vec::new(),
        }
    }

    /// Runs the upload to its end, its cleanup included; `early` is the call that waited for its name.
    pub(super) async fn run(mut self, early: Option<Command>) {
        let mut state = State::Waiting {
            since: Instant::now(),
        };
        if let Some(early) = early {
            // Content and copies end nothing.
            let _ = self.command(&mut state, early);
        }
        let end = loop {
            let deadline = state.deadline();
            let end = tokio::select! {
                Some(command) = self.commands.recv() => self.command(&mut state, command),
                Some(outage) = self.outages.recv() => {
                    self.progress.outage(outage);
                    None
                }
                () = self.progress.outage_lasts() => {
                    self.progress.show_outage();
                    None
                }
                () = self.plan.context.stopping.cancelled(), if state.is_receiving() => {
                    Some(End::of(Reason::ShuttingDown))
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    Some(self.expire(&state))
                }
                news = state.work(&mut self.ledger) => self.news(&mut state, news),
            };
            if let Some(end) = end {
                break end;
            }
        };
        match end {
            End::Complete(stored) => self.complete(state, *stored).await,
            End::Discarded(reason, error) => self.discard(state, reason, error).await,
        }
    }

    fn command(&mut self, state: &mut State, command: Command) -> Option<End> {
        match command {
            Command::Content(body, reply) => match state {
                State::Waiting { .. } => {
                    let intake = Intake::new(Arc::clone(&self.plan), body);
                    *state = State::Receiving(Box::new(intake), reply);
                    self.progress.enter(UploadState::Receiving);
                }
                _ => self.refuse(reply, state.why_no_content()),
            },
            Command::CopyInside(inside, reply) => match state {
                State::Waiting { .. } => {
                    let copy = InsideCopy::new(Arc::clone(&self.plan), inside);
                    *state = State::Copying(Box::new(copy), reply);
                    self.progress.enter(UploadState::Receiving);
                }
                _ => self.refuse(reply, state.why_no_content()),
            },
            Command::Complete { size, crc32, reply } => match mem::replace(state, State::Ended) {
                State::Received { received, tar, .. } => {
                    let agrees = received.agrees_with(size, &crc32);
                    let content = Content::of(*received, self.plan.part_size);
                    *state = self.committing(content, tar, reply);
                    return agrees
                        .err()
                        .map(|error| End::Discarded(Reason::InvalidContent, error));
                }
                before @ State::Committing { .. } => {
                    *state = before;
                    self.refuse(reply, "it is being completed already");
                }
                before => {
                    *state = before;
                    self.refuse(reply, "its content has not arrived yet");
                }
            },
            Command::Discard(reason, reply) => {
                self.discards.push(reply);
                match (state, reason) {
                    // The commit has as long as the agent takes to stop.
                    (State::Committing { .. }, Reason::ShuttingDown) => {}
                    (State::Committing { until, .. }, Reason::Superseded) => {
                        until.get_or_insert_with(|| Instant::now() + COMMIT_WITHIN);
                    }
                    _ => return Some(End::of(reason)),
                }
            }
        }
        None
    }

    fn news(&mut self, state: &mut State, news: News) -> Option<End> {
        match news {
            News::Arrival(Ok(Arrival::Step(step))) | News::Copied(Ok(Some(step))) => {
                if step.differs {
                    self.progress.differs();
                }
                self.progress.stored(step.stored_bytes);
            }
            News::Arrival(Ok(Arrival::All(received))) => {
                if let State::Receiving(mut intake, reply) = mem::replace(state, State::Ended) {
                    let tar = match intake.parts.finish() {
                        Some((multipart, parts)) => Tar::Parts(multipart, parts),
                        None => Tar::Whole(intake.whole()),
                    };
                    drop(reply.send(Ok(received.clone())));
                    *state = State::Received {
                        since: Instant::now(),
                        received: received.into(),
                        tar,
                    };
                }
            }
            News::Copied(Ok(None)) => {
                if let State::Copying(copy, reply) = mem::replace(state, State::Ended) {
                    let (content, tar) = copy.finish(self.plan.part_size);
                    *state = self.committing(content, tar, reply);
                }
            }
            News::Committed(Ok(stored)) => return Some(End::Complete(stored)),
            News::Committed(Err((reason, error))) => return Some(End::Discarded(reason, error)),
            News::Arrival(Err(error)) | News::Copied(Err(error)) => {
                return Some(End::Discarded(Reason::of(&error), error));
            }
        }
        None
    }

    fn committing(&mut self, content: Content, tar: Tar, reply: Reply<StoredBackup>) -> State {
        self.progress.enter(UploadState::Storing);
        State::Committing {
            commit: Box::new(Commit::new(Arc::clone(&self.plan), content, tar)),
            reply,
            until: None,
        }
    }

    fn expire(&self, state: &State) -> End {
        match state {
            State::Receiving(..) => End::Discarded(Reason::SenderLeft, Intake::silence()),
            State::Committing { .. } => End::of(Reason::Commit),
            _ => {
                warn!(
                    upload_id = self.plan.id,
                    "the upload of \"{}\" expired: no call came for {} minutes",
                    self.plan.tar,
                    IDLE_LIMIT.as_secs() / 60
                );
                End::of(Reason::Expired)
            }
        }
    }

    fn refuse<T>(&self, reply: Reply<T>, why: &str) {
        drop(reply.send(Err(cannot_now(&self.plan.id, why))));
    }

    async fn complete(mut self, state: State, stored: StoredBackup) {
        let (plan, size_bytes) = (&self.plan, stored.backup.size);
        plan.location.note_stored();
        delete_replaced(plan);
        self.ledger.complete(&plan.context.tasks).await;
        info!(
            location = plan.location.id(),
            upload_id = plan.id,
            size_bytes,
            duration_ms = plan.started.elapsed().as_millis(),
            "uploaded \"{}\"",
            plan.tar
        );
        plan.location.changed(&plan.backup.backup_id);
        self.progress.complete(size_bytes);
        drop(self.commands);
        // The state holds the commit's lock, released after the list was invalidated: a deletion of this backup waits for it.
        if let State::Committing { reply, .. } = state {
            drop(reply.send(Ok(stored)));
        }
        answer(self.discards, false);
    }

    async fn discard(mut self, state: State, reason: Reason, error: Error) {
        let plan = Arc::clone(&self.plan);
        let (caller, remains) = state.split();
        if let Remains::Commit(_) = &remains {
            plan.location.note_refused_write(&error);
        }
        let reason = if plan.location.is_gone() {
            Reason::LocationRemoved
        } else if !self.ledger.is_journaled() {
            Reason::NotJournaled
        } else {
            reason
        };
        let ending = Ending {
            progress: self.progress,
            caller,
            error,
            discards: self.discards,
        };
        match retention(reason, plan.uploader) {
            Retention::Keep => {
                if let Remains::Parts(parts) = remains {
                    parts.drain().await;
                }
                // The next attempt takes the journals over as soon as the sender gets the error.
                drop(self.ledger);
                drop(self.commands);
                ending.tell();
            }
            Retention::Discard => {
                let (tombstone, size, is_copy) = match &remains {
                    Remains::Commit(commit) => (
                        commit.tombstone.clone(),
                        commit.content.size,
                        commit.is_copy,
                    ),
                    _ => (None, plan.backup.size, false),
                };
                if let Some(tombstone) = &tombstone {
                    self.ledger.bury(tombstone).await;
                }
                self.ledger.clean_up();
                drop(self.commands);
                // The fallback of a failed copy needs the name, so its caller gets the error after the cleanup.
                let deferred = if is_copy {
                    Some(ending)
                } else {
                    ending.tell();
                    None
                };
                let multipart = remains.stop(&mut self.ledger).await;
                self.ledger.discard(&plan, multipart, tombstone, size).await;
                if let Some(ending) = deferred {
                    ending.tell();
                }
            }
        }
    }
}

/// An upload that ended without a backup, and the callers to answer.
struct Ending {
    progress: Progress,
    caller: Caller,
    error: Error,
    discards: Vec<oneshot::Sender<bool>>,
}

impl Ending {
    fn tell(mut self) {
        if matches!(self.caller, Caller::None) {
            self.progress.end(UploadState::Cancelled, None);
        } else {
            self.progress.fail(&self.error);
        }
        match self.caller {
            Caller::Content(reply) => drop(reply.send(Err(self.error))),
            Caller::Backup(reply) => drop(reply.send(Err(self.error))),
            Caller::None => {}
        }
        answer(self.discards, true);
    }
}

fn answer(discards: Vec<oneshot::Sender<bool>>, is_discarded: bool) {
    for discard in discards {
        // A caller that left needs no answer.
        let _ = discard.send(is_discarded);
    }
}

impl End {
    fn of(reason: Reason) -> Self {
        Self::Discarded(reason, ended_by(reason))
    }
}

/// The error for callers of an upload that was ended.
pub(super) fn ended_by(reason: Reason) -> Error {
    match reason {
        Reason::ShuttingDown => shutting_down(),
        _ => Error::new(Kind::Cancelled, "The upload was cancelled."),
    }
}

/// The error for a call that comes at the wrong time.
pub(super) fn cannot_now(upload_id: &str, why: &str) -> Error {
    let detail = format!("The upload {upload_id} cannot do this now: {why}.");
    Error::new(Kind::InvalidRequest, detail)
}
