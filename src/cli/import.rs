//! `import`.

use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::CommandError;
use super::copy::run;
use super::output::Output;
use crate::agent::Agent;
use crate::agent::beside::beside;
use crate::agent::copy::{CopyRequest, Layout};

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// ID of the target location
    #[arg(value_name = "LOC")]
    to: String,
    /// ID of the source location [default: the target]
    #[arg(long, value_name = "LOC")]
    from: Option<String>,
    /// Folder of the originals, which may be "" [default: the source location's prefix]
    #[arg(long, value_name = "PREFIX")]
    from_prefix: Option<String>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Imports backups from the layout of Home Assistant's own S3 integrations.
pub(super) async fn import(
    agent: &Arc<Agent>,
    args: &ImportArgs,
    output: Output,
) -> Result<(), CommandError> {
    let from = args.from.as_ref().unwrap_or(&args.to);
    let prefix = match &args.from_prefix {
        Some(prefix) => prefix.clone(),
        None => agent.location(from)?.settings.prefix.clone(),
    };
    let request = CopyRequest {
        from: from.clone(),
        layout: Layout::Flat(prefix),
        to: args.to.clone(),
        backup_ids: Vec::new(),
        inside: <_>::default(),
    };
    // Archives that were adopted already are in the list.
    if agent.list(&args.to, false).await.is_ok()
        && let Some(beside) = beside(&*agent.location(&args.to)?).await
    {
        let value = json!({"result": "beside", "beside": beside});
        output.result(&beside.sentence(&args.to), &value)?;
    }
    run(agent, &request, args.dry_run, output).await
}
