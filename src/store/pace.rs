//! Pace: how many parts of a location are in flight when the provider throttles.
//!
//! Additive increase, multiplicative decrease, as in TCP. Source: "Best practices design patterns" in Amazon's user guide:
//! lower the request rate on 503, and raise it gradually.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::error::{Error, Outcome};

/// More parts than any location sends.
const MOST: usize = 64;

/// Most parts a location sends; at this number the provider is at full pace again.
const FULL_PACE: usize = 16;

/// Requests in flight together are throttled together; that counts once.
const ONE_REFUSAL: Duration = Duration::from_secs(1);

/// Rounds without throttling before the pace rises by one.
const ROUNDS: usize = 4;

/// Pace of one location; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Pace(Arc<watch::Sender<State>>);

#[derive(Debug)]
struct State {
    allowed: usize,
    running: usize,
    /// Parts stored since the pace changed last.
    stored: usize,
    slowed: Option<Instant>,
}

/// A slot for one part in flight; dropping it frees the slot.
#[derive(Debug)]
struct Slot<'p>(&'p Pace);

impl Default for Pace {
    fn default() -> Self {
        let (state, _) = watch::channel(State {
            allowed: MOST,
            running: 0,
            stored: 0,
            slowed: None,
        });
        Self(Arc::new(state))
    }
}

impl Pace {
    /// Number of parts that may be in flight.
    pub(super) fn allowed(&self) -> usize {
        self.0.borrow().allowed
    }

    /// The same, while the provider throttles.
    pub(super) fn slowed_to(&self) -> Option<usize> {
        Some(self.allowed()).filter(|allowed| *allowed < MOST)
    }

    /// Sends a part once a slot is free, and learns from the outcome.
    pub(super) async fn run<T>(
        &self,
        part: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let slot = self.slot().await;
        let result = part.await;
        match &result {
            Ok(_) => slot.stored(),
            Err(error) if error.outcome == Outcome::Throttled => slot.throttled(),
            Err(_) => {}
        }
        result
    }

    async fn slot(&self) -> Slot<'_> {
        let mut changes = self.0.subscribe();
        loop {
            let is_taken = self.0.send_if_modified(|state| {
                let is_free = state.running < state.allowed;
                state.running += usize::from(is_free);
                is_free
            });
            if is_taken {
                return Slot(self);
            }
            // Fails only without a sender, which this pace holds.
            drop(
                changes
                    .wait_for(|state| state.running < state.allowed)
                    .await,
            );
        }
    }
}

impl Slot<'_> {
    fn stored(&self) {
        self.0.0.send_modify(|state| {
            state.stored += 1;
            if state.allowed < MOST && state.stored >= state.allowed * ROUNDS {
                state.allowed += 1;
                state.stored = 0;
                if state.allowed >= FULL_PACE {
                    state.allowed = MOST;
                    info!("the provider takes parts at full pace again");
                }
            }
        });
    }

    fn throttled(&self) {
        self.0.0.send_modify(|state| {
            if state.slowed.is_some_and(|at| at.elapsed() < ONE_REFUSAL) {
                return;
            }
            let allowed = (state.running.min(state.allowed) / 2).max(1);
            if allowed < state.allowed {
                warn!(
                    parts = allowed,
                    "the provider throttles: fewer parts are in flight"
                );
            }
            state.allowed = allowed;
            state.stored = 0;
            state.slowed = Some(Instant::now());
        });
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn slots(pace: &Pace, count: usize) -> Vec<Slot<'_>> {
        let mut slots = Vec::new();
        for _ in 0..count {
            slots.push(pace.slot().await);
        }
        slots
    }

    fn throttled(slots: Vec<Slot<'_>>) {
        for slot in slots {
            slot.throttled();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn parts_throttled_together_halve_the_pace_once() {
        let pace = Pace::default();
        throttled(slots(&pace, 8).await);
        assert_eq!((pace.allowed(), pace.slowed_to()), (4, Some(4)));
        for expected in [2, 1, 1] {
            tokio::time::sleep(ONE_REFUSAL).await;
            throttled(slots(&pace, pace.allowed()).await);
            assert_eq!(pace.allowed(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn part_beyond_the_pace_waits_for_a_slot() {
        let pace = Pace::default();
        throttled(slots(&pace, 4).await);
        let mut held = slots(&pace, 2).await;
        let third = pace.slot();
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
    async fn pace_rises_gradually() {
        let pace = Pace::default();
        throttled(slots(&pace, 24).await);
        let mut stored = 0;
        while pace.slowed_to().is_some() {
            pace.slot().await.stored();
            stored += 1;
        }
        assert_eq!(stored, (12 + 13 + 14 + 15) * ROUNDS);
    }
}
