//! The one retry policy: exponential back-off with jitter, for what may be otherwise the next time only, bounded by time.
//!
//! Every attempt is signed anew, so a long outage does not end in an expired signature; object_store's own retries are
//! off for that reason.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use super::error::{Error, Outcome};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Throttling starts with a longer pause: the provider asked for fewer requests, not for the same one again.
const FIRST_PAUSE_THROTTLED: Duration = Duration::from_secs(1);

/// Bytes that were damaged on their way are sent again this often: more than that is no accident.
const MAX_DAMAGED: u32 = 3;

/// How long a call is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    lasts: Duration,
    /// Whether nobody watches: then a clock may be set, or a proxy mended, meanwhile.
    is_of_transfer: bool,
}

impl Patience {
    /// For calls that somebody waits for in front of a screen. HA shows no list of backups before the slowest agent
    /// has answered, so this stays below the 20 seconds that a listing may take.
    pub const INTERACTIVE: Self = Self {
        lasts: Duration::from_secs(12),
        is_of_transfer: false,
    };

    /// One attempt.
    pub const NONE: Self = Self {
        lasts: Duration::ZERO,
        is_of_transfer: false,
    };

    /// For transfers: long enough to sit out an outage of `duration`.
    #[must_use]
    pub const fn lasting(duration: Duration) -> Self {
        Self {
            lasts: duration,
            is_of_transfer: true,
        }
    }

    /// Whether waiting may help against `error`.
    const fn waits_for(self, error: &Error) -> bool {
        error.outcome.is_transient() || (self.is_of_transfer && error.may_pass)
    }
}

/// Who wants to know that a call waits for storage that is away.
pub trait Watch: fmt::Debug + Send + Sync {
    /// An attempt failed, and another one will be made after a pause.
    fn waits(&self, error: &Error);

    /// A call that had waited succeeded.
    fn goes_on(&self);
}

/// Calls `attempt` until it succeeds, fails for good, or `patience` is at its end.
///
/// # Errors
/// The last attempt's error.
pub async fn retry<T, F>(patience: Patience, attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    retry_watched(patience, None, attempt).await
}

/// The same before the eyes of somebody.
///
/// # Errors
/// The last attempt's error.
pub(super) async fn retry_watched<T, F>(
    patience: Patience,
    watch: Option<Arc<dyn Watch>>,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut backoff = Backoff {
        watch,
        ..Backoff::new(patience)
    };
    loop {
        match attempt().await {
            Ok(value) => {
                backoff.end();
                return Ok(value);
            }
            Err(error) => backoff.pause(error).await?,
        }
    }
}

/// The pauses between attempts, for a loop that is more than [`retry`].
#[derive(Debug)]
pub struct Backoff {
    patience: Patience,
    /// When it first went wrong: an attempt that was slow but under way has used none of the patience.
    failing_since: Option<Instant>,
    retries: u32,
    damaged: u32,
    watch: Option<Arc<dyn Watch>>,
}

impl Backoff {
    /// Starts with all of its patience.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            failing_since: None,
            retries: 0,
            damaged: 0,
            watch: None,
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// `error` itself, when it is final or patience is at its end.
    pub async fn pause(&mut self, error: Error) -> Result<(), Error> {
        let pause = pause(error.outcome, self.retries);
        let failing_since = *self.failing_since.get_or_insert_with(Instant::now);
        self.damaged += u32::from(error.outcome == Outcome::Damaged);
        let waits = self.patience.waits_for(&error);
        let may_succeed =
            waits || (error.outcome == Outcome::Damaged && self.damaged <= MAX_DAMAGED);
        if !may_succeed || failing_since.elapsed() + pause > self.patience.lasts {
            return Err(error);
        }
        self.retries += 1;
        warn!(
            retries = self.retries,
            pause_ms = pause.as_millis(),
            "{error}; trying again"
        );
        if let Some(watch) = self.watch.as_ref().filter(|_| waits) {
            watch.waits(&error);
        }
        sleep(pause).await;
        Ok(())
    }

    fn end(self) {
        if let Some(watch) = self.watch.filter(|_| self.retries > 0) {
            watch.goes_on();
        }
    }
}

fn pause(outcome: Outcome, retries: u32) -> Duration {
    let first = if outcome == Outcome::Throttled {
        FIRST_PAUSE_THROTTLED
    } else {
        FIRST_PAUSE
    };
    let longest = first
        .saturating_mul(2_u32.saturating_pow(retries))
        .min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + jitter() / 2.0)
}

/// A number from 0 to 1. A hasher's random keys are random enough to keep agents from knocking in step.
fn jitter() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn attempts(
        patience: Patience,
        outcome: Outcome,
        succeed_at: u32,
    ) -> (u32, bool, Duration) {
        let (mut count, start) = (0, Instant::now());
        let result = retry(patience, || {
            count += 1;
            let result = if count >= succeed_at {
                Ok(())
            } else {
                Err(Error::new(outcome, "no"))
            };
            async { result }
        })
        .await;
        (count, result.is_ok(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_failure_is_tried_again_until_patience_ends() {
        let patience = Patience::lasting(Duration::from_mins(10));
        assert!(attempts(patience, Outcome::Unreachable, 8).await.1);
        let (count, succeeded, elapsed) = attempts(patience, Outcome::Timeout, u32::MAX).await;
        assert!(
            !succeeded && count > 30 && elapsed > Duration::from_secs(580),
            "{count} in {elapsed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_damaged_again_and_again_is_no_accident() {
        let patience = Patience::lasting(Duration::from_mins(10));
        assert!(attempts(patience, Outcome::Damaged, 4).await.1);
        assert_eq!(attempts(patience, Outcome::Damaged, u32::MAX).await.0, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final() {
        assert_eq!(attempts(Patience::INTERACTIVE, Outcome::Auth, 2).await.0, 1);
        assert_eq!(attempts(Patience::NONE, Outcome::Unreachable, 2).await.0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_transfer_waits_for_what_may_pass() {
        for (patience, expected) in [
            (Patience::lasting(Duration::from_mins(10)), 3),
            (Patience::INTERACTIVE, 1),
        ] {
            let mut count = 0;
            let result = retry(patience, || {
                count += 1;
                let error = Error {
                    may_pass: true,
                    ..Error::new(Outcome::ClockSkew, "no")
                };
                let result = if count >= 3 { Ok(()) } else { Err(error) };
                async { result }
            });
            drop(result.await);
            assert_eq!(count, expected, "{patience:?}");
        }
    }
}
