//! `list`.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::json;

use super::output::{Output, left_out, size};
use super::{CommandError, LocationArgs, chosen, exit_code_of};
use crate::agent::Agent;
use crate::agent::beside::beside;
use crate::agent::catalog::View;
use crate::agent::model::{Beside, Failure};
use crate::agent::nearby::{Nearby, nearby};

/// Lists backups, newest first. An unreachable location does not hide the others.
pub(super) async fn list(
    agent: &Arc<Agent>,
    args: &LocationArgs,
    output: Output,
) -> Result<(), CommandError> {
    let ids = chosen(agent, args.location.as_ref())?;
    let mut failed = None;
    for id in &ids {
        let failure = match agent.list(id, false).await {
            Ok(view) => {
                let elsewhere = if view.listing.is_empty() {
                    nearby(&*agent.location(id)?).await
                } else {
                    None
                };
                let around = Around {
                    elsewhere,
                    beside: beside(&*agent.location(id)?).await,
                };
                show(id, &view, &around, output)?;
                // The storage refused some metadata objects, so the list is incomplete.
                let Some(unread) = &view.listing.unread else {
                    continue;
                };
                Failure::from(unread)
            }
            Err(error) if ids.len() == 1 => return Err(error.into()),
            Err(error) => Failure::from(&error),
        };
        output.location_failure(id, &failure)?;
        failed = failed.or(Some(failure.retryable()));
    }
    exit_code_of(failed)
}

/// What the bucket has outside the location's folder.
struct Around {
    elsewhere: Option<Nearby>,
    beside: Option<Beside>,
}

fn show(id: &str, view: &View, around: &Around, output: Output) -> Result<(), CommandError> {
    let Around { elsewhere, beside } = around;
    let rows = view.listing.rows();
    let mut text = format!(
        "{id}: {} backup{}",
        rows.len(),
        if rows.len() == 1 { "" } else { "s" }
    );
    for row in rows.iter() {
        let date = row.date.get(..16).unwrap_or(&row.date).replace('T', " ");
        let bytes = size(row.size_bytes);
        let _ = write!(
            text,
            "\n  {date}  {bytes:>11}  {}  {}",
            row.backup_id, row.name
        );
        if let Some(faults) = &row.faults {
            let _ = write!(text, "\n      incomplete: {faults}");
        }
    }
    for skipped in &view.listing.skipped {
        let _ = write!(text, "\n  {}", left_out(skipped));
    }
    if let Some(elsewhere) = elsewhere {
        let _ = write!(text, "\n  {}", elsewhere.sentence());
    }
    if let Some(beside) = beside {
        let _ = write!(text, "\n  {}", beside.sentence(id));
    }
    let entries = &view.listing.entries;
    let backups: Vec<_> = entries.iter().map(|entry| &entry.metadata.json).collect();
    output.result(
        &text,
        &json!({
            "location": id, "backups": backups, "skipped": view.listing.skipped,
            "beside": beside,
            "elsewhere": elsewhere.as_ref().map(|nearby| json!({"prefix": nearby.prefix, "backups": nearby.backups})),
        }),
    )
}
