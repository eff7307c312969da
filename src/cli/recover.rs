//! `recover`.

use std::sync::Arc;

use serde_json::json;

use super::Failure;
use super::output::{Output, size};
use crate::agent::Agent;
use crate::agent::model::{FailedRecovery as Failed, Recovery};
use crate::error::Kind;

/// Adopts tars without metadata: the named ones, or all.
pub(super) async fn recover(
    agent: &Arc<Agent>,
    location: &str,
    keys: &[String],
    dry_run: bool,
    output: Output,
) -> Result<(), Failure> {
    let keys = (!keys.is_empty()).then(|| keys.to_vec());
    let recovery = agent.recover(location, keys, dry_run).await?;
    show(location, &recovery, dry_run, output)?;
    let Some(worst) = recovery.failed.iter().map(code).max() else {
        return Ok(());
    };
    Err(match worst {
        Worst::Away => Failure::ReportedAway,
        Worst::Damaged => Failure::ReportedDamaged,
        Worst::Refused => Failure::Reported,
    })
}

/// The failure that decides the exit code, in rising order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Worst {
    Refused,
    Damaged,
    Away,
}

fn code(failed: &Failed) -> Worst {
    match Kind::ALL
        .into_iter()
        .find(|kind| kind.code() == failed.code)
    {
        Some(kind) if kind.facts().retryable => Worst::Away,
        Some(Kind::InvalidMetadata) => Worst::Damaged,
        _ => Worst::Refused,
    }
}

fn show(location: &str, recovery: &Recovery, dry_run: bool, output: Output) -> Result<(), Failure> {
    let verb = if dry_run {
        "would be adopted"
    } else {
        "adopted"
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
        let line = format!("failed: \"{}\", {}", failed.key, failed.detail);
        output.result(&line, &json!({"location": location, "failed": failed}))?;
    }
    let recovered = recovery.recovered.len();
    let failed = recovery.failed.len();
    let line = format!("{location}: {recovered} {verb}, {failed} failed.");
    let totals =
        json!({"location": location, "dry_run": dry_run, "recovered": recovered, "failed": failed});
    output.result(&line, &totals)?;
    Ok(())
}
