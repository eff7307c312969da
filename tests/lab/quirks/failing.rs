//! Requests that fail by number, counted from the moment of the call.

use std::sync::Mutex;

/// Kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Refused temporarily, without effect.
    Unavailable,
    /// Refused permanently, without effect.
    Denied,
    /// Executed, but the answer reports a failure.
    FailsAfter,
    /// Not executed, and never answered.
    HangsBefore,
    /// Executed, and never answered.
    HangsAfter,
    /// Not executed, and the connection breaks.
    CutBefore,
    /// Executed, and the connection breaks before the answer.
    CutAfter,
    /// Executed, and the connection breaks in the middle of the answer.
    CutAnswer,
    /// The server's clock is this many hours off.
    Skewed(i64),
}

/// Moment and kind of a failure.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Number of the first failing request, from 1.
    from: usize,
    /// Count of failing requests.
    count: usize,
    failure: Failure,
}

/// The failures in effect, and the number of requests since.
#[derive(Debug, Default)]
pub(super) struct Failing(Mutex<(Option<Plan>, usize)>);

impl Failure {
    /// Failures of single requests.
    pub(crate) const ALL: [Self; 8] = [
        Self::Unavailable,
        Self::Denied,
        Self::FailsAfter,
        Self::HangsBefore,
        Self::HangsAfter,
        Self::CutBefore,
        Self::CutAfter,
        Self::CutAnswer,
    ];

    /// Returns whether the server executes the request.
    pub(crate) fn takes_effect(self) -> bool {
        matches!(
            self,
            Self::FailsAfter | Self::HangsAfter | Self::CutAfter | Self::CutAnswer
        )
    }

    /// Returns whether a retry makes sense.
    pub(crate) fn is_transient(self) -> bool {
        !matches!(self, Self::Denied | Self::Skewed(_))
    }
}

impl Failing {
    /// Makes `count` requests fail, starting with number `from` after this call.
    pub(super) fn plan(&self, from: usize, count: usize, failure: Failure) {
        *self.0.lock().unwrap() = (
            Some(Plan {
                from,
                count,
                failure,
            }),
            0,
        );
    }

    /// Lets all requests succeed, and restarts the count.
    pub(super) fn heal(&self) {
        *self.0.lock().unwrap() = (None, 0);
    }

    /// Number of requests since the last call of the above.
    pub(super) fn seen(&self) -> usize {
        self.0.lock().unwrap().1
    }

    /// Counts a request and returns its failure, if any.
    pub(super) fn next(&self) -> Option<Failure> {
        let (plan, seen) = &mut *self.0.lock().unwrap();
        *seen += 1;
        let plan = plan.filter(|plan| *seen >= plan.from && *seen - plan.from < plan.count)?;
        Some(plan.failure)
    }
}
