//! `copy`.

use std::fmt::Write;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use indicatif::ProgressBar;
use serde_json::json;

use super::Failure;
use super::output::{Output, lines, size};
use super::progress::follow_uploads;
use crate::agent::Agent;
use crate::agent::copy::{
    CopyOutcome as Outcome, CopyPlan as Plan, CopyRequest as Request, Done, Layout,
};
use crate::agent::model::{Failure as Report, Skipped};

/// Copies backups from one location to another.
pub(super) async fn copy(
    agent: &Arc<Agent>,
    from: &str,
    to: &str,
    backup_ids: &[String],
    dry_run: bool,
    output: Output,
) -> Result<(), Failure> {
    let request = Request {
        from: from.to_owned(),
        layout: Layout::Agent,
        to: to.to_owned(),
        backup_ids: backup_ids.to_vec(),
        inside: <_>::default(),
    };
    run(agent, &request, dry_run, output).await
}

/// Runs a copy, or prints what it would do.
pub(super) async fn run(
    agent: &Arc<Agent>,
    request: &Request,
    dry_run: bool,
    output: Output,
) -> Result<(), Failure> {
    let plan = agent.plan_copy(request).await?;
    let mut summary = Summary {
        dry_run,
        ..Summary::default()
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
    plan: Plan,
    to: &str,
    summary: &mut Summary,
    output: Output,
) -> Result<(), Failure> {
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
struct Summary {
    dry_run: bool,
    copied: u64,
    skipped: u64,
    failed: u64,
    left_out: u64,
    bytes: u64,
    is_away: bool,
}

impl Summary {
    fn leave_out(&mut self, skipped: &Skipped, output: Output) -> Result<(), Failure> {
        self.left_out += 1;
        let line = format!("left out: \"{}\", {}", skipped.key, skipped.reason);
        output.result(
            &line,
            &json!({"result": "left_out", "key": skipped.key, "reason": skipped.reason}),
        )?;
        Ok(())
    }

    fn take(
        &mut self,
        outcome: &Outcome,
        bar: &ProgressBar,
        output: Output,
    ) -> Result<(), Failure> {
        let id = &outcome.backup_id;
        let bytes = size(outcome.size);
        let value =
            json!({"backup_id": id, "size": outcome.size, "result": outcome.result.as_ref().ok()});
        let (line, value) = match &outcome.result {
            Ok(done) => (format!("{id}: {} ({bytes})", words(*done)), value),
            Err(error) => {
                let report = Report::from(error);
                self.is_away |= Failure::Agent(error.clone()).code() == 4;
                let line = format!("{id}: {}", lines(&report));
                (
                    line,
                    json!({"backup_id": id, "size": outcome.size, "result": "failed", "error": report}),
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
        bar.suspend(|| output.result(&line, &value))?;
        Ok(())
    }

    fn end(self, request: &Request, output: Output) -> Result<(), Failure> {
        let Self {
            dry_run,
            copied,
            skipped,
            failed,
            left_out,
            bytes,
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
            (_, true) => Err(Failure::ReportedAway),
            (_, false) => Err(Failure::Reported),
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
