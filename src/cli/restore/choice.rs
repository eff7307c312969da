//! Which backup is restored: the named one, or the newest that is complete.

use std::sync::Arc;

use serde_json::json;

use crate::agent::Agent;
use crate::agent::catalog::Entry;
use crate::agent::model::{FindingCode, VerifyMode, VerifyReport};
use crate::cli::CommandError;
use crate::cli::output::Output;
use crate::cli::verify::verified;
use crate::error::{Error, Kind};

/// A backup that was chosen, with what a look at it showed.
pub(super) struct Choice {
    pub(super) entry: Entry,
    /// What it lacks, as sentences.
    pub(super) notes: Vec<String>,
}

/// Chooses a backup, and looks into its headers: backups of earlier agents and of other tools have no inventory.
///
/// # Errors
/// [`Kind::BackupNotFound`], [`Kind::ChecksumMismatch`] for a damaged one, and errors of the storage.
pub(super) async fn choose(
    agent: &Arc<Agent>,
    location: &str,
    backup_id: Option<&str>,
    output: Output,
) -> Result<Choice, CommandError> {
    if let Some(backup_id) = backup_id {
        let report = verified(agent, location, backup_id, VerifyMode::Quick).await?;
        if let Some(problem) = report.problems.first() {
            let detail = format!("The backup {backup_id} is damaged. {}", problem.detail);
            let error = Error::new(Kind::ChecksumMismatch, detail)
                .with_hint("Restore another backup; this one cannot be trusted.");
            return Err(error.into());
        }
        return choice(agent, location, backup_id, &report).await;
    }
    let view = agent.list(location, true).await?;
    if let Some(unread) = &view.listing.unread {
        // The newest may be among those that cannot be read.
        return Err(unread.clone().into());
    }
    for row in view.listing.rows().iter() {
        let report = verified(agent, location, &row.backup_id, VerifyMode::Quick).await?;
        let Some(why) = flaw(&report) else {
            return choice(agent, location, &row.backup_id, &report).await;
        };
        let backup_id = &row.backup_id;
        let line = format!("Passed over {backup_id}, {}: {why}", row.name);
        output.result(&line, &json!({"passed_over": backup_id, "reason": why}))?;
    }
    let detail = format!("There is no complete backup in \"{location}\".");
    let error = Error::new(Kind::BackupNotFound, detail)
        .with_hint("Name one to restore what it has: `list` shows all.");
    Err(error.into())
}

/// Why a backup is not restored unless it is named.
fn flaw(report: &VerifyReport) -> Option<&str> {
    let incomplete = report.notes.iter();
    let mut incomplete = incomplete.filter(|note| note.code == FindingCode::Incomplete);
    let flaw = report.problems.first().or_else(|| incomplete.next())?;
    Some(&flaw.detail)
}

async fn choice(
    agent: &Arc<Agent>,
    location: &str,
    backup_id: &str,
    report: &VerifyReport,
) -> Result<Choice, CommandError> {
    let notes = report.notes.iter();
    Ok(Choice {
        entry: agent.find(location, backup_id).await?,
        notes: notes.map(|note| note.detail.clone()).collect(),
    })
}
