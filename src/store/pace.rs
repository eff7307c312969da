//! How many parts of one location are on their way at the same time, when the provider asks to slow down.
//!
//! As TCP does it: half as many when it asks, one more when it has taken a few rounds without asking. Source: "Best
//! practices design patterns" in Amazon's user guide, which wants the request rate lowered on 503, and raised gradually.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

/// More than any location asks for.
const MOST: usize = 64;

/// Requests that are under way together are refused together; that counts once.
const ONE_REFUSAL: Duration = Duration::from_secs(1);

/// Rounds without a refusal before one more is let through.
const ROUNDS: usize = 4;

/// The pace of one location; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    allowed: usize,
    running: usize,
    /// Parts that were taken since it changed last.
    taken: usize,
    slowed: Option<Instant>,
}

/// One part's turn. Dropping it lets the next one through.
#[derive(Debug)]
pub(super) struct Turn(Pace);

impl Default for State {
    fn default() -> Self {
        Self {
            allowed: MOST,
            running: 0,
            taken: 0,
            slowed: None,
        }
    }
}

impl Pace {
    /// How many parts may be on their way.
    pub(super) fn allowed(&self) -> usize {
        self.state().allowed
    }

    /// The same, when the provider asked for fewer than it was sent.
    pub(super) fn slowed_to(&self) -> Option<usize> {
        Some(self.allowed()).filter(|allowed| *allowed < MOST)
    }

    /// Waits until one more part may be sent.
    pub(super) async fn turn(&self) -> Turn {
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            {
                let mut state = self.state();
                if state.running < state.allowed {
                    state.running += 1;
                    return Turn(self.clone());
                }
            }
            freed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The provider took the part.
    pub(super) fn taken(self, wanted: usize) {
        let mut state = self.0.state();
        state.taken += 1;
        if state.allowed < MOST && state.taken >= state.allowed * ROUNDS {
            (state.allowed, state.taken) = (state.allowed + 1, 0);
            if state.allowed >= wanted {
                state.allowed = MOST;
                info!("the provider takes parts at full pace again");
            }
        }
    }

    /// The provider asked to slow down.
    pub(super) fn refused(self) {
        let mut state = self.0.state();
        if state.slowed.is_some_and(|at| at.elapsed() < ONE_REFUSAL) {
            return;
        }
        let allowed = (state.running.min(state.allowed) / 2).max(1);
        if allowed < state.allowed {
            warn!(
                parts = allowed,
                "the provider asks to slow down: fewer parts are sent at the same time"
            );
        }
        *state = State {
            allowed,
            running: state.running,
            taken: 0,
            slowed: Some(Instant::now()),
        };
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state().running -= 1;
        self.0.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn turns(pace: &Pace, count: usize) -> Vec<Turn> {
        let mut turns = Vec::new();
        for _ in 0..count {
            turns.push(pace.turn().await);
        }
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_halved_once_for_all_that_are_refused_together() {
        let pace = Pace::default();
        turns(&pace, 8).await.into_iter().for_each(Turn::refused);
        assert_eq!((pace.allowed(), pace.slowed_to()), (4, Some(4)));
        for expected in [2, 1, 1] {
            tokio::time::sleep(ONE_REFUSAL).await;
            let allowed = pace.allowed();
            turns(&pace, allowed)
                .await
                .into_iter()
                .for_each(Turn::refused);
            assert_eq!(pace.allowed(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_too_many_waits_for_a_turn() {
        let pace = Pace::default();
        turns(&pace, 4).await.into_iter().for_each(Turn::refused);
        let mut held = turns(&pace, 2).await;
        let third = pace.turn();
        tokio::pin!(third);
        assert!(
            tokio::time::timeout(Duration::from_mins(1), &mut third)
                .await
                .is_err()
        );
        held.pop();
        third.await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_comes_back_little_by_little() {
        let pace = Pace::default();
        turns(&pace, 8).await.into_iter().for_each(Turn::refused);
        let mut taken = 0;
        while pace.slowed_to().is_some() {
            pace.turn().await.taken(8);
            taken += 1;
        }
        assert_eq!(taken, (4 + 5 + 6 + 7) * ROUNDS);
    }
}
