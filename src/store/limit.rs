//! Limit in bytes per second, shared by all transfers of one direction of a location.
//!
//! An inverted token bucket: it keeps the moment until which the bytes so far are paid for. Each transfer queues for its
//! next bytes, so that concurrent parts share the limit evenly.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Slices per second of the limit: an even flow with short waits.
const SLICES_A_SECOND: u64 = 8;

/// Smallest slice; smaller ones only cost time.
const MIN_SLICE_BYTES: usize = 2 * 1024;

/// A limit; clones share it. Without a rate all bytes pass at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Limit(Arc<Mutex<Flow>>);

#[derive(Debug, Default)]
struct Flow {
    bytes_per_second: Option<u64>,
    paid_until: Option<Instant>,
}

impl Limit {
    /// Changes the rate for all that share the limit.
    pub(super) fn set(&self, bytes_per_second: Option<u64>) {
        self.0.lock().bytes_per_second = bytes_per_second.filter(|limit| *limit > 0);
    }

    /// Returns how many bytes to move at a time.
    pub(super) fn slice(&self, longest: usize) -> usize {
        let Some(bytes_per_second) = self.0.lock().bytes_per_second else {
            return longest;
        };
        let slice = usize::try_from(bytes_per_second / SLICES_A_SECOND).unwrap_or(usize::MAX);
        slice.clamp(MIN_SLICE_BYTES, longest.max(MIN_SLICE_BYTES))
    }

    /// Queues `bytes` and returns when their turn is; `None` means at once.
    pub(super) fn turn(&self, bytes: usize) -> Option<Instant> {
        let mut flow = self.0.lock();
        let bytes_per_second = flow.bytes_per_second?;
        let now = Instant::now();
        let turn = flow.paid_until.map_or(now, |until| until.max(now));
        flow.paid_until = Some(turn + time_of(bytes, bytes_per_second));
        (turn > now).then_some(turn)
    }

    /// Waits for the turn of `bytes`.
    pub(super) async fn wait(&self, bytes: usize) {
        if let Some(turn) = self.turn(bytes) {
            tokio::time::sleep_until(turn).await;
        }
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
    async fn concurrent_transfers_share_the_limit() {
        let limit = Limit::new(Some(1_000_000));
        let start = Instant::now();
        let one = async |limit: Limit| {
            for _ in 0..25 {
                limit.wait(100_000).await;
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
    async fn silence_earns_no_credit() {
        let limit = Limit::new(Some(1000));
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(limit.turn(1000), None);
        assert_eq!(limit.turn(1), Some(Instant::now() + Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn change_reaches_running_transfers() {
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
    fn without_a_limit_all_bytes_pass() {
        assert_eq!(Limit::new(None).turn(usize::MAX), None);
        assert_eq!(Limit::new(None).slice(7), 7);
        assert_eq!(Limit::new(Some(16 * 1024)).slice(256 * 1024), 2048);
    }
}
