//! `delete`.

use clap::Args;
use serde_json::json;

use super::CommandError;
use super::output::Output;
use crate::agent::Agent;

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// ID of a location
    #[arg(value_name = "LOC")]
    location: String,
    /// ID of the backup, as shown by `list`
    backup_id: String,
}

/// Deletes a backup.
pub(super) async fn delete(
    agent: &Agent,
    args: &DeleteArgs,
    output: Output,
) -> Result<(), CommandError> {
    let DeleteArgs {
        location,
        backup_id,
    } = args;
    agent.delete(location, backup_id).await?;
    let line = format!("Deleted {backup_id} from {location}.");
    output.result(&line, &json!({"location": location, "deleted": backup_id}))
}
