//! `delete`.

use serde_json::json;

use super::Failure;
use super::output::Output;
use crate::agent::Agent;

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
