//! The one retry layer: exponential back-off with jitter, bounded in time.
//!
//! Every request of the agent is retried here and nowhere else, each attempt signed anew. Three kinds of further attempts:
//!
//! - **After back-off**, when the outcome is [transient](Outcome::is_transient) and [`Patience`] lasts.
//! - **At once**, when the attempt learned what the next one needs ([`AtOnce`]: another dialect, a replaced credential);
//!   at most [`MAX_AT_ONCE`] in one call.
//! - **Hedged**, when a read has no answer after [`HEDGE_AFTER`]: the pooled connection may be half-dead. One further
//!   attempt starts on a new connection, and the first to succeed wins.
//!
//! Upper bound of a call: an interactive one ends within [`DEADLINE`], which also cuts an attempt short. A transfer ends when
//! its patience has passed since the first failure, plus one attempt, which ends when the connection falls silent.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::error::{AtOnce, Error, Outcome};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// First pause when throttled: the provider asked for fewer requests.
const FIRST_PAUSE_THROTTLED: Duration = Duration::from_secs(1);

/// Retries of damaged bytes; more than that is no accident.
const MAX_DAMAGED: u32 = 3;

/// Retries at once in one call: one for each thing that a dialect learns, and two replaced credentials.
const MAX_AT_ONCE: u32 = 5;

/// Silence before a read is hedged.
const HEDGE_AFTER: Duration = Duration::from_secs(5);

/// Upper bound of an interactive call. Home Assistant waits 20 seconds for a list.
const DEADLINE: Duration = Duration::from_secs(18);

/// How long a call is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    lasts: Duration,
    deadline: Option<Duration>,
    /// Transfers run unattended: meanwhile a clock may be set, or a proxy may recover.
    is_of_transfer: bool,
}

impl Patience {
    /// For calls that a person waits for: retries for 12 seconds, ends within 18.
    pub const INTERACTIVE: Self = Self {
        lasts: Duration::from_secs(12),
        deadline: Some(DEADLINE),
        is_of_transfer: false,
    };

    /// One attempt.
    pub const NONE: Self = Self {
        lasts: Duration::ZERO,
        deadline: None,
        is_of_transfer: false,
    };

    /// For transfers: sits out an outage of `duration`.
    #[must_use]
    pub const fn lasting(duration: Duration) -> Self {
        Self {
            lasts: duration,
            deadline: None,
            is_of_transfer: true,
        }
    }

    /// Drops the deadline, for a call whose bytes may take long on a slow line.
    pub(super) const fn without_deadline(self) -> Self {
        Self {
            deadline: None,
            ..self
        }
    }

    const fn waits_for(self, error: &Error) -> bool {
        error.outcome.is_transient() || (self.is_of_transfer && error.may_pass)
    }
}

/// Observer of a call that waits for storage.
pub trait Watch: fmt::Debug + Send + Sync {
    /// An attempt failed and is retried after a pause, or has no answer yet. The first of its call failed then.
    fn waits(&self, error: &Error, since: Instant);

    /// A retried call succeeded.
    fn goes_on(&self);
}

/// One attempt of a call, as a backend sees it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Completes "could not …" in messages.
    pub(super) action: Arc<str>,
    /// Whether a pooled connection may be half-dead.
    pub(super) is_hedge: bool,
    /// Whether an attempt went before; its answer may be lost.
    pub(super) is_repeated: bool,
    at_once: Option<AtOnce>,
    answered: CancellationToken,
}

impl Call {
    pub(super) fn new(action: &str) -> Self {
        Self {
            action: action.into(),
            is_hedge: false,
            is_repeated: false,
            at_once: None,
            answered: CancellationToken::new(),
        }
    }

    /// Notes that the server began to answer.
    pub(super) fn answered(&self) {
        self.answered.cancel();
    }

    /// Returns what the previous attempt learned.
    pub(super) fn learned<T: 'static>(&self) -> Option<&T> {
        self.at_once.as_ref()?.learned()
    }

    fn next(&self, at_once: Option<AtOnce>) -> Self {
        Self {
            is_repeated: true,
            at_once,
            ..Self::new(&self.action)
        }
    }
}

/// Retries one call.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) patience: Patience,
    pub(super) watch: Option<Arc<dyn Watch>>,
    /// Whether a silent attempt is hedged: for idempotent reads over a network.
    pub(super) hedges: bool,
}

impl Retry {
    /// Retries without an observer.
    pub(super) const fn with(patience: Patience) -> Self {
        Self {
            patience,
            watch: None,
            hedges: false,
        }
    }

