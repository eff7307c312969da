//! The first phase of an upload's task: it gets its name. While the storage is away, that lasts as long as any other request
//! of an upload, and content that arrives meanwhile waits unread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::plan::{Outline, Plan, is_own};
use super::progress::{Outage, Progress};
use super::resume::{Ledger, Wanted};
use super::retention::Reason;
use super::state::IDLE_LIMIT;
use super::task::{Command, Task, cannot_now, ended_by};
use crate::agent::cleanup::abandon;
use crate::agent::model::UploadState;
use crate::error::{Error, Result};

/// How long a call that creates an upload waits for its name. Home Assistant waits two minutes for the answer.
pub(super) const NAMED_WITHIN: Duration = Duration::from_secs(20);

/// Whether the upload has its name, or why it gets none; none while the storage is asked.
pub(super) type Named = Option<Result<()>>;

/// An upload that has no name yet.
pub(super) struct Planning {
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) outages: mpsc::UnboundedReceiver<Outage>,
    pub(super) progress: Progress,
    pub(super) stopping: CancellationToken,
    pub(super) named: watch::Sender<Named>,
    /// Content that waits, or a copy.
    pub(super) early: Option<Command>,
}

/// What follows.
enum Next {
    Task(Box<(Plan, Ledger)>),
    Failed(Error),
    Ended(Reason, Option<oneshot::Sender<bool>>),
}

impl Planning {
    /// Runs the upload to its end.
    pub(super) async fn run(mut self, outline: Outline) {
        let (location, context) = (outline.location.clone(), outline.context.clone());
        let backup_id = outline.backup.backup_id.clone();
        // Requests and journals are released before a caller learns of the end.
        match self.wait_for(outline.plan()).await {
            Next::Task(begun) => self.continue_with(*begun).await,
            Next::Failed(error) => self.fail(error).await,
            Next::Ended(reason, discard) => {
                self.end(reason, discard);
                if reason == Reason::Cancelled {
                    let journals = &context.journals;
                    for upload in journals.interrupted(&location.folder.id, &backup_id).await {
                        abandon(&location, upload, &context.tasks);
                    }
                }
            }
        }
    }

    async fn wait_for(&mut self, planned: impl Future<Output = Result<(Plan, Ledger)>>) -> Next {
        let mut planned = pin!(planned);
        loop {
            tokio::select! {
                Some(command) = self.commands.recv() => match command {
                    Command::Discard(reason, reply) => return Next::Ended(reason, Some(reply)),
                    Command::Complete { .. } => command.refuse(&self.cannot_now("its content has not arrived yet")),
                    _ if self.early.is_some() => command.refuse(&self.cannot_now("its content waits for the storage already")),
                    early => self.early = Some(early),
                },
                Some(outage) = self.outages.recv() => self.progress.outage(outage),
                () = self.progress.outage_lasts() => self.progress.show_outage(),
                () = self.stopping.cancelled() => return Next::Ended(Reason::ShuttingDown, None),
                planned = &mut planned => return match planned {
                    Ok(planned) => Next::Task(Box::new(planned)),
                    Err(error) => Next::Failed(error),
                },
            }
        }
    }

    async fn continue_with(self, (plan, ledger): (Plan, Ledger)) {
        self.progress.named(&plan.tar, ledger.resumed_bytes());
        self.named.send_replace(Some(Ok(())));
        let task = Task::new(plan, self.commands, self.outages, self.progress, ledger);
        task.run(self.early).await;
    }

    /// Tells why the upload gets no name. The next call gets the error if none waits for it.
    async fn fail(mut self, error: Error) {
        self.progress.fail(&error);
        self.named.send_replace(Some(Err(error.clone())));
        if self.early.is_none() {
            tokio::select! {
                early = timeout(IDLE_LIMIT, self.commands.recv()) => self.early = early.ok().flatten(),
                () = self.stopping.cancelled() => {}
            }
        }
        drop(self.commands);
        if let Some(early) = self.early {
            early.refuse(&error);
        }
    }

    fn cannot_now(&self, why: &str) -> Error {
        cannot_now(&self.progress.upload_id(), why)
    }

    fn end(mut self, reason: Reason, discard: Option<oneshot::Sender<bool>>) {
        let error = ended_by(reason);
        if self.early.is_some() {
            self.progress.fail(&error);
        } else {
            self.progress.end(UploadState::Cancelled, None);
        }
        self.named.send_replace(Some(Err(error.clone())));
        drop(self.commands);
        if let Some(early) = self.early {
            early.refuse(&error);
        }
        if let Some(discard) = discard {
            // A caller that left needs no answer.
            let _ = discard.send(true);
        }
    }
}

impl Outline {
    /// Makes the plan: chooses the key, and takes over interrupted attempts. Cancel safe.
    ///
    /// # Errors
    /// Errors of the storage. Each request is retried for the location's outage time.
    async fn plan(self) -> Result<(Plan, Ledger)> {
        let location = Arc::clone(&self.location);
        let journals = &self.context.journals;
        let interrupted = journals
            .interrupted(&location.folder.id, &self.backup.backup_id)
            .await;
        let choice = location.note(self.choose_stem(&interrupted).await)?;
        let tar = location.folder.keys.tar(&choice.stem);
        let is_own_tar = is_own(&interrupted, &tar);
        let wanted = Wanted {
            location: &location,
            store: &self.store,
            tar: &tar,
            part_size: self.part_size,
            size: self.backup.size,
            tasks: &self.context.tasks,
        };
        let ledger = Ledger::take_over(interrupted, wanted, choice.claim).await?;
        let plan = Plan {
            id: self.id,
            metadata: location.folder.keys.metadata(&choice.stem),
            location,
            store: self.store,
            backup: self.backup,
            uploader: self.uploader,
            part_size: self.part_size,
            tar,
            replaced: choice.replaced,
            is_own_tar,
            started: self.started,
            context: self.context,
        };
        Ok((plan, ledger))
    }
}
