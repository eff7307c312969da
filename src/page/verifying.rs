//! Verifications that were started on the page. They run until they end, whether or not the page is open.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::Agent;
use crate::agent::model::{Failure, VerifyMode, VerifyReport, VerifyStep};
use crate::error::Result;

/// Verifications at a time: each reads a whole backup, and uploads need the line, too.
const AT_A_TIME: usize = 1;

/// All verifications, by location and backup.
#[derive(Debug, Clone)]
pub(super) struct Verifying {
    runs: Arc<Mutex<HashMap<(String, String), Run>>>,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Run {
    state: RunState,
    _task: AbortOnDropHandle<()>,
}

/// State of a verification.
#[derive(Debug, Clone)]
pub(super) enum RunState {
    Waiting,
    Running { percent: u64 },
    Ended(VerifyReport),
    Failed(Failure),
}

impl Default for Verifying {
    fn default() -> Self {
        Self {
            runs: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }
}

impl Verifying {
    /// Starts to verify a backup, unless that is running.
    pub(super) fn start(
        &self,
        agent: Arc<Agent>,
        loc: String,
        backup_id: String,
        mode: VerifyMode,
    ) {
        let id = (loc, backup_id);
        let mut runs = self.runs.lock();
        if runs.get(&id).is_some_and(|run| run.state.is_running()) {
            return;
        }
        let (verifying, key) = (self.clone(), id.clone());
        let task = tokio::spawn(async move {
            let Ok(_turn) = verifying.turns.acquire().await else {
                return;
            };
            let ended = verifying.run(&agent, &key, mode).await;
            verifying.set(
                &key,
                match ended {
                    Ok(report) => RunState::Ended(report),
                    Err(error) => RunState::Failed(Failure::from(&error)),
                },
            );
        });
        runs.insert(
            id,
            Run {
                state: RunState::Waiting,
                _task: AbortOnDropHandle::new(task),
            },
        );
    }

    /// Cancels a verification, and forgets its result.
    pub(super) fn stop(&self, loc: &str, backup_id: &str) {
        let id = (loc.to_owned(), backup_id.to_owned());
        self.runs.lock().remove(&id);
    }

    /// State of the last verification.
    pub(super) fn state(&self, loc: &str, backup_id: &str) -> Option<RunState> {
        let id = (loc.to_owned(), backup_id.to_owned());
        self.runs.lock().get(&id).map(|run| run.state.clone())
    }

    async fn run(
        &self,
        agent: &Agent,
        id: &(String, String),
        mode: VerifyMode,
    ) -> Result<VerifyReport> {
        let mut verification = agent.verify(&id.0, &id.1, mode).await?;
        self.set(id, RunState::Running { percent: 0 });
        while let Some(step) = verification.next().await {
            match step? {
                VerifyStep::Progress {
                    read_bytes,
                    total_bytes,
                } => {
                    let percent = (read_bytes * 100).checked_div(total_bytes);
                    let percent = percent.unwrap_or_default().min(100);
                    self.set(id, RunState::Running { percent });
                }
                VerifyStep::Result(report) => return Ok(report),
            }
        }
        Err(crate::agent::shutting_down())
    }

    fn set(&self, id: &(String, String), state: RunState) {
        if let Some(run) = self.runs.lock().get_mut(id) {
            run.state = state;
        }
    }
}

impl RunState {
    const fn is_running(&self) -> bool {
        matches!(self, Self::Waiting | Self::Running { .. })
    }
}
