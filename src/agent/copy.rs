//! Copies backups from one location to another, or imports them from a folder of another layout.
//!
//! A plan compares one scan of each side, then it is carried out. Existing backups are skipped, so an interrupted copy
//! continues when it is started again, and resumes its uploads by their journals. The source is only read.

mod plan;
mod transfer;

use std::sync::{Arc, OnceLock};

use futures_util::{Stream, StreamExt, stream};

use super::uploads::Uploads;
use plan::Action;
pub(super) use plan::plan;
pub use plan::{CopyOutcome, CopyPlan, CopyRequest, CopyStep, Done, InsideLimits, Layout};

/// Small backups that are copied concurrently. One of a few KiB costs six requests, mostly latency.
const SMALL_IN_FLIGHT: usize = 4;

/// Carries out a plan: first what needs no copy, then small backups concurrently, then large ones one by one.
pub(super) fn run(
    uploads: Arc<Uploads>,
    plan: CopyPlan,
) -> impl Stream<Item = CopyOutcome> + use<> {
    let part_size = plan.to.settings.part_size;
    let refused = OnceLock::new();
    if !plan.is_inside {
        let _ = refused.set(());
    }
    let copying = Arc::new(transfer::Copying {
        uploads,
        from: plan.from,
        folder: plan.folder,
        to: plan.to,
        inside: plan.inside,
        refused,
    });
    let (to_copy, settled): (Vec<_>, Vec<_>) = plan
        .steps
        .into_iter()
        .partition(|step| matches!(step.action, Action::Copy(_)));
    let (small, large): (Vec<_>, Vec<_>) =
        to_copy.into_iter().partition(|step| step.size <= part_size);
    let run = move |step: CopyStep| {
        let copying = Arc::clone(&copying);
        async move {
            let result = match &step.action {
                Action::Copy(entry) => copying.run(entry).await,
                _ => Ok(Done::Skipped),
            };
            step.outcome(result)
        }
    };
    stream::iter(settled)
        .map(run.clone())
        .buffered(1)
        .chain(
            stream::iter(small)
                .map(run.clone())
                .buffer_unordered(SMALL_IN_FLIGHT),
        )
        .chain(stream::iter(large).map(run).buffered(1))
}
