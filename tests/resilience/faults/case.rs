//! One failing request and its invariants.

use std::time::Duration;

use futures_util::future::join_all;

use super::state::{Whole, assert_list_matches_bucket, sound};
use super::{Deed, Failure, Span};
use crate::lab::call::{Answer, ids};
use crate::lab::{Agent, Imitation, Location, MIB, Sample, Setup, eventually};

/// A case and its server.
pub(super) struct Case {
    deed: Deed,
    number: usize,
    failure: Failure,
    span: Span,
    /// The name of its location.
    location: String,
    server: Imitation,
    /// Existing backups, and the upload.
    samples: Vec<Sample>,
}

/// Cases that share an agent.
pub(super) struct Cases {
    pub(super) agent: Agent,
    pub(super) cases: Vec<Case>,
}

impl Deed {
    /// Existing backups; the operation applies to the last. An upload has its new backup behind
    /// them.
    fn samples(self) -> Vec<Sample> {
        match self {
            Self::UploadSmall => vec![Sample::small("a1")],
            Self::UploadLarge => vec![Sample::new("a1", "Large", 6 * MIB)],
            Self::UploadAgain => vec![Sample::small("a1"), Sample::new("a1", "Nightly", 51_200)],
            Self::Delete | Self::List => vec![Sample::small("b2"), Sample::small("a1")],
        }
    }

    fn uploads(self) -> bool {
        matches!(
            self,
            Self::UploadSmall | Self::UploadLarge | Self::UploadAgain
        )
    }
}

impl Cases {
    pub(super) async fn prepare(deed: Deed, cases: &[(usize, Failure, Span)]) -> Self {
        let cases = cases
            .iter()
            .enumerate()
            .map(async |(index, &(number, failure, span))| {
                let (server, samples) = (Imitation::with([]).await, deed.samples());
                let there = if deed.uploads() {
                    &samples[..samples.len() - 1]
                } else {
                    &samples
                };
                for sample in there {
                    let stem = format!("backups/{}", sample.stem_with_id());
                    server.put(&format!("{stem}.tar"), &sample.tar);
                    server.put(
                        &format!("{stem}.metadata.json"),
                        sample.metadata.to_string(),
                    );
                }
                Case {
                    deed,
                    number,
                    failure,
                    span,
                    location: format!("case{index}"),
                    server,
                    samples,
                }
            });
        let cases = join_all(cases).await;
        // Short retries, five seconds of silence, and little to compute for many cases at once.
        let location = |case: &Case| Location {
            id: case.location.clone(),
            // A single failure is retried; on a busy machine, the retry may be late.
            outage_seconds: if case.span == Span::Once { 30 } else { 8 },
            ..case
                .server
                .location()
                .with("idle_seconds", "5")
                .with("checksum", "off")
        };
        let agent = Setup::with(cases.iter().map(location)).serve().await;
        Self { agent, cases }
    }

    /// The same after the agent was killed and its journals are more than a day old.
    pub(super) async fn a_day_later(mut self) -> Self {
        self.agent.kill();
        self.agent.expire_journals();
        for case in &self.cases {
            case.server.make_older(Duration::from_hours(25));
        }
        let agent = Agent::restarted(self.agent).await;
        eventually("all journals are gone", async || {
            agent.journals().is_empty()
        })
        .await;
        Self {
            agent,
            cases: self.cases,
        }
    }
}

impl Case {
    fn name(&self) -> String {
        let Self {
            deed,
            number,
            failure,
            span,
            ..
        } = self;
        format!("{deed:?}, request {number}, {failure:?}, {span:?}")
    }

    fn sample(&self) -> &Sample {
        self.samples.last().unwrap()
    }

    /// Number of requests until now.
    pub(super) fn requests(&self) -> usize {
        self.server.requests_since()
    }

    /// Performs the operation while requests fail. Errors must be those of the API.
    pub(super) async fn acts(&self, agent: &Agent) -> Result<(), String> {
        let count = if self.span == Span::Once {
            1
        } else {
            usize::MAX
        };
        self.server.fail(self.number, count, self.failure);
        let ended = self.does(agent).await;
        let ended = ended.map_err(|answer| {
            let problem = answer.json();
            assert!(answer.status >= 400, "{}: {answer:?}", self.name());
            problem["code"]
                .as_str()
                .unwrap_or_else(|| panic!("{}: {answer:?}", self.name()))
                .to_owned()
        });
        if self.number <= self.requests() {
            // A single retryable failure is invisible to the caller.
            let is_trouble = self.span == Span::Lasting || !self.failure.is_transient();
            assert!(ended.is_ok() || is_trouble, "{}: {ended:?}", self.name());
        } else {
            assert_eq!(ended, Ok(()), "{}: nothing failed", self.name());
        }
        ended
    }

    async fn does(&self, agent: &Agent) -> Result<(), Box<Answer>> {
        let expect = |answer: Answer, status| {
            if answer.status == status {
                Ok(answer)
            } else {
                Err(Box::new(answer))
            }
        };
        match self.deed {
            Deed::UploadSmall | Deed::UploadLarge | Deed::UploadAgain => {
                let sample = self.sample();
                let created = expect(agent.create(&self.location, sample).await, 201)?;
                let upload_id = created.json()["upload_id"].as_str().unwrap().to_owned();
                expect(agent.content(&upload_id, sample.tar.clone()).await, 200)?;
                expect(agent.complete(&upload_id, sample).await, 200).map(drop)
            }
            Deed::Delete => expect(agent.delete_backup(&self.location, "a1").await, 204).map(drop),
            Deed::List => {
                let path = format!("/v1/locations/{}/backups?refresh=true", self.location);
                let listing = expect(agent.get(&path).await, 200)?.json();
                if listing["stale"] == false {
                    self.lists_all(&listing);
                }
                Ok(())
            }
        }
    }

