//! Earlier copies of a backup, which a complete upload replaces.

use std::sync::Arc;

use tracing::warn;

use super::plan::Plan;
use crate::agent::cleanup::{Deletion, EarlierCopy};
use crate::store::Error;

/// Deletes earlier copies of a complete backup in the background.
pub(super) fn delete_replaced(plan: &Arc<Plan>) {
    for copy in plan.replaced.clone() {
        let plan = Arc::clone(plan);
        plan.context.tasks.clone().spawn(async move {
            if let Err(error) = delete_copy(&plan, &copy).await {
                let tar = plan.location.folder.keys.tar(&copy.stem);
                warn!("could not delete \"{tar}\", an earlier copy of the backup: {error}");
            }
        });
    }
}

async fn delete_copy(plan: &Plan, copy: &EarlierCopy) -> Result<(), Error> {
    let (location, journals) = (&plan.location, &plan.context.journals);
    let backup_id = &plan.backup.backup_id;
    if let Some(deletion) = Deletion::begin_copy(location, copy, backup_id, journals).await? {
        deletion.finish(plan.patience(), &plan.context.tasks).await;
        location.outdated();
    }
    Ok(())
}
