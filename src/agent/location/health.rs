//! What the requests to a location's storage have shown: whether it answers, and whether it takes backups.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::agent::model::Failure;
use crate::error::Kind;
use crate::store::jitter;
use crate::units::rfc3339;

/// Storage that answered is asked again after about this long without a request, ...
const ASKED_EVERY: Duration = Duration::from_hours(1);

/// ... and storage that fails after about this long.
const FAILING_ASKED_EVERY: Duration = Duration::from_mins(10);

/// How exactly the time of the last request is known: each change is an event.
const ASKED_WITHIN: TimeDelta = TimeDelta::minutes(10);

/// The errors that any answered request disproves; the others may be of writes alone.
const DISPROVED_BY_READING: [Kind; 8] = [
    Kind::StorageUnreachable,
    Kind::StorageTimeout,
    Kind::StorageThrottled,
    Kind::StorageAuth,
    Kind::BucketNotFound,
    Kind::WrongRegion,
    Kind::ClockSkew,
    Kind::StorageCertificate,
];

/// What a request was for: a location that can be listed may still refuse backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
}

/// What is known of a location's storage.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Whether a request to the storage has ended.
    is_known: bool,
    /// Disproved by any answered request.
    error: Option<Failure>,
    /// Disproved by a stored backup, or by a check.
    write_error: Option<Failure>,
    /// When the current error began.
    failing_since: Option<Instant>,
    /// When a request last ended, to `ASKED_WITHIN`.
    asked_at: Option<DateTime<Utc>>,
    /// When the storage is asked again if no request comes before; at once without a first one.
    ask_at: Option<Instant>,
}

/// What a result changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The status is as before.
    None,
    /// The same, after a while without a request.
    Asked,
    /// The storage is known to work; it was unknown before.
    Works,
    /// The storage works again, after this long.
    WorksAgain { was_away: bool, after: Duration },
    /// Another error of the same outage.
    StillAway,
    /// It fails, or fails for another reason.
    Fails,
}

