//! `copy`.

use std::fmt::Write;
use std::pin::pin;
use std::sync::Arc;

use clap::Args;
use futures_util::StreamExt;
use indicatif::ProgressBar;
use serde_json::json;

use super::CommandError;
use super::output::{Output, left_out, lines, size};
use super::progress::follow_uploads;
use crate::agent::Agent;
use crate::agent::copy::{CopyOutcome, CopyPlan, CopyRequest, Done, Layout};
use crate::agent::model::{Failure, Skipped};

#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// ID of the source location
    from: String,
    /// ID of the target location
    to: String,
    /// IDs of backups, as shown by `list` [default: all]
    #[arg(value_name = "BACKUP_ID")]
    backup_ids: Vec<String>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Copies backups from one location to another.
pub(super) async fn copy(
    agent: &Arc<Agent>,
    args: &CopyArgs,
    output: Output,
) -> Result<(), CommandError> {
    let request = CopyRequest {
        from: args.from.clone(),
        layout: Layout::Agent,
        to: args.to.clone(),
        backup_ids: args.backup_ids.clone(),
        inside: <_>::default(),
    };
    run(agent, &request, args.dry_run, output).await
}

/// Runs a copy, or prints what it would do.
pub(super) async fn run(
    agent: &Arc<Agent>,
    request: &CopyRequest,
    dry_run: bool,
    output: Output,
) -> Result<(), CommandError> {
    let plan = agent.plan_copy(request).await?;
    let mut summary = CopySummary {
        dry_run,
        ..CopySummary::default()
    };
    for skipped in &plan.left_out {
        summary.leave_out(skipped, output)?;
    }
    if dry_run {
        for outcome in plan.outcomes() {
            summary.take(&outcome, &ProgressBar::hidden(), output)?;
        }
    } else {
        carry_out(agent, plan, &request.to, &mut summary, output).await?;
    }
    summary.end(request, output)
}

async fn carry_out(
    agent: &Arc<Agent>,
    plan: CopyPlan,
    to: &str,
    summary: &mut CopySummary,
    output: Output,
) -> Result<(), CommandError> {
    let bar = output.progress(plan.bytes());
    let target = to.to_owned();
    let _following = follow_uploads(agent, &bar, move |upload| upload.location == target);
    let mut outcomes = pin!(agent.copy(plan));
    while let Some(outcome) = outcomes.next().await {
        summary.take(&outcome, &bar, output)?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Totals of a copy.
#[derive(Default)]
struct CopySummary {
    dry_run: bool,
    copied: u64,
    skipped: u64,
    failed: u64,
    left_out: u64,
    bytes: u64,
    missing: u64,
    is_away: bool,
}

impl CopySummary {
    fn leave_out(&mut self, skipped: &Skipped, output: Output) -> Result<(), CommandError> {
        self.left_out += 1;
        output.result(
            &left_out(skipped),
            &json!({"result": "left_out", "key": skipped.key, "reason": skipped.reason}),
        )
    }

    fn take(
        &mut self,
        outcome: &CopyOutcome,
        bar: &ProgressBar,
        output: Output,
    ) -> Result<(), CommandError> {
        let id = &outcome.backup_id;
        let bytes = size(outcome.size);
        let value =
            json!({"backup_id": id, "size": outcome.size, "result": outcome.result.as_ref().ok()});
        let (line, value) = match &outcome.result {
            Ok(done) => (format!("{id}: {} ({bytes})", words(*done)), value),
            Err(error) => {
                let failure = Failure::from(error);
                let code = CommandError::Agent(error.clone()).code();
                self.is_away |= code == 4;
                self.missing += u64::from(code == 3);
                let line = format!("{id}: {}", lines(&failure));
                (
                    line,
                    json!({"backup_id": id, "size": outcome.size, "result": "failed", "error": failure}),
                )
            }
        };
        match outcome.result {
            Ok(Done::Skipped) => self.skipped += 1,
            Ok(_) => {
                self.copied += 1;
                self.bytes += outcome.size;
            }
            Err(_) => self.failed += 1,
        }
        bar.suspend(|| output.result(&line, &value))
    }

    fn end(self, request: &CopyRequest, output: Output) -> Result<(), CommandError> {
        let Self {
            dry_run,
            copied,
            skipped,
            failed,
            left_out,
            bytes,
            missing,
            is_away,
        } = self;
        let verb = if dry_run { "to copy" } else { "copied" };
        let mut line = format!(
            "{} to {}: {copied} {verb} ({}), {skipped} there already, {failed} failed, {left_out} left out.",
            request.from,
            request.to,
            size(bytes)
        );
        if let Layout::Flat(prefix) = &request.layout
            && copied + skipped + failed == 0
        {
            let _ = write!(
                line,
                "\nThe folder \"{prefix}\" holds no backups: choose another one with --from-prefix."
            );
        }
        let totals = json!({
            "from": request.from, "to": request.to, "dry_run": dry_run, "copied": copied, "skipped": skipped,
            "failed": failed, "left_out": left_out, "bytes": bytes,
        });
        output.result(&line, &totals)?;
        match (failed, is_away) {
            (0, _) => Ok(()),
            (_, true) => Err(CommandError::ReportedAway),
            (failed, _) if failed == missing => Err(CommandError::ReportedMissing),
            (_, false) => Err(CommandError::Reported),
        }
    }
}

const fn words(done: Done) -> &'static str {
    match done {
        Done::Copied => "copied",
        Done::CopiedInside => "copied inside the storage",
        Done::Skipped => "there already",
        Done::WouldCopy => "would be copied",
    }
}
