//! `verify`.

use std::sync::Arc;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::output::{Output, left_out, lines, size};
use super::{CommandError, chosen};
use crate::agent::Agent;
use crate::agent::model::{Failure, SkipCode, Skipped, VerifyMode, VerifyReport, VerifyStep};
use crate::error::{Error, Kind, Result};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// ID of a location [default: all]
    #[arg(value_name = "LOC")]
    pub(super) location: Option<String>,
    /// ID of the backup, as shown by `list` [default: all]
    backup_id: Option<String>,
    /// Download each backup and compare its SHA-256, instead of a few small requests
    #[arg(long)]
    full: bool,
}

/// Verifies backups; damage of one does not hide the others.
pub(super) async fn verify(
    agent: &Arc<Agent>,
    args: &VerifyArgs,
    output: Output,
) -> Result<(), CommandError> {
    let mode = if args.full {
        VerifyMode::Full
    } else {
        VerifyMode::Quick
    };
    let mut summary = VerifySummary::default();
    for id in chosen(agent, args.location.as_ref())? {
        match &args.backup_id {
            Some(backup_id) => {
                let bytes = agent.find(&id, backup_id).await?.tar.size;
                let bar = output.progress(if args.full { bytes } else { 0 });
                let verified = run(agent, &id, backup_id, mode, &bar).await;
                bar.finish_and_clear();
                summary.take(&id, backup_id, verified, output)?;
            }
            None => all(agent, &id, mode, &mut summary, output).await?,
        }
    }
    summary.end(mode, output)
}

async fn all(
    agent: &Arc<Agent>,
    id: &str,
    mode: VerifyMode,
    summary: &mut VerifySummary,
    output: Output,
) -> Result<(), CommandError> {
    let view = match agent.list(id, true).await {
        Ok(view) => view,
        Err(error) => return summary.away(id, &error, output),
    };
    if let Some(error) = &view.error {
        return summary.away(id, error, output);
    }
    let entries = &view.listing.entries;
    let unread = view.listing.unread.as_ref();
    for skipped in &view.listing.skipped {
        summary.left_out(id, skipped, unread.is_some(), output)?;
    }
    if let Some(unread) = unread {
        summary.away(id, unread, output)?;
    }
    let total = if mode == VerifyMode::Full {
        entries.iter().map(|entry| entry.tar.size).sum()
    } else {
        0
    };
    let bar = output.progress(total);
    let mut before = 0;
    for entry in entries {
        let backup_id = &entry.metadata.backup_id;
        bar.set_position(before);
        let verified = run(agent, id, backup_id, mode, &bar).await;
        before += entry.tar.size;
        bar.suspend(|| summary.take(id, backup_id, verified, output))?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Verifies one backup.
pub(super) async fn verified(
    agent: &Arc<Agent>,
    id: &str,
    backup_id: &str,
    mode: VerifyMode,
) -> Result<VerifyReport> {
    run(agent, id, backup_id, mode, &ProgressBar::hidden()).await
}

/// Verifies one backup, and advances the bar from its position.
async fn run(
    agent: &Arc<Agent>,
    id: &str,
    backup_id: &str,
    mode: VerifyMode,
    bar: &ProgressBar,
) -> Result<VerifyReport> {
    let mut verification = agent.verify(id, backup_id, mode).await?;
    let start = bar.position();
    while let Some(step) = verification.next().await {
        match step? {
            VerifyStep::Progress { read_bytes, .. } => bar.set_position(start + read_bytes),
            VerifyStep::Result(verified) => return Ok(verified),
        }
    }
    Err(Error::new(
        Kind::Internal,
        "The verification ended without a result.",
    ))
}

/// Totals of a verification.
#[derive(Default)]
struct VerifySummary {
    good: u64,
    damaged: u64,
    failed: u64,
    is_away: bool,
}

impl VerifySummary {
    fn take(
        &mut self,
        id: &str,
        backup_id: &str,
        verified: Result<VerifyReport>,
        output: Output,
    ) -> Result<(), CommandError> {
        let (line, value) = match &verified {
            Ok(verified) => {
                let mut value = json!(verified);
                value["location"] = json!(id);
                value["backup_id"] = json!(backup_id);
                (text(backup_id, verified), value)
            }
            Err(error) => {
                let failure = Failure::from(error);
                let line = format!("{backup_id}: {}", lines(&failure));
                (
                    line,
                    json!({"location": id, "backup_id": backup_id, "error": failure}),
                )
            }
        };
        match verified {
            Ok(verified) if verified.ok => self.good += 1,
            Ok(_) => self.damaged += 1,
            Err(error) => self.fail(&error),
        }
        output.result(&line, &value)
    }

    /// Counts a skipped object as damaged when its tar is missing or its metadata invalid. Metadata that the storage
    /// refused (`is_unread`) proves no damage.
    fn left_out(
        &mut self,
        id: &str,
        skipped: &Skipped,
        is_unread: bool,
        output: Output,
    ) -> Result<(), CommandError> {
        let is_damaged = match skipped.code {
            SkipCode::TarMissing => true,
            SkipCode::InvalidMetadata => !is_unread,
            _ => false,
        };
        self.damaged += u64::from(is_damaged);
        output.result(
            &left_out(skipped),
            &json!({"location": id, "skipped": skipped}),
        )
    }

    fn away(&mut self, id: &str, error: &Error, output: Output) -> Result<(), CommandError> {
        self.fail(error);
        output.location_failure(id, &Failure::from(error))
    }

    fn fail(&mut self, error: &Error) {
        self.failed += 1;
        self.is_away |= error.kind().facts().retryable;
    }

    fn end(self, mode: VerifyMode, output: Output) -> Result<(), CommandError> {
        let Self {
            good,
            damaged,
            failed,
            is_away,
        } = self;
        let line = format!("{good} intact, {damaged} damaged, {failed} not verified.");
        output.result(
            &line,
            &json!({"mode": mode, "good": good, "damaged": damaged, "failed": failed}),
        )?;
        match (damaged, failed, is_away) {
            (0, 0, _) => Ok(()),
            (0, _, true) => Err(CommandError::ReportedAway),
            (0, _, false) => Err(CommandError::Reported),
            _ => Err(CommandError::ReportedDamaged),
        }
    }
}

fn text(backup_id: &str, verified: &VerifyReport) -> String {
    let bytes = size(verified.size_bytes);
    let sha256 = verified.sha256.as_ref().filter(|_| verified.ok);
    let sha256 = sha256
        .map(|sha256| format!(", SHA-256 {sha256}"))
        .unwrap_or_default();
    let result = if verified.ok { "intact" } else { "damaged" };
    let problems = verified.problems.iter().map(|problem| &problem.detail);
    let notes = verified.notes.iter();
    let notes = notes.map(|note| format!("\n  note: {}", note.detail));
    let details = problems.map(|detail| format!("\n  {detail}")).chain(notes);
    format!(
        "{backup_id}: {result} ({bytes}{sha256}){}",
        details.collect::<String>()
    )
}
