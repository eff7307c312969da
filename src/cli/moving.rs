//! `copy` and `import`.

use std::collections::HashMap;
use std::fmt::Write;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use indicatif::ProgressBar;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use super::Failure;
use super::output::{Output, lines, size};
use crate::agent::Agent;
use crate::agent::copy::{
    CopyOutcome as Outcome, CopyPlan as Plan, CopyRequest as Request, Done, Layout,
};
use crate::agent::model::{Event, Failure as Report, Skipped};

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

/// Takes backups over from the layout of Home Assistant's own S3 integrations.
pub(super) async fn import(
    agent: &Arc<Agent>,
    to: &str,
    from: Option<&str>,
    prefix: Option<&str>,
    dry_run: bool,
    output: Output,
) -> Result<(), Failure> {
    let from = from.unwrap_or(to);
    let own_prefix = || {
        agent
            .location(from)
            .map(|location| location.settings.prefix.clone())
    };
    let prefix = prefix.map_or_else(own_prefix, |prefix| Ok(prefix.to_owned()))?;
    let request = Request {
        from: from.to_owned(),
        layout: Layout::Flat(prefix.clone()),
        to: to.to_owned(),
        backup_ids: Vec::new(),
        inside: <_>::default(),
    };
    run(agent, &request, dry_run, output).await
}

async fn run(
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
    let _following = follow(agent, to, &bar);
    let mut outcomes = pin!(agent.copy(plan));
    while let Some(outcome) = outcomes.next().await {
        summary.take(&outcome, &bar, output)?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Moves the bar with what is stored at the other side, in all uploads together.
fn follow(agent: &Agent, to: &str, bar: &ProgressBar) -> AbortOnDropHandle<()> {
    let (mut events, to, bar) = (agent.events().subscribe(), to.to_owned(), bar.clone());
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut stored: HashMap<String, u64> = HashMap::new();
        while let Ok(event) = events.recv().await {
            if let Event::Upload(upload) = event
                && upload.location == to
            {
                stored.insert(upload.backup_id, upload.stored_bytes);
                bar.set_position(stored.values().sum());
            }
        }
    }))
}

/// What has come of it so far.
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
        let (id, bytes) = (&outcome.backup_id, size(outcome.size));
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
                "\nNo backups lie in the folder \"{prefix}\": name another one with --from-prefix."
            );
        }
        let totals = json!({
            "from": request.from, "to": request.to, "dry_run": dry_run, "copied": copied, "skipped": skipped,
            "failed": failed, "left_out": left_out, "bytes": bytes,
        });
        output.result(&line, &totals)?;
        match (failed, is_away) {
            (0, _) => Ok(()),
            (_, true) => Err(Failure::SaidAway),
            (_, false) => Err(Failure::Said),
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