    /// Calls `attempt` until it succeeds, fails for good, or patience or the deadline ends.
    ///
    /// # Errors
    /// The last attempt's error; [`Outcome::Timeout`] when the first one was still silent at the deadline.
    pub(super) async fn run<T, F>(
        self,
        action: impl AsRef<str>,
        attempt: impl Fn(Call) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let action = action.as_ref();
        let end = self.patience.deadline.map(|limit| Instant::now() + limit);
        let mut backoff = Backoff {
            watch: self.watch,
            end,
            ..Backoff::new(self.patience)
        };
        let (mut call, mut at_once) = (Call::new(action), 0);
        let was_silent = AtomicBool::new(false);
        let mut last: Option<Error> = None;
        let mut may_have_succeeded = false;
        loop {
            let silent = || {
                if let Some(watch) = &backoff.watch {
                    let why = format!("no answer within {} s", HEDGE_AFTER.as_secs());
                    let error = Error::could_not(action, Outcome::Timeout, why);
                    watch.waits(&error, Instant::now() - HEDGE_AFTER);
                    was_silent.store(true, Ordering::Relaxed);
                }
            };
            let attempted = hedged(&attempt, call.clone(), self.hedges, silent);
            let result = match end {
                None => attempted.await,
                Some(end) => timeout_at(end, attempted).await.unwrap_or_else(|_| {
                    let seconds = DEADLINE.as_secs();
                    let why = format!("no answer within {seconds} s");
                    Err(last
                        .take()
                        .unwrap_or_else(|| Error::could_not(action, Outcome::Timeout, why)))
                }),
            };
            let mut error = match result {
                Ok(value) => {
                    backoff.succeeded(was_silent.into_inner());
                    return Ok(value);
                }
                Err(error) => error,
            };
            may_have_succeeded |= error.may_have_succeeded || error.may_pass;
            error.may_have_succeeded = may_have_succeeded;
            // A storage that writes over nothing keeps the damaged object, and refuses another.
            let is_damaged = |last: &mut Error| last.outcome == Outcome::Damaged;
            if error.outcome == Outcome::Locked
                && let Some(damaged) = last.take_if(is_damaged)
            {
                return Err(damaged);
            }
            let learned = error.at_once.take().filter(|_| at_once < MAX_AT_ONCE);
            if learned.is_some() {
                at_once += 1;
            } else {
                last = Some(backoff.wait(error).await?);
            }
            call = call.next(learned);
        }
    }
}

/// Makes one attempt, and a second one on a new connection when the first is silent, which `silent` is told. One that fails
/// leaves the decision to the other.
async fn hedged<T, F>(
    attempt: &impl Fn(Call) -> F,
    call: Call,
    hedges: bool,
    silent: impl Fn(),
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut first = pin!(attempt(call.clone()));
    if !hedges {
        return first.await;
    }
    tokio::select! {
        result = &mut first => return result,
        () = sleep(HEDGE_AFTER) => {}
    }
    if call.answered.is_cancelled() {
        return first.await;
    }
    silent();
    let mut second = pin!(attempt(Call {
        is_hedge: true,
        ..call
    }));
    tokio::select! {
        result = &mut first => if result.is_ok() { result } else { second.await },
        result = &mut second => if result.is_ok() { result } else { first.await },
    }
}

/// Pauses between attempts, for a loop that resumes a broken body or waits for a state.
#[derive(Debug)]
pub struct Backoff {
    patience: Patience,
    end: Option<Instant>,
    /// First failure; a slow attempt that makes progress uses none of the patience.
    failing_since: Option<Instant>,
    retries: u32,
    damaged: u32,
    watch: Option<Arc<dyn Watch>>,
}

impl Backoff {
    /// Starts with all of the patience.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            end: None,
            failing_since: None,
            retries: 0,
            damaged: 0,
            watch: None,
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// `error` itself, when it is final or patience has ended.
    pub async fn pause(&mut self, error: Error) -> Result<(), Error> {
        self.wait(error).await.map(drop)
    }

    async fn wait(&mut self, error: Error) -> Result<Error, Error> {
        let pause = pause(error.outcome, self.retries);
        let now = Instant::now();
        let failing_since = *self.failing_since.get_or_insert(now);
        self.damaged += u32::from(error.outcome == Outcome::Damaged);
        let waits = self.patience.waits_for(&error);
        let may_succeed =
            waits || (error.outcome == Outcome::Damaged && self.damaged <= MAX_DAMAGED);
        let ends = now + pause - failing_since > self.patience.lasts
            || self.end.is_some_and(|end| now + pause > end);
        if !may_succeed || ends {
            return Err(error);
        }
        self.retries += 1;
        // A location logs the beginning and the end of an outage.
        debug!(
            retries = self.retries,
            pause_ms = pause.as_millis(),
            "{error}; retrying"
        );
        if let Some(watch) = self.watch.as_ref().filter(|_| waits) {
            watch.waits(&error, failing_since);
        }
        sleep(pause).await;
        Ok(error)
    }

    fn succeeded(self, was_silent: bool) {
        let has_waited = self.retries > 0 || was_silent;
        if let Some(watch) = self.watch.filter(|_| has_waited) {
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

/// Number from 0 to 1. A hasher's random keys are random enough to spread the retries of several agents.
pub(crate) fn jitter() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
