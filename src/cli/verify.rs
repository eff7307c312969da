//! `verify`.

use std::sync::Arc;

use indicatif::ProgressBar;
use serde_json::json;

use super::output::{Output, lines, size};
use super::{Failure, chosen};
use crate::agent::Agent;
use crate::agent::model::{
    Failure as Report, SkipCode, Skipped, VerifyMode as Mode, VerifyReport as Verified,
    VerifyStep as Step,
};
use crate::error::{Error, Kind, Result};

/// Verifies backups; damage of one does not hide the others.
pub(super) async fn verify(
    agent: &Arc<Agent>,
    location: Option<&str>,
    backup_id: Option<&str>,
    full: bool,
    output: Output,
) -> Result<(), Failure> {
    let mode = if full { Mode::Full } else { Mode::Quick };
    let mut summary = Summary::default();
    for id in chosen(agent, location)? {
        match backup_id {
            Some(backup_id) => {
                let bytes = agent.find(&id, backup_id).await?.tar.size;
                let bar = output.progress(if full { bytes } else { 0 });
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
    mode: Mode,
    summary: &mut Summary,
    output: Output,
) -> Result<(), Failure> {
    let view = match agent.list(id, true).await {
        Ok(view) if view.error.is_none() => view,
        Ok(view) => {
            return summary.away(
                id,
                &view.error.unwrap_or_else(|| Error::new(Kind::Internal, "")),
                output,
            );
        }
        Err(error) => return summary.away(id, &error, output),
    };
    let entries = &view.listing.entries;
    let unread = view.listing.unread.as_ref();
    for skipped in &view.listing.skipped {
        summary.left_out(id, skipped, unread.is_some(), output)?;
    }
    if let Some(unread) = unread {
        summary.away(id, unread, output)?;
    }
    let total = if mode == Mode::Full {
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

/// Verifies one backup, and advances the bar from its position.
async fn run(
    agent: &Arc<Agent>,
    id: &str,
    backup_id: &str,
    mode: Mode,
    bar: &ProgressBar,
) -> Result<Verified> {
    let mut verification = agent.verify(id, backup_id, mode).await?;
    let start = bar.position();
    while let Some(step) = verification.next().await {
        match step? {
            Step::Progress { read_bytes, .. } => bar.set_position(start + read_bytes),
            Step::Result(verified) => return Ok(verified),
        }
    }
    Err(Error::new(
        Kind::Internal,
        "The verification ended without a result.",
    ))
}

/// Totals of a verification.
#[derive(Default)]
struct Summary {
    good: u64,
    damaged: u64,
    failed: u64,
    is_away: bool,
}

impl Summary {
    fn take(
        &mut self,
        id: &str,
        backup_id: &str,
        verified: Result<Verified>,
        output: Output,
    ) -> Result<(), Failure> {
        let (line, value) = match &verified {
            Ok(verified) => {
                let mut value = json!(verified);
                value["location"] = json!(id);
                value["backup_id"] = json!(backup_id);
                (text(backup_id, verified), value)
            }
            Err(error) => {
                let report = Report::from(error);
                let line = format!("{backup_id}: {}", lines(&report));
                (
                    line,
                    json!({"location": id, "backup_id": backup_id, "error": report}),
                )
            }
        };
        match verified {
            Ok(verified) if verified.ok => self.good += 1,
            Ok(_) => self.damaged += 1,
            Err(error) => self.fail(&error),
        }
        Ok(output.result(&line, &value)?)
    }

    /// Counts a skipped object as damaged when its tar is missing or its metadata invalid. Metadata that the storage
    /// refused (`is_unread`) proves no damage.
    fn left_out(
        &mut self,
        id: &str,
        skipped: &Skipped,
        is_unread: bool,
        output: Output,
    ) -> Result<(), Failure> {
        let is_damaged = match skipped.code {
            SkipCode::TarMissing => true,
            SkipCode::InvalidMetadata => !is_unread,
            _ => false,
        };
        self.damaged += u64::from(is_damaged);
        let line = format!("left out: \"{}\", {}", skipped.key, skipped.reason);
        Ok(output.result(&line, &json!({"location": id, "skipped": skipped}))?)
    }

    fn away(&mut self, id: &str, error: &Error, output: Output) -> Result<(), Failure> {
        self.fail(error);
        let report = Report::from(error);
        Ok(output.result(
            &format!("{id}\n{}", lines(&report)),
            &json!({"location": id, "error": report}),
        )?)
    }

    fn fail(&mut self, error: &Error) {
        self.failed += 1;
        self.is_away |= error.kind().facts().retryable;
    }

    fn end(self, mode: Mode, output: Output) -> Result<(), Failure> {
        let Self {
            good,
            damaged,
            failed,
            is_away,
        } = self;
        let line = format!("{good} good, {damaged} damaged, {failed} not verified.");
        output.result(
            &line,
            &json!({"mode": mode, "good": good, "damaged": damaged, "failed": failed}),
        )?;
        match (damaged, failed, is_away) {
            (0, 0, _) => Ok(()),
            (0, _, true) => Err(Failure::ReportedAway),
            (0, _, false) => Err(Failure::Reported),
            _ => Err(Failure::ReportedDamaged),
        }
    }
}

fn text(backup_id: &str, verified: &Verified) -> String {
    let bytes = size(verified.size_bytes);
    if verified.ok {
        let sha256 = verified
            .sha256
            .as_ref()
            .map(|sha256| format!(", SHA-256 {sha256}"))
            .unwrap_or_default();
        return format!("{backup_id}: good ({bytes}{sha256})");
    }
    let problems = verified
        .problems
        .iter()
        .map(|finding| format!("\n  {}", finding.detail));
    format!(
        "{backup_id}: damaged ({bytes}){}",
        problems.collect::<String>()
    )
}
