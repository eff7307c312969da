//! `check`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::output::{Output, lines};
use super::{CommandError, LocationArgs, chosen, exit_code_of};
use crate::agent::Agent;
use crate::agent::model::{CheckReport, CheckStep, Failure};
use crate::error::Reason;

/// Checks locations; fails when one of them fails.
pub(super) async fn check(
    agent: &Arc<Agent>,
    args: &LocationArgs,
    output: Output,
) -> Result<(), CommandError> {
    let mut failed = None;
    for id in chosen(agent, args.location.as_ref())? {
        let checked = agent.check(&id, None).await?;
        failed = failed.or(checked.error().map(Failure::retryable));
        output.result(&text(&id, &checked), &value(&id, &checked))?;
    }
    exit_code_of(failed)
}

fn text(id: &str, checked: &CheckReport) -> String {
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
        // `agent::check` tried this one no further.
        let is_untried = checked
            .error()
            .is_some_and(|error| error.reason == Reason::NoTls.code());
        let heading = if is_untried {
            "A server answers without encryption at"
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
    lines.extend(checked.notes.iter().filter_map(|note| {
        let (key, value) = (note.key.as_ref()?, note.suggestion.as_ref()?);
        Some(format!("    {key} = \"{value}\""))
    }));
    lines.join("\n")
}

fn value(id: &str, checked: &CheckReport) -> Value {
    let mut value = json!(checked);
    value["location"] = json!(id);
    value
}

fn step_line(step: &CheckStep) -> String {
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
