//! Verifications that were started on the page. They run until they end, whether or not the page is open.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::Agent;
use crate::agent::catalog::Entry;
use crate::agent::model::{Failure, LastVerified, VerifyMode, VerifyReport, VerifyStep};
use crate::error::Result;

/// Verifications at a time: each reads a whole backup, and uploads need the line, too.
const AT_A_TIME: usize = 1;

/// Results that are kept; the list says what is known of older ones.
const MAX_KEPT: usize = 100;

/// All verifications, by location and backup.
#[derive(Debug, Clone)]
pub(super) struct Verifying {
    runs: Arc<Mutex<HashMap<(String, String), Run>>>,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Run {
    /// Version of the tar; another version is another backup.
    version: String,
    started: Instant,
    state: RunState,
    _task: AbortOnDropHandle<()>,
}

/// State of a verification.
#[derive(Debug, Clone)]
pub(super) enum RunState {
    Waiting,
    Running {
        percent: u64,
    },
    Ended {
        report: VerifyReport,
        at: DateTime<Utc>,
    },
    Failed {
        failure: Failure,
        at: DateTime<Utc>,
    },
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
    pub(super) fn start(&self, agent: Arc<Agent>, loc: String, entry: &Entry, mode: VerifyMode) {
        let id = (loc, entry.metadata.backup_id.clone());
        let mut runs = self.runs.lock();
        if runs.get(&id).is_some_and(|run| run.state.is_running()) {
            return;
        }
        forget_oldest(&mut runs);
        let (verifying, key) = (self.clone(), id.clone());
        let task = tokio::spawn(async move {
            let Ok(_turn) = verifying.turns.acquire().await else {
                return;
            };
            let ended = verifying.run(&agent, &key, mode).await;
            verifying.set(&key, RunState::of(ended));
        });
        runs.insert(
            id,
            Run {
                version: entry.tar.version.clone(),
                started: Instant::now(),
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

    /// State of the last verification of a backup whose tar has this version.
    pub(super) fn state(&self, loc: &str, backup_id: &str, version: &str) -> Option<RunState> {
        let id = (loc.to_owned(), backup_id.to_owned());
        let runs = self.runs.lock();
        let run = runs.get(&id)?;
        (run.state.is_running() || run.version == version).then(|| run.state.clone())
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
            if let RunState::Ended { report, .. } = &state {
                // The tar may have been replaced since the list.
                run.version.clone_from(&report.version);
            }
            run.state = state;
        }
    }
}

/// Makes room for another result.
fn forget_oldest(runs: &mut HashMap<(String, String), Run>) {
    let ended = runs.iter().filter(|(_, run)| !run.state.is_running());
    if ended.clone().count() < MAX_KEPT {
        return;
    }
    let oldest = ended.min_by_key(|(_, run)| run.started);
    if let Some(id) = oldest.map(|(id, _)| id.clone()) {
        runs.remove(&id);
    }
}

impl RunState {
    /// A verification that ends now.
    fn of(ended: Result<VerifyReport>) -> Self {
        let at = Utc::now();
        match ended {
            Ok(report) => Self::Ended { report, at },
            Err(error) => Self::Failed {
                failure: Failure::from(&error),
                at,
            },
        }
    }

    /// Whether a later verification, which Home Assistant or the schedule started, says more.
    pub(super) fn is_outdated(&self, last: Option<&LastVerified>) -> bool {
        let (Self::Ended { at, .. } | Self::Failed { at, .. }) = self else {
            return false;
        };
        let last = last.and_then(|last| DateTime::parse_from_rfc3339(&last.at).ok());
        last.is_some_and(|last| last > *at)
    }

    const fn is_running(&self) -> bool {
        matches!(self, Self::Waiting | Self::Running { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn oldest_result_is_forgotten() {
        let run = |state| Run {
            version: "v1".to_owned(),
            started: Instant::now(),
            state,
            _task: AbortOnDropHandle::new(tokio::spawn(async {})),
        };
        let id = |number: usize| ("cellar".to_owned(), number.to_string());
        let mut runs = HashMap::from([(id(0), run(RunState::Waiting))]);
        for number in 1..MAX_KEPT + 3 {
            forget_oldest(&mut runs);
            let failed = RunState::of(Err(crate::agent::shutting_down()));
            runs.insert(id(number), run(failed));
        }
        assert_eq!(runs.len(), MAX_KEPT + 1);
        assert!(runs.contains_key(&id(0)), "a running one stays");
        assert!(!runs.contains_key(&id(2)) && runs.contains_key(&id(3)));
    }
}
