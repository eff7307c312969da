//! `list`.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::json;

use super::output::{Output, lines, size};
use super::{Failure, chosen, exit_code_of};
use crate::agent::Agent;
use crate::agent::catalog::View;
use crate::agent::model::Failure as Report;

/// Lists backups, newest first. An unreachable location does not hide the others.
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
                // The storage refused some metadata objects, so the list is incomplete.
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
    exit_code_of(failed)
}

fn show(id: &str, view: &View, output: Output) -> Result<(), Failure> {
    let rows = view.listing.rows();
    let mut text = format!(
        "{id}: {} backup{}",
        rows.len(),
        if rows.len() == 1 { "" } else { "s" }
    );
    for row in &rows {
        let date = row.date.get(..16).unwrap_or(&row.date).replace('T', " ");
        let bytes = size(row.size_bytes);
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
    let entries = &view.listing.entries;
    let backups: Vec<_> = entries.iter().map(|entry| &entry.metadata.json).collect();
    output.result(
        &text,
        &json!({"location": id, "backups": backups, "skipped": view.listing.skipped}),
    )?;
    Ok(())
}