impl Health {
    /// `unknown` before the first request, then `ok` or `error`.
    pub(super) const fn status(&self) -> &'static str {
        match (self.is_known, self.error()) {
            (false, _) => "unknown",
            (true, None) => "ok",
            (true, Some(_)) => "error",
        }
    }

    pub(super) const fn error(&self) -> Option<&Failure> {
        match &self.error {
            None => self.write_error.as_ref(),
            error => error.as_ref(),
        }
    }

    /// When a request last ended.
    pub(super) const fn asked_at(&self) -> Option<DateTime<Utc>> {
        self.asked_at
    }

    /// Whether no request has told of the storage for long.
    pub(super) fn is_to_be_asked(&self) -> bool {
        self.ask_at.is_none_or(|at| at <= Instant::now())
    }

    /// Notes that a check succeeded.
    pub(super) fn succeeded_check(&mut self) -> Change {
        let change = self.succeeded(Purpose::Write);
        self.asked_now(change)
    }

    /// Notes that a request for this purpose succeeded.
    pub(super) fn succeeded(&mut self, purpose: Purpose) -> Change {
        self.change(|health| {
            health.error = None;
            if purpose == Purpose::Write {
                health.write_error = None;
            }
        })
    }

    /// Notes why a request for this purpose failed.
    pub(super) fn failed(&mut self, purpose: Purpose, failure: Failure) -> Change {
        self.change(|health| health.hold(purpose, failure))
    }

    /// Notes why a check failed. One that fails at a write has listed before.
    pub(super) fn failed_check(&mut self, purpose: Purpose, failure: Failure) -> Change {
        let change = self.change(|health| {
            if !is_of_reading(purpose, &failure) {
                health.error = None;
            }
            health.hold(purpose, failure);
        });
        self.asked_now(change)
    }

    /// Tells the time of a request that the user waits for, also when it changes nothing.
    fn asked_now(&mut self, change: Change) -> Change {
        self.asked_at = Some(Utc::now());
        match change {
            Change::None => Change::Asked,
            change => change,
        }
    }

    fn hold(&mut self, purpose: Purpose, failure: Failure) {
        let held = if is_of_reading(purpose, &failure) {
            &mut self.error
        } else {
            &mut self.write_error
        };
        let since = held
            .as_ref()
            .filter(|held| is_same_outage(held, &failure))
            .and_then(|held| held.since.clone());
        if held.as_ref().is_none_or(|held| !is_same(held, &failure)) {
            *held = Some(Failure {
                since: Some(since.unwrap_or_else(|| rfc3339(Utc::now()))),
                ..failure
            });
        }
    }

    /// Forgets what other settings may have corrected. Without an error, nothing is known until the storage is asked.
    pub(super) fn has_new_settings(&mut self) {
        self.is_known = self.error.is_some();
        self.write_error = None;
        self.ask_at = None;
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Change {
        let was_known = self.is_known;
        let before = self.error().cloned();
        change(self);
        self.is_known = true;
        let pause = match self.error() {
            None => ASKED_EVERY,
            Some(_) => FAILING_ASKED_EVERY,
        };
        self.ask_at = Some(Instant::now() + pause.mul_f64(0.75 + jitter() / 2.0));
        let change = self.difference(was_known, before);
        let now = Utc::now();
        let is_old = self.asked_at.is_none_or(|at| now - at >= ASKED_WITHIN);
        match change {
            Change::None if !is_old => return Change::None,
            _ => self.asked_at = Some(now),
        }
        match change {
            Change::None => Change::Asked,
            change => change,
        }
    }

    fn difference(&mut self, was_known: bool, before: Option<Failure>) -> Change {
        let now = Instant::now();
        match (before, self.error()) {
            (None, None) if was_known => Change::None,
            (None, None) => Change::Works,
            (Some(before), None) => Change::WorksAgain {
                was_away: is_away(&before),
                after: self
                    .failing_since
                    .take()
                    .map_or(Duration::ZERO, |since| now - since),
            },
            (Some(before), Some(error)) if is_same(&before, error) => Change::None,
            (Some(before), Some(error)) if is_same_outage(&before, error) => Change::StillAway,
            (_, Some(_)) => {
                self.failing_since = Some(now);
                Change::Fails
            }
        }
    }
}

/// Whether any answered request disproves it.
fn is_of_reading(purpose: Purpose, failure: &Failure) -> bool {
    purpose == Purpose::Read
        || DISPROVED_BY_READING
            .iter()
            .any(|kind| kind.code() == failure.code)
}

/// Whether both need the same remedy.
fn is_same(one: &Failure, other: &Failure) -> bool {
    (one.code, one.reason) == (other.code, other.reason)
}

/// Whether the storage does not answer, for whichever reason.
fn is_away(failure: &Failure) -> bool {
    failure.retryable()
}

