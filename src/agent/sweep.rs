//! Removes what uploads left that nobody went on with in time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::interval;
use tracing::{debug, info};

use super::Agent;
use super::upload::abandon;

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_hours(1);

/// Looks at the start and then once in a while, until the agent stops.
pub(super) async fn run(agent: Arc<Agent>) {
    let mut ticks = interval(INTERVAL);
    loop {
        tokio::select! {
            () = agent.stopping().cancelled() => return,
            _ = ticks.tick() => sweep(&agent).await,
        }
    }
}

async fn sweep(agent: &Agent) {
    for left in agent.journals.old().await {
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
