//! Requests that fail by their number: the first, the second and so on of whatever somebody does from now on.

use std::sync::Mutex;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is refused for now, and nothing was done.
    Unavailable,
    /// It is refused for good, and nothing was done.
    Denied,
    /// It was done, and the answer says that it failed.
    FailsAfter,
    /// Nothing was done, and no answer comes.
    HangsBefore,
    /// It was done, and no answer comes.
    HangsAfter,
    /// Nothing was done, and the connection breaks.
    CutBefore,
    /// It was done, and the connection breaks instead of an answer.
    CutAfter,
    /// It was done, and the connection breaks in the middle of the answer.
    CutAnswer,
    /// The server's clock is so many hours off.
    Skewed(i64),
}

/// When and how.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Number of the first request that fails, from 1.
    from: usize,
    /// How many fail.
    count: usize,
    failure: Failure,
}

/// What was asked for, and how many requests came since.
#[derive(Debug, Default)]
pub(super) struct Failing(Mutex<(Option<Plan>, usize)>);

impl Failure {
    /// Those of single requests.
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

    /// Whether the server did what it was asked for.
    pub(crate) fn takes_effect(self) -> bool {
        matches!(
            self,
            Self::FailsAfter | Self::HangsAfter | Self::CutAfter | Self::CutAnswer
        )
    }

    /// Whether another attempt makes sense.
    pub(crate) fn is_transient(self) -> bool {
        !matches!(self, Self::Denied | Self::Skewed(_))
    }
}

impl Failing {
    /// Makes `count` requests fail, beginning with the one that is number `from` after this call.
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

    /// Lets all requests through, and begins to count anew.
    pub(super) fn heal(&self) {
        *self.0.lock().unwrap() = (None, 0);
    }

    /// Number of requests since the last call of the above.
    pub(super) fn seen(&self) -> usize {
        self.0.lock().unwrap().1
    }

    /// Counts a request, and says whether it fails.
    pub(super) fn next(&self) -> Option<Failure> {
        let (plan, seen) = &mut *self.0.lock().unwrap();
        *seen += 1;
        let plan = plan.filter(|plan| *seen >= plan.from && *seen - plan.from < plan.count)?;
        Some(plan.failure)
    }
}
