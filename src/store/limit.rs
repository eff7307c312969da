//! A limit in bytes per second, shared by everything that goes one way through a location.
//!
//! A bucket of tokens turned around: instead of tokens it keeps the moment at which the bytes let through so far are
//! paid for. Who wants to move bytes takes its place in the queue and waits until its turn, so several parts share the
//! limit evenly.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Slices are this part of a second's bytes, so that the flow is even and nobody waits long.
const SLICES_A_SECOND: u64 = 8;

/// The smallest slice; smaller ones would only cost time.
const MIN_SLICE_BYTES: usize = 2 * 1024;

/// A limit; clones share it, and it can be changed under them. Without one everything passes at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Limit(Arc<Flow>);

#[derive(Debug, Default)]
struct Flow {
    /// 0 is no limit.
    bytes_per_second: AtomicU64,
    paid_until: Mutex<Option<Instant>>,
}

impl Limit {
    /// Changes it for all that share it.
    pub(super) fn set(&self, bytes_per_second: Option<u64>) {
        self.0
            .bytes_per_second
            .store(bytes_per_second.unwrap_or(0), Ordering::Relaxed);
    }

    fn bytes_per_second(&self) -> Option<u64> {
        Some(self.0.bytes_per_second.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// How many bytes to move at a time.
    pub(super) fn slice(&self, longest: usize) -> usize {
        let Some(bytes_per_second) = self.bytes_per_second() else {
            return longest;
        };
        let slice = usize::try_from(bytes_per_second / SLICES_A_SECOND).unwrap_or(usize::MAX);
        slice.clamp(MIN_SLICE_BYTES, longest)
    }

    /// Takes a place in the queue for `bytes`, and says when their turn is. `None` means at once.
    pub(super) fn turn(&self, bytes: usize) -> Option<Instant> {
        let bytes_per_second = self.bytes_per_second()?;
        let now = Instant::now();
        let mut paid_until = self
            .0
            .paid_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let turn = paid_until.map_or(now, |until| until.max(now));
        *paid_until = Some(turn + time_of(bytes, bytes_per_second));
        (turn > now).then_some(turn)
    }
}

fn time_of(bytes: usize, bytes_per_second: u64) -> Duration {
    let nanos = u128::try_from(bytes)
        .unwrap_or(u128::MAX)
        .saturating_mul(1_000_000_000);
    Duration::from_nanos(u64::try_from(nanos / u128::from(bytes_per_second)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Limit {
        fn new(bytes_per_second: Option<u64>) -> Self {
            let limit = Self::default();
            limit.set(bytes_per_second);
            limit
        }
    }

    #[tokio::test(start_paused = true)]
    async fn several_together_get_what_one_would() {
        let limit = Limit::new(Some(1_000_000));
        let start = Instant::now();
        let one = async |limit: Limit| {
            for _ in 0..25 {
                if let Some(turn) = limit.turn(100_000) {
                    tokio::time::sleep_until(turn).await;
                }
            }
        };
        tokio::join!(
            one(limit.clone()),
            one(limit.clone()),
            one(limit.clone()),
            one(limit)
        );
        let elapsed = start.elapsed().as_millis();
        assert!(
            (9_800..=10_100).contains(&elapsed),
            "10 MB at 1 MB/s took {elapsed} ms"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_earns_nothing() {
        let limit = Limit::new(Some(1000));
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(limit.turn(1000), None);
        assert_eq!(limit.turn(1), Some(Instant::now() + Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_reaches_those_who_share_it() {
        let limit = Limit::new(Some(1000));
        let other = limit.clone();
        limit.set(Some(2000));
        assert_eq!(
            (other.turn(1000), other.turn(0)),
            (None, Some(Instant::now() + Duration::from_millis(500)))
        );
        limit.set(None);
        assert_eq!(other.turn(1), None);
    }

    #[test]
    fn without_a_limit_everything_passes() {
        assert_eq!(Limit::new(None).turn(usize::MAX), None);
        assert_eq!(Limit::new(None).slice(7), 7);
        assert_eq!(Limit::new(Some(16 * 1024)).slice(256 * 1024), 2048);
    }
}
