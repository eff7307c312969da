//! Which backup is restored: the named one, or the newest that is complete.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::agent::catalog::{Entry, Listing};
use crate::agent::model::{FindingCode, VerifyMode, VerifyReport};
use crate::cli::CommandError;
use crate::cli::output::{Output, left_out};
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
    newest(agent, location, output).await
}

/// The newest complete backup that restores a system.
async fn newest(
    agent: &Arc<Agent>,
    location: &str,
    output: Output,
) -> Result<Choice, CommandError> {
    let view = agent.list(location, true).await?;
    if let Some(unread) = &view.listing.unread {
        // The newest may be among those that cannot be read.
        return Err(unread.clone().into());
    }
    of_one_home(&view.listing, location)?;
    for skipped in &view.listing.skipped {
        // It may be newer.
        let value = json!({"location": location, "skipped": skipped});
        output.result(&left_out(skipped), &value)?;
    }
    for row in view.listing.rows().iter() {
        let backup_id = &row.backup_id;
        let why = if has_home_assistant(&view.listing, backup_id) {
            let report = verified(agent, location, backup_id, VerifyMode::Quick).await?;
            match flaw(&report) {
                None => return choice(agent, location, backup_id, &report).await,
                Some(why) => why.to_owned(),
            }
        } else {
            "it does not contain Home Assistant itself.".to_owned()
        };
        let line = format!("Passed over {backup_id}, {}: {why}", row.name);
        output.result(&line, &json!({"passed_over": backup_id, "reason": why}))?;
    }
    let detail = format!("There is no complete backup in \"{location}\".");
    let error = Error::new(Kind::BackupNotFound, detail)
        .with_hint("Name one to restore what it has: `list` shows all.");
    Err(error.into())
}

/// Refuses to choose among backups of several homes, which may share a folder.
fn of_one_home(listing: &Listing, location: &str) -> Result<(), Error> {
    let mut homes = BTreeMap::new();
    for row in listing.rows().iter() {
        let fields = fields_of(listing, &row.backup_id);
        if let Some(home) = fields["extra_metadata"]["instance_id"].as_str() {
            let date = row.date.get(..10).unwrap_or(&row.date);
            let newest = format!("{} ({}, {date})", row.backup_id, row.name);
            homes.entry(home.to_owned()).or_insert(newest);
        }
    }
    if homes.len() < 2 {
        return Ok(());
    }
    let newest: Vec<_> = homes.into_values().collect();
    let detail = format!(
        "\"{location}\" has backups of {} homes. The newest of each: {}.",
        newest.len(),
        newest.join(", ")
    );
    let error = Error::new(Kind::InvalidRequest, detail);
    Err(error.with_hint("Name the backup to restore by its ID: `list` shows all."))
}

/// Whether a backup restores a system, and not only apps or folders.
fn has_home_assistant(listing: &Listing, backup_id: &str) -> bool {
    let fields = fields_of(listing, backup_id);
    fields["homeassistant_included"] == true && fields["homeassistant_version"].is_string()
}

fn fields_of(listing: &Listing, backup_id: &str) -> Value {
    let entry = listing.find(backup_id);
    let fields = entry.and_then(|entry| serde_json::from_str(entry.metadata.json.get()).ok());
    fields.unwrap_or_default()
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
