//! `check`, `list`, `delete`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use super::output::{Output, lines, size};
use super::{Failure, chosen};
use crate::agent::Agent;
use crate::agent::listing::View;
use crate::agent::model::{CheckReport as Checked, CheckStep as Step, Failure as Report};
use crate::error::Reason;

/// Tries locations, and fails when one of them does.
pub(super) async fn check(
    agent: &Arc<Agent>,
    location: Option<&str>,
    output: Output,
) -> Result<(), Failure> {
    let mut failed = None;
    for id in chosen(agent, location)? {
        let checked = agent.check(&id).await?;
        failed = failed.or(checked.error().map(Report::retryable));
        output.result(&text(&id, &checked), &value(&id, &checked))?;
    }
    end(failed)
}

fn text(id: &str, checked: &Checked) -> String {
    let mut lines = vec![id.to_owned()];
    lines.extend(checked.steps.iter().map(step_line));
    let settings = |settings: &BTreeMap<String, String>| {
        settings
            .iter()
            .map(|(key, value)| format!("    {key} = \"{value}\""))
            .collect::<Vec<_>>()
            .join("\n")
    };
    if let Some(corrected) = &checked.corrected {
        // This one was not tried any further than that: see `agent::check`.
        let is_untried = checked
            .error()
            .is_some_and(|error| error.reason == Reason::NoTls.code());
        let heading = if is_untried {
            "There is an answer, without encryption, at"
        } else {
            "It works with"
        };
        lines.push(format!("  {heading}:\n{}", settings(corrected)));
    }
    if let Some(found) = &checked.found {
        lines.push(format!(
            "  It works with these, \"auto\" ones included:\n{}",
            settings(found)
        ));
    }
    lines.extend(
        checked
            .notes
            .iter()
            .map(|note| format!("  note: {}", note.message)),
    );
    lines.join("\n")
}

fn value(id: &str, checked: &Checked) -> Value {
    let mut value = json!(checked);
    value["location"] = json!(id);
    value
}

fn step_line(step: &Step) -> String {
    match &step.error {
        None => format!("  {:<9} ok      {:>6} ms", step.step, step.duration_ms),
        Some(report) => format!(
            "  {:<9} failed  {:>6} ms\n{}",
            step.step,
            step.duration_ms,
            lines(report)
        ),
    }
}

/// Lists backups, newest first. A location that cannot be asked does not hide the others.
pub(super) async fn list(
    agent: &Arc<Agent>,
    location: Option<&str>,
    output: Output,
) -> Result<(), Failure> {
    let ids = chosen(agent, location)?;
    let mut failed = None;
    for id in &ids {
        let report = match agent.list(id, false).await {
            Ok(view) => {
                show(id, &view, output)?;
                // The list has not all that is there.
                let Some(unread) = &view.listing.unread else {
                    continue;
                };
                Report::from(unread)
            }
            Err(error) if ids.len() == 1 => return Err(error.into()),
            Err(error) => Report::from(&error),
        };
        output.result(
            &format!("{id}\n{}", lines(&report)),
            &json!({"location": id, "error": report}),
        )?;
        failed = failed.or(Some(report.retryable()));
    }
    end(failed)
}

/// Says by the exit code what failed first: whether that may pass.
fn end(failed: Option<bool>) -> Result<(), Failure> {
    match failed {
        None => Ok(()),
        Some(true) => Err(Failure::SaidAway),
        Some(false) => Err(Failure::Said),
    }
}

fn show(id: &str, view: &View, output: Output) -> Result<(), Failure> {
    let (entries, rows) = (&view.listing.entries, view.listing.rows());
    let mut text = format!(
        "{id}: {} backup{}",
        rows.len(),
        if rows.len() == 1 { "" } else { "s" }
    );
    for row in &rows {
        let (date, bytes) = (
            row.date.get(..16).unwrap_or(&row.date).replace('T', " "),
            size(row.size_bytes),
        );
        let _ = write!(
            text,
            "\n  {date}  {bytes:>11}  {}  {}",
            row.backup_id, row.name
        );
    }
    for skipped in &view.listing.skipped {
        let _ = write!(
            text,
            "\n  left out: \"{}\", {}",
            skipped.key, skipped.reason
        );
    }
    let backups: Vec<_> = entries.iter().map(|entry| &entry.metadata.json).collect();
    output.result(
        &text,
        &json!({"location": id, "backups": backups, "skipped": view.listing.skipped}),
    )?;
    Ok(())
}

/// Deletes a backup.
pub(super) async fn delete(
    agent: &Agent,
    location: &str,
    backup_id: &str,
    output: Output,
) -> Result<(), Failure> {
    agent.delete(location, backup_id).await?;
    let line = format!("Deleted {backup_id} from {location}.");
    output.result(&line, &json!({"location": location, "deleted": backup_id}))?;
    Ok(())
}
