//! Follows a restore until Home Assistant is back.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cli::output::Output;
use crate::home_assistant::{Failure, FirstPage, HomeAssistant};

/// Pause between two questions to Home Assistant.
pub(super) const ASKED_EVERY: Duration = Duration::from_secs(1);

/// How long Home Assistant may take. It unpacks the backup, and a new version migrates a large database.
const BACK_WITHIN: Duration = Duration::from_hours(1);

/// After this, the user is told that it is not back yet.
const TOLD_AFTER: Duration = Duration::from_mins(3);

/// How long it may show its first page, and do nothing.
const IDLE_FOR: Duration = Duration::from_mins(1);

/// Waits until Home Assistant has restored the backup and serves its pages.
pub(super) async fn follow(home: &HomeAssistant, output: Output) -> Result<(), Failure> {
    let start = Instant::now();
    let not_back = Failure::NotBack {
        url: home.url().to_owned(),
        minutes: BACK_WITHIN.as_secs() / 60,
    };
    let mut idle_since = None;
    let mut is_told = false;
    while start.elapsed() < BACK_WITHIN {
        match home.first_page().await {
            Ok(FirstPage::Done) if home.is_up().await => return Ok(()),
            Ok(FirstPage::Open) => idle_since = look(home, idle_since).await?,
            _ => idle_since = None,
        }
        if !is_told && start.elapsed() > TOLD_AFTER {
            is_told = true;
            let line = format!(
                "Home Assistant is not back yet. {} Stopping this command does not stop the restore.",
                not_back.hint()
            );
            let value =
                json!({"waiting_seconds": start.elapsed().as_secs(), "hint": not_back.hint()});
            output.tell(&line, &value);
        }
        sleep(ASKED_EVERY).await;
    }
    Err(not_back)
}

/// Looks at a Home Assistant that shows its first page: it has not restarted yet, or could not restore. Returns since when
/// it does nothing.
async fn look(
    home: &HomeAssistant,
    idle_since: Option<Instant>,
) -> Result<Option<Instant>, Failure> {
    // It may just restart.
    let Ok(state) = home.manager_state().await else {
        return Ok(None);
    };
    if let Some(reason) = state.failed_restore() {
        return Err(Failure::RestoreFailed(reason.to_owned()));
    }
    if state.has_restored() || !state.is_idle() {
        return Ok(None);
    }
    let since = idle_since.unwrap_or_else(Instant::now);
    if since.elapsed() > IDLE_FOR {
        return Err(Failure::NotStarted);
    }
    Ok(Some(since))
}
