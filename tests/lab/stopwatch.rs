//! A clock for upper bounds that stops while the machine is busy with other work.

use std::fs;
use std::time::{Duration, Instant};

use super::Agent;

/// Measures time without the part in which the agent or the test was runnable but had no CPU. The
/// bounds of tests hold for an idle machine; a shared one exceeds them for no fault of the agent's.
/// Waits of all threads add up, so a busy machine is allowed more than its delay.
pub(crate) struct Stopwatch {
    start: Instant,
    agent: u32,
    waited: Duration,
}

impl Stopwatch {
    pub(crate) fn start(agent: &Agent) -> Self {
        Self {
            start: Instant::now(),
            agent: agent.pid(),
            waited: waited_for_cpu(agent.pid()),
        }
    }

    /// Elapsed wall time.
    pub(crate) fn wall(&self) -> Duration {
        self.start.elapsed()
    }

    /// Elapsed time without waits for a CPU.
    pub(crate) fn elapsed(&self) -> Duration {
        let wall = self.wall();
        let waited = waited_for_cpu(self.agent).saturating_sub(self.waited);
        wall.saturating_sub(waited)
    }

    /// Asserts an upper bound.
    #[track_caller]
    pub(crate) fn assert_below(&self, bound: Duration, what: &str) {
        let (elapsed, wall) = (self.elapsed(), self.wall());
        assert!(elapsed < bound, "{what}: {elapsed:?} of {wall:?}");
    }
}

/// Time in which threads of the agent, and this thread, waited for a CPU. Source: `sched-stats.rst`
/// in Linux's `Documentation/scheduler`: the second number of `schedstat`, in nanoseconds. Zero
/// without that file.
fn waited_for_cpu(agent: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{agent}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|thread| thread.path());
    threads
        .chain(["/proc/thread-self".into()])
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.join("schedstat")).ok()?;
            text.split(' ').nth(1)?.parse().ok()
        })
        .map(Duration::from_nanos)
        .sum()
}
