use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::*;

/// Runs a call whose attempts fail with `outcome` until number `succeed_at`. Returns the attempts, success and duration.
async fn attempts(patience: Patience, outcome: Outcome, succeed_at: u32) -> (u32, bool, Duration) {
    let (count, start) = (AtomicU32::new(0), Instant::now());
    let result = Retry::with(patience)
        .run("test", |_| {
            let count = count.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                if count >= succeed_at {
                    Ok(())
                } else {
                    Err(Error::new(outcome, "no"))
                }
            }
        })
        .await;
    (count.into_inner(), result.is_ok(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn transient_failure_is_retried_until_patience_ends() {
    let patience = Patience::lasting(Duration::from_mins(10));
    assert!(attempts(patience, Outcome::Unreachable, 8).await.1);
    let endless = Patience::lasting(Duration::MAX);
    assert!(attempts(endless, Outcome::Unreachable, 8).await.1);
    let (count, succeeded, elapsed) = attempts(patience, Outcome::Timeout, u32::MAX).await;
    assert!(
        !succeeded && count > 30 && elapsed > Duration::from_secs(580),
        "{count} in {elapsed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn damaged_bytes_are_retried_three_times() {
    let patience = Patience::lasting(Duration::from_mins(10));
    assert!(attempts(patience, Outcome::Damaged, 4).await.1);
    assert_eq!(attempts(patience, Outcome::Damaged, u32::MAX).await.0, 4);
}

#[tokio::test(start_paused = true)]
async fn refusal_is_final() {
    assert_eq!(attempts(Patience::INTERACTIVE, Outcome::Auth, 2).await.0, 1);
    assert_eq!(attempts(Patience::NONE, Outcome::Unreachable, 2).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn only_transfers_wait_for_errors_that_may_pass() {
    for (patience, expected) in [
        (Patience::lasting(Duration::from_mins(10)), 3),
        (Patience::INTERACTIVE, 1),
    ] {
        let count = AtomicU32::new(0);
        let result = Retry::with(patience).run("test", |_| {
            let count = count.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                let error = Error {
                    may_pass: true,
                    ..Error::new(Outcome::ClockSkew, "no")
                };
                if count >= 3 { Ok(()) } else { Err(error) }
            }
        });
        drop(result.await);
        assert_eq!(count.into_inner(), expected, "{patience:?}");
    }
}

/// The lock is no reason to look for a rule of the bucket.
#[tokio::test(start_paused = true)]
async fn damaged_object_that_cannot_be_written_over_is_told_as_damaged() {
    for (outcomes, expected) in [
        ([Outcome::Damaged, Outcome::Locked], Outcome::Damaged),
        ([Outcome::Timeout, Outcome::Locked], Outcome::Locked),
    ] {
        let count = AtomicUsize::new(0);
        let result = Retry::with(Patience::INTERACTIVE).run("write it", |_| {
            let outcome = outcomes[count.fetch_add(1, Ordering::Relaxed)];
            async move { Err::<(), _>(Error::new(outcome, "")) }
        });
        assert_eq!(result.await.unwrap_err().outcome, expected);
    }
}

/// A server that takes connections and answers nothing.
#[tokio::test(start_paused = true)]
async fn interactive_call_to_a_silent_server_ends_within_twenty_seconds() {
    for hedges in [false, true] {
        for silence in [Duration::from_secs(10), Duration::from_mins(1)] {
            let start = Instant::now();
            let retry = Retry {
                hedges,
                ..Retry::with(Patience::INTERACTIVE)
            };
            let result = retry.run("list it", |call| async move {
                sleep(silence).await;
                Err::<(), _>(Error::could_not(&call.action, Outcome::Timeout, "silence"))
            });
            let error = result.await.unwrap_err();
            assert_eq!(error.outcome, Outcome::Timeout, "{error}");
            assert!(error.message.starts_with("Could not list it: "), "{error}");
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{:?}",
                start.elapsed()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn learned_dialect_is_retried_at_once_and_not_for_ever() {
    let (count, start) = (AtomicU32::new(0), Instant::now());
    let result = Retry::with(Patience::NONE)
        .run("test", |call| {
            let learned = call.learned::<u32>().copied();
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                Err::<(), _>(Error {
                    at_once: Some(AtOnce::with(learned.unwrap_or_default() + 1)),
                    ..Error::new(Outcome::WrongRegion, format!("{learned:?}"))
                })
            }
        })
        .await;
    assert_eq!(result.unwrap_err().message, "Some(5)");
    assert_eq!(count.into_inner(), MAX_AT_ONCE + 1);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn silent_read_is_hedged_and_an_answering_one_is_not() {
    for (answers, expected, limit) in [(false, 2, 6), (true, 1, 61)] {
        let (count, start) = (AtomicU32::new(0), Instant::now());
        let retry = Retry {
            hedges: true,
            ..Retry::with(Patience::NONE)
        };
        let result = retry.run("read", |call| {
            count.fetch_add(1, Ordering::Relaxed);
            if answers {
                call.answered();
            }
            async move {
                if !call.is_hedge {
                    sleep(Duration::from_mins(1)).await;
                }
                Ok(call.is_hedge)
            }
        });
        assert_eq!(result.await.unwrap(), !answers);
        assert_eq!(count.into_inner(), expected);
        assert!(start.elapsed() < Duration::from_secs(limit));
    }
}
