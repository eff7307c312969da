//! Removes what uploads left that nobody went on with in time.
//!
//! Two ways lead to it. The journal knows what this agent stored. The storage, where it may be asked, knows all that is
//! unfinished: also what a lost journal, a lost answer or an agent that is gone for good left. Only what lies in the
//! location's own folder, has a name that an agent gives and was not touched for a day by the storage's own clock is
//! removed, so that neither another instance's upload nor another tool's is hit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval};
use tracing::{debug, info, warn};

use super::Agent;
use super::journal::KEPT_FOR;
use super::location::Location;
use super::upload::abandon;
use crate::store::{Leftover, Leftovers, Patience};

/// How often the journal is looked at, and a storage that could not be asked is asked again.
const INTERVAL: Duration = Duration::from_hours(1);

/// How often a storage is asked.
const ASKED_EVERY: Duration = Duration::from_hours(24);

/// Looks at the start, when a location is new, and then once in a while, until the agent stops.
pub(super) async fn run(agent: Arc<Agent>) {
    let (mut ticks, mut asked) = (interval(INTERVAL), HashMap::new());
    let sweeping = async {
        loop {
            tokio::select! {
                _ = ticks.tick() => sweep_journals(&agent).await,
                () = agent.locations.new_one() => {}
            }
            for location in agent.locations.all() {
                ask(&agent, &location, &mut asked).await;
            }
        }
    };
    tokio::select! {
        () = agent.stopping().cancelled() => {}
        () = sweeping => {}
    }
}

async fn sweep_journals(agent: &Agent) {
    for left in agent.journals.dead().await {
        let (place, key) = (&left.header.place, &left.header.key);
        let Some(location) = agent.locations.with(place, key) else {
            // It may come back.
            debug!("parts of \"{key}\" are left in {place}, which is no location's now");
            continue;
        };
        info!("nobody went on with the upload of \"{key}\" to {place}: removing its parts");
        abandon(&location, left.header, Some(left.journal), &agent.tasks);
    }
}

/// Asks a storage for what is unfinished, when that was not done for a while.
async fn ask(agent: &Agent, location: &Arc<Location>, asked: &mut HashMap<String, Instant>) {
    let place = format!("{} {}", location.id(), location.settings.place());
    if asked.get(&place).is_some_and(|at| at.elapsed() < ASKED_EVERY) {
        return;
    }
    match location.store.leftovers(location.keys.folder(), Patience::INTERACTIVE).await {
        Ok(found) => {
            asked.insert(place, Instant::now());
            let (unfinished, (removed, error)) = (found.all.len(), remove_dead(agent, location, found).await);
            location.history.swept(Some(unfinished), removed, error);
        }
        // With the next look.
        Err(error) if error.outcome.is_transient() => debug!("{error}"),
        Err(error) => {
            asked.insert(place, Instant::now());
            debug!("{error}; only what the journal knows of is removed");
            location.history.swept(None, 0, Some(error.to_string()));
        }
    }
}

/// Removes the dead ones; gives how many, and what went wrong last.
async fn remove_dead(agent: &Agent, location: &Location, found: Leftovers) -> (usize, Option<String>) {
    let (mut removed, mut failed) = (0, None);
    for leftover in &found.all {
        let Some(age) = age_of_dead(agent, location, leftover, &found).await else { continue };
        let (key, place, age_hours) = (&leftover.key, location.store.place(), age.num_hours());
        match location.store.remove_leftover(leftover, Patience::INTERACTIVE).await {
            Ok(()) => {
                removed += 1;
                info!(age_hours, "removed what an unfinished upload of \"{key}\" left in {place}");
            }
            Err(error) => {
                warn!(age_hours, "what an unfinished upload of \"{key}\" left in {place} stays: {error}");
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
) -> Option<chrono::TimeDelta> {
    let kept_for = chrono::TimeDelta::from_std(KEPT_FOR).ok()?;
    if !location.keys.may_be_ours(&leftover.key) || found.now - leftover.begun < kept_for {
        return None;
    }
    // Large uploads over a thin line take days. Where nobody tells when the last part came, it may have been just now.
    let touched = location.store.last_touched(leftover, Patience::INTERACTIVE).await?;
    let age = found.now - touched;
    // Looked at last: an upload may have begun to go on with it meanwhile.
    let is_known =
        location.is_arriving(&leftover.key) || agent.journals.know(location.store.place(), leftover.key.as_str()).await;
    (age >= kept_for && !is_known).then_some(age)
}
