//! States of an upload.

use std::future::pending;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::commit::{Commit, Tar};
use super::inside::InsideCopy;
use super::intake::{Arrival, Intake, Received};
use super::parts::{Parts, Step};
use super::resume::Ledger;
use super::retention::Reason;
use crate::backup::StoredBackup;
use crate::error::{Error, Result};
use crate::store::Multipart;

/// An upload without a call expires after this long.
pub(super) const IDLE_LIMIT: Duration = Duration::from_mins(10);

pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// State of an upload that has not ended.
#[derive(Debug)]
pub(super) enum State {
    /// No content has arrived.
    Waiting {
        since: Instant,
    },
    Receiving(Box<Intake>, Reply<Received>),
    Copying(Box<InsideCopy>, Reply<StoredBackup>),
    /// All content is stored; the sender has not confirmed it.
    Received {
        since: Instant,
        received: Box<Received>,
        tar: Tar,
    },
    Committing {
        commit: Box<Commit>,
        reply: Reply<StoredBackup>,
        /// Set while another upload of the same backup waits for the end.
        until: Option<Instant>,
    },
    /// Between two states, and after the end.
    Ended,
}

/// News of the work in progress.
pub(super) enum News {
    Arrival(Result<Arrival>),
    Copied(Result<Option<Step>>),
    Committed(std::result::Result<Box<StoredBackup>, (Reason, Error)>),
}

/// Caller that waits for an answer.
pub(super) enum Caller {
    Content(Reply<Received>),
    Backup(Reply<StoredBackup>),
    None,
}

/// What the upload holds at its end.
pub(super) enum Remains {
    Nothing,
    Parts(Parts),
    Tar(Tar),
    Commit(Box<Commit>),
}

impl State {
    pub(super) fn is_receiving(&self) -> bool {
        matches!(self, Self::Receiving(..) | Self::Copying(..))
    }

    /// When the upload ends unless something happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Waiting { since } | Self::Received { since, .. } => Some(*since + IDLE_LIMIT),
            Self::Receiving(intake, _) => intake.deadline(),
            Self::Committing { until, .. } => *until,
            Self::Copying(..) | Self::Ended => None,
        }
    }

    /// Continues the work in progress. Cancel safe.
    pub(super) async fn work(&mut self, ledger: &mut Ledger) -> News {
        match self {
            Self::Receiving(intake, _) => News::Arrival(intake.step(ledger).await),
            Self::Copying(copy, _) => News::Copied(copy.step(ledger).await),
            Self::Committing { commit, .. } => News::Committed(commit.run(ledger).await),
            Self::Waiting { .. } | Self::Received { .. } | Self::Ended => pending().await,
        }
    }

    pub(super) const fn why_no_content(&self) -> &'static str {
        match self {
            Self::Receiving(..) | Self::Copying(..) => "its content is being received already",
            _ => "its content has arrived already",
        }
    }

    pub(super) fn split(self) -> (Caller, Remains) {
        match self {
            Self::Receiving(intake, reply) => {
                (Caller::Content(reply), Remains::Parts(intake.parts))
            }
            Self::Copying(copy, reply) => (Caller::Backup(reply), Remains::Parts(copy.parts)),
            Self::Received { tar, .. } => (Caller::None, Remains::Tar(tar)),
            Self::Committing { commit, reply, .. } => {
                (Caller::Backup(reply), Remains::Commit(commit))
            }
            Self::Waiting { .. } | Self::Ended => (Caller::None, Remains::Nothing),
        }
    }
}

impl Remains {
    /// Stops all requests and returns the multipart upload to abort.
    pub(super) async fn stop(self, ledger: &mut Ledger) -> Option<Multipart> {
        match self {
            Self::Parts(parts) => parts.stop(ledger).await,
            Self::Tar(Tar::Parts(multipart, _)) => Some(multipart),
            Self::Commit(commit) => commit.settle(ledger).await,
            Self::Nothing | Self::Tar(Tar::Whole(_) | Tar::Inside(_)) => None,
        }
    }
}
