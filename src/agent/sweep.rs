//! Removes what uploads left that nobody went on with in time.
//!
//! Two ways lead to it. The journal knows what this agent stored. The storage, where it may be asked, knows all that is
//! unfinished: also what a lost journal, a lost answer or an agent that is gone for good left. Only what lies in the
//! location's own folder, has a name that an agent gives and was not touched for a day by the storage's own clock is
//! removed, so that neither another instance's upload nor another tool's is hit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use tokio::time::{Instant, interval};
use tracing::{debug, info, warn};

use super::Agent;
use super::journal;
use super::location::Location;
use super::removal::abandon;
use crate::store::{Leftover, Leftovers, Patience};

/// How often the journal is looked at, and a storage that could not be asked is asked again.
const INTERVAL: Duration = Duration::from_hours(1);

/// How often a storage is asked.
const ASKED_EVERY: Duration = Duration::from_hours(6);

/// What nobody touched for this long is dead.
const KEPT_FOR: TimeDelta = TimeDelta::seconds(journal::KEPT_FOR.as_secs().cast_signed());

/// Home Assistant tells of its locations when it is up.
const REGISTERED_WITHIN: Duration = Duration::from_mins(10);

/// What is left in one place, and looked at in one look: the rest has its turn when these are gone.
const MAX_LOOKED_AT: usize = 1000;

/// Looks at the start, when a location is new, and then once in a while, until the agent stops.
pub(super) async fn run(agent: Arc<Agent>) {
    let (mut ticks, mut sweep) = (interval(INTERVAL), Sweep::default());
    let sweeping = async {
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = agent.locations.new_one() => {}
            }
            sweep.journals(&agent).await;
            sweep.storages(&agent).await;
        }
    };
    tokio::select! {
        () = agent.stopping().cancelled() => {}
        () = sweeping => {}
    }
}

/// What earlier looks came to.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// When each storage was asked.
    asked: HashMap<String, Instant>,
    /// Keys and places that no location leads to, and since when; nothing once that was said.
    unclaimed: HashMap<String, Option<Instant>>,
}

impl Sweep {
    pub(super) async fn journals(&mut self, agent: &Agent) {
        for left in agent.journals.dead().await {
            let (place, key) = (&left.header.place, &left.header.key);
            if let Some(location) = agent.locations.with(place, key) {
                info!("nobody goes on with \"{key}\" in {place}: what is left of it goes");
                abandon(&location, left, &agent.tasks);
            } else {
                let since = self
                    .unclaimed
                    .entry(format!("{key} {place}"))
                    .or_insert_with(|| Some(Instant::now()));
                if since.is_some_and(|since| since.elapsed() >= REGISTERED_WITHIN) {
                    *since = None;
                    warn!(
                        "what an upload left of \"{key}\" stays in {place}, which is no location's now"
                    );
                }
            }
        }
    }

    async fn storages(&mut self, agent: &Agent) {
        let is_due = |location: &Arc<Location>| {
            let asked = self.asked.get(&place(location));
            asked.is_none_or(|at| at.elapsed() >= ASKED_EVERY)
        };
        let due = agent.locations.all().into_iter().filter(is_due);
        // At the same time: one that is slow to answer keeps no other from its turn.
        let looks = due.map(async |location| {
            ask(agent, &location)
                .await
                .then(|| (place(&location), Instant::now()))
        });
        self.asked
            .extend(join_all(looks).await.into_iter().flatten());
    }
}

fn place(location: &Location) -> String {
    format!("{} {}", location.id(), location.settings.place())
}

/// Asks a storage for what is unfinished, and says whether that is done for a while.
async fn ask(agent: &Agent, location: &Arc<Location>) -> bool {
    match location
        .store
        .leftovers(location.keys.folder(), Patience::INTERACTIVE)
        .await
    {
        Ok(found) => {
            let (unfinished, (removed, error)) =
                (found.all.len(), remove_dead(agent, location, found).await);
            location.history.swept(Some(unfinished), removed, error);
            true
        }
        // With the next look.
        Err(error) if error.outcome.is_transient() => {
            debug!("{error}");
            false
        }
        Err(error) => {
            debug!("{error}; only what the journal knows of is removed");
            location.history.swept(None, 0, Some(error.to_string()));
            true
        }
    }
}

/// Removes the dead ones; gives how many, and what went wrong last.
async fn remove_dead(
    agent: &Agent,
    location: &Location,
    found: Leftovers,
) -> (usize, Option<String>) {
    let (mut removed, mut failed) = (0, None);
    let is_old = |leftover: &&Leftover| {
        found.now - leftover.begun >= KEPT_FOR && location.keys.may_be_ours(&leftover.key)
    };
    for leftover in found.all.iter().filter(is_old).take(MAX_LOOKED_AT) {
        let Some(age) = age_of_dead(agent, location, leftover, &found).await else {
            continue;
        };
        let (key, place, age_hours) = (&leftover.key, location.store.place(), age.num_hours());
        match location
            .store
            .remove_leftover(leftover, Patience::INTERACTIVE)
            .await
        {
            Ok(()) => {
                removed += 1;
                info!(
                    age_hours,
                    "removed what an unfinished upload of \"{key}\" left in {place}"
                );
            }
            Err(error) => {
                warn!(
                    age_hours,
                    "what an unfinished upload of \"{key}\" left in {place} stays: {error}"
                );
                failed = Some(error.to_string());
            }
        }
    }
    (removed, failed)
}

/// How long nobody was at it, when that is long enough and it is ours to remove.
async fn age_of_dead(
    agent: &Agent,
    location: &Location,
    leftover: &Leftover,
    found: &Leftovers,
) -> Option<TimeDelta> {
    // Large uploads over a thin line take days. Where nobody tells when the last part came, it may have been just now.
    let touched = location
        .store
        .last_touched(leftover, Patience::INTERACTIVE)
        .await?;
    let age = found.now - touched;
    // Looked at last: an upload may have begun to go on with it meanwhile.
    let known = agent
        .journals
        .of_key(location.store.place(), leftover.key.as_str())
        .await;
    let is_known = match leftover.upload_id() {
        Some(id) if !known.is_empty() => known
            .iter()
            .any(|header| header.upload_id.as_deref() == Some(id)),
        _ => !known.is_empty() || location.folder.has_upload(&leftover.key),
    };
    (age >= KEPT_FOR && !is_known).then_some(age)
}
