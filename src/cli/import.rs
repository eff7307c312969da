//! `import`.

use std::sync::Arc;

use clap::Args;

use super::CommandError;
use super::copy::run;
use super::output::Output;
use crate::agent::Agent;
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
    run(agent, &request, args.dry_run, output).await
}