fn is_same_outage(one: &Failure, other: &Failure) -> bool {
    one.code == other.code || (is_away(one) && is_away(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn failure(kind: Kind) -> Failure {
        Failure::from(&Error::new(kind, "what failed"))
    }

    fn code(health: &Health) -> Option<&str> {
        health.error().map(|error| error.code)
    }

    #[tokio::test(start_paused = true)]
    async fn refused_write_is_disproved_by_a_write_alone() {
        let mut health = Health::default();
        assert_eq!(health.succeeded(Purpose::Read), Change::Works);
        let refused = failure(Kind::StorageForbidden);
        assert_eq!(health.failed(Purpose::Write, refused), Change::Fails);
        assert_eq!(health.succeeded(Purpose::Read), Change::None);
        assert_eq!(code(&health), Some("storage_forbidden"));
        // An outage hides it, and does not end it.
        let away = failure(Kind::StorageUnreachable);
        assert_eq!(health.failed(Purpose::Write, away), Change::Fails);
        assert_eq!(health.succeeded(Purpose::Read), Change::Fails);
        assert_eq!(code(&health), Some("storage_forbidden"));
        let works = health.succeeded(Purpose::Write);
        assert!(matches!(works, Change::WorksAgain { .. }), "{works:?}");
        assert_eq!(health.status(), "ok");
    }

    #[tokio::test(start_paused = true)]
    async fn new_settings_are_unknown_until_the_storage_is_asked() {
        let mut health = Health::default();
        health.succeeded(Purpose::Read);
        health.has_new_settings();
        assert_eq!(health.status(), "unknown");
        assert!(health.is_to_be_asked());
        assert_eq!(health.succeeded(Purpose::Read), Change::Works);
        health.failed(Purpose::Write, failure(Kind::StorageForbidden));
        health.has_new_settings();
        assert_eq!(health.status(), "unknown");
        health.failed(Purpose::Read, failure(Kind::StorageUnreachable));
        health.has_new_settings();
        assert_eq!(health.status(), "error");
    }

    #[tokio::test(start_paused = true)]
    async fn check_that_fails_at_a_write_disproves_the_error_of_a_list() {
        let mut health = Health::default();
        health.failed(Purpose::Write, failure(Kind::StorageForbidden));
        health.failed(Purpose::Read, failure(Kind::StorageAuth));
        assert_eq!(code(&health), Some("storage_auth"));
        let refused = failure(Kind::StorageForbidden);
        assert_eq!(health.failed_check(Purpose::Write, refused), Change::Fails);
        assert_eq!(code(&health), Some("storage_forbidden"));
    }

    #[tokio::test(start_paused = true)]
    async fn other_reason_replaces_the_remedy_and_begins_no_outage() {
        let for_reason = |reason| Failure {
            reason,
            ..failure(Kind::StorageCertificate)
        };
        let mut health = Health::default();
        let unknown = health.failed(Purpose::Read, for_reason("certificate_unknown"));
        assert_eq!(unknown, Change::Fails);
        let since = health.error().unwrap().since.clone();
        health.has_new_settings();
        let other_name = health.failed(Purpose::Read, for_reason("certificate_other_name"));
        assert_eq!(other_name, Change::StillAway);
        let error = health.error().unwrap();
        assert_eq!(error.reason, "certificate_other_name");
        assert_eq!(error.since, since);
    }

    #[tokio::test(start_paused = true)]
    async fn each_check_tells_its_time() {
        let mut health = Health::default();
        assert_eq!(health.succeeded_check(), Change::Works);
        assert_eq!(health.succeeded(Purpose::Read), Change::None);
        assert_eq!(health.succeeded_check(), Change::Asked);
    }

    #[tokio::test(start_paused = true)]
    async fn outage_has_one_beginning_and_one_end() {
        let mut health = Health::default();
        let (unreachable, silent) = (Kind::StorageUnreachable, Kind::StorageTimeout);
        assert_eq!(
            health.failed(Purpose::Read, failure(unreachable)),
            Change::Fails
        );
        let since = health.error().unwrap().since.clone();
        tokio::time::advance(Duration::from_mins(12)).await;
        assert_eq!(
            health.failed(Purpose::Read, failure(silent)),
            Change::StillAway
        );
        assert_eq!(health.error().unwrap().since, since);
        assert_eq!(health.failed(Purpose::Read, failure(silent)), Change::None);
        assert_eq!(
            health.succeeded(Purpose::Read),
            Change::WorksAgain {
                was_away: true,
                after: Duration::from_mins(12)
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn storage_is_asked_hourly_and_more_often_while_it_fails() {
        let mut health = Health::default();
        assert!(health.is_to_be_asked());
        health.succeeded(Purpose::Read);
        tokio::time::advance(Duration::from_mins(44)).await;
        assert!(!health.is_to_be_asked());
        tokio::time::advance(Duration::from_mins(32)).await;
        assert!(health.is_to_be_asked());
        health.failed(Purpose::Read, failure(Kind::StorageUnreachable));
        assert!(!health.is_to_be_asked());
        tokio::time::advance(Duration::from_mins(13)).await;
        assert!(health.is_to_be_asked());
    }
}
