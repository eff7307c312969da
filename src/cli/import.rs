//! `import`.

use std::sync::Arc;

use super::Failure;
use super::copy::run;
use super::output::Output;
use crate::agent::Agent;
use crate::agent::copy::{CopyRequest as Request, Layout};

/// Imports backups from the layout of Home Assistant's own S3 integrations.
pub(super) async fn import(
    agent: &Arc<Agent>,
    to: &str,
    from: Option<&str>,
    prefix: Option<&str>,
    dry_run: bool,
    output: Output,
) -> Result<(), Failure> {
    let from = from.unwrap_or(to);
    let own_prefix = || {
        agent
            .location(from)
            .map(|location| location.settings.prefix.clone())
    };
    let prefix = prefix.map_or_else(own_prefix, |prefix| Ok(prefix.to_owned()))?;
    let request = Request {
        from: from.to_owned(),
        layout: Layout::Flat(prefix.clone()),
        to: to.to_owned(),
        backup_ids: Vec::new(),
        inside: <_>::default(),
    };
    run(agent, &request, dry_run, output).await
}