    /// An object that the server cannot return is skipped and reported.
    fn lists_all(&self, listing: &serde_json::Value) {
        let left_out = listing["skipped"].as_array().unwrap().len();
        assert_eq!(
            ids(listing).len() + left_out,
            self.samples.len(),
            "{}: {listing:#}",
            self.name()
        );
        let is_refused = match self.failure {
            Failure::Denied => true,
            Failure::FailsAfter => self.span == Span::Lasting,
            _ => false,
        };
        assert!(left_out == 0 || is_refused, "{}: {listing:#}", self.name());
    }

    /// Invariants regardless of the answer; then the server is healed.
    pub(super) async fn holds(&self, ended: &Result<(), String>) {
        let (whole, _) = sound(&self.server, &self.samples, &self.name());
        self.assert_matches_answer(&whole, ended);
        self.server.heal();
        if self.span == Span::Once {
            self.assert_consistent(ended.is_ok()).await;
        }
        let (whole, _) = sound(&self.server, &self.samples, &self.name());
        self.assert_matches_answer(&whole, ended);
    }

    /// An acknowledged backup exists, a deleted one does not; a previous one exists or was
    /// replaced.
    fn assert_matches_answer(&self, whole: &Whole, ended: &Result<(), String>) {
        let is_there = |sample: &Sample| whole.contains(&(sample.id().to_owned(), sample.sha256()));
        let said = (self.deed, ended);
        let holds = match said {
            (Deed::UploadSmall | Deed::UploadLarge | Deed::UploadAgain, Ok(())) => {
                is_there(self.sample())
            }
            (Deed::UploadAgain, Err(_)) => self.samples.iter().any(is_there),
            (Deed::Delete, Ok(())) => !is_there(self.sample()) && is_there(&self.samples[0]),
            (Deed::Delete, Err(_)) => is_there(&self.samples[0]),
            (Deed::List, _) => self.samples.iter().all(is_there),
            (Deed::UploadSmall | Deed::UploadLarge, Err(_)) => true,
        };
        assert!(holds, "{}: {ended:?}, and there is {whole:?}", self.name());
    }

    /// After one failed request, no trace of the failure remains; `is_done` tells whether the
    /// operation succeeded.
    pub(super) async fn assert_consistent(&self, is_done: bool) {
        let there = match (self.deed, is_done) {
            (Deed::UploadSmall | Deed::UploadLarge, false) => &self.samples[..0],
            (Deed::UploadAgain, false) | (Deed::Delete, true) => &self.samples[..1],
            (Deed::UploadAgain, true) => &self.samples[1..],
            _ => &self.samples[..],
        };
        let what = format!("{}: only {} backups are there", self.name(), there.len());
        eventually(&what, async || {
            let (whole, alone) = sound(&self.server, &self.samples, &self.name());
            let is_there =
                |sample: &Sample| whole.contains(&(sample.id().to_owned(), sample.sha256()));
            let unfinished = self.server.unfinished().len();
            // A permanently refused deletion leaves the rest of an old copy.
            let may_be_more = self.deed == Deed::UploadAgain && !self.failure.is_transient();
            let is_all = whole.len() == there.len() && alone.is_empty();
            there.iter().all(is_there) && (is_all || may_be_more) && unfinished == self.unknown()
        })
        .await;
    }

    /// Multipart uploads whose ids were lost; the sweep finds them in the server's list.
    fn unknown(&self) -> usize {
        let is_unheard =
            self.deed == Deed::UploadLarge && self.number == 4 && self.failure.takes_effect();
        usize::from(is_unheard)
    }

    /// After the sweep, only whole backups and tars reported as failed exist; then the operation
    /// succeeds.
    pub(super) async fn settles(
        &self,
        agent: &Agent,
        ended: &Result<(), String>,
    ) -> Option<String> {
        let what = format!("{}: no parts are left", self.name());
        eventually(&what, async || self.server.unfinished().is_empty()).await;
        let (whole, alone) = sound(&self.server, &self.samples, &self.name());
        self.assert_matches_answer(&whole, ended);
        assert_list_matches_bucket(agent, &self.location, &whole, &self.name()).await;
        let may_be_alone = self.span == Span::Lasting
            || self.deed == Deed::UploadAgain && !self.failure.is_transient();
        assert!(
            alone.is_empty() || may_be_alone,
            "{}: {alone:?} were left",
            self.name()
        );
        let is_gone = self.deed == Deed::Delete && !whole.iter().any(|(id, _)| id == "a1");
        if !is_gone {
            let again = self.does(agent).await;
            assert!(
                again.is_ok(),
                "{}: it fails after healing: {:?}",
                self.name(),
                again.unwrap_err()
            );
        }
        let whole = sound(&self.server, &self.samples, &self.name()).0;
        self.assert_matches_answer(&whole, &Ok(()));
        (!alone.is_empty()).then(|| format!("{}: {alone:?} without metadata", self.name()))
    }
}
