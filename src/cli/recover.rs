//! `recover`.

use std::fmt::Write;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::CommandError;
use super::output::{Output, size};
use crate::agent::Agent;
use crate::agent::model::{FailedRecovery, Recovery};
use crate::error::Kind;

#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// ID of a location
    #[arg(value_name = "LOC")]
    location: String,
    /// Keys of archives, anywhere in the bucket: one outside the location's folder is copied into it [default: all that
    /// `list` shows]
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Adopts tars without metadata: the named ones, or all.
pub(super) async fn recover(
    agent: &Arc<Agent>,
    args: &RecoverArgs,
    output: Output,
) -> Result<(), CommandError> {
    let RecoverArgs {
        location,
        keys,
        dry_run,
    } = args;
    let keys = (!keys.is_empty()).then(|| keys.clone());
    let recovery = agent.recover(location, keys, *dry_run).await?;
    show(location, &recovery, *dry_run, output)?;
    let Some(worst) = recovery.failed.iter().map(code).max() else {
        return Ok(());
    };
    Err(match worst {
        WorstFailure::Away => CommandError::ReportedAway,
        WorstFailure::Damaged => CommandError::ReportedDamaged,
        WorstFailure::Refused => CommandError::Reported,
    })
}

/// The failure that decides the exit code, in rising order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum WorstFailure {
    Refused,
    Damaged,
    Away,
}

fn code(failed: &FailedRecovery) -> WorstFailure {
    match Kind::ALL
        .into_iter()
        .find(|kind| kind.code() == failed.code)
    {
        Some(kind) if kind.facts().retryable => WorstFailure::Away,
        Some(Kind::InvalidMetadata) => WorstFailure::Damaged,
        _ => WorstFailure::Refused,
    }
}

/// Whether nothing is wrong: the tar is no candidate, or not yet.
fn is_skipped(failed: &FailedRecovery) -> bool {
    ["duplicate", "under_way", "has_metadata"].contains(&failed.code)
}

fn line_of(failed: &FailedRecovery) -> String {
    let FailedRecovery { key, detail, .. } = failed;
    let verb = if is_skipped(failed) {
        "skipped"
    } else {
        "failed"
    };
    // Most details name the tar.
    if detail.contains(key) {
        format!("{verb}: {detail}")
    } else {
        format!("{verb} \"{key}\": {detail}")
    }
}

fn show(
    location: &str,
    recovery: &Recovery,
    dry_run: bool,
    output: Output,
) -> Result<(), CommandError> {
    let verb = if dry_run {
        "metadata would be restored"
    } else {
        "metadata restored"
    };
    for recovered in &recovery.recovered {
        let bytes = size(recovered.size_bytes);
        let key = &recovered.key;
        let line = format!(
            "{}: {verb} ({bytes}), {}, \"{key}\"",
            recovered.backup_id, recovered.name
        );
        output.result(
            &line,
            &json!({"location": location, "recovered": recovered}),
        )?;
    }
    for failed in &recovery.failed {
        output.result(
            &line_of(failed),
            &json!({"location": location, "failed": failed}),
        )?;
    }
    let recovered = recovery.recovered.len();
    let failed = recovery.failed.len();
    let skipped = recovery.failed.iter().filter(|it| is_skipped(it)).count();
    let mut line = format!(
        "{location}: {recovered} {verb}, {skipped} skipped, {} failed.",
        failed - skipped
    );
    let young = recovery.too_young;
    if young > 0 {
        let (s, they) = if young == 1 {
            ("", "it")
        } else {
            ("s", "they")
        };
        let _ = write!(
            line,
            "\n{young} archive{s} without metadata left alone: {they} may belong to an upload in progress. Run this again \
             when no upload is running and {they} {} older than an hour.",
            if young == 1 { "is" } else { "are" }
        );
    }
    let totals = json!({"location": location, "dry_run": dry_run, "recovered": recovered, "failed": failed, "too_young": young});
    output.result(&line, &totals)
}
