//! Verifies backups on request, and persists the results.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::backup::verify_backup;
use super::record::NotABackup;
use super::records::Records;
use crate::agent::catalog::Entry;
use crate::agent::location::Location;
use crate::agent::model::{Failure, FindingCode, VerifyMode, VerifyReport, VerifyStep};
use crate::agent::registry::Registry;
use crate::agent::task::stopped;
use crate::error::Result;
use crate::store::Patience;

/// Verification of one backup in progress. Dropping it cancels it.
#[derive(Debug)]
pub struct Verification {
    steps: mpsc::Receiver<VerifyStep>,
    task: Option<AbortOnDropHandle<Result<VerifyReport>>>,
}

/// Verifies backups of all locations.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Verifier {
    pub(in crate::agent) locations: Arc<Registry>,
    pub(super) records: Records,
}

impl Verification {
    /// The next step; none after the result.
    ///
    /// # Errors
    /// Why the backup could not be verified; it is the last item.
    pub async fn next(&mut self) -> Option<Result<VerifyStep>> {
        if let Some(step) = self.steps.recv().await {
            return Some(Ok(step));
        }
        let ended = self.task.take()?.await.map_err(stopped).flatten();
        Some(ended.map(VerifyStep::Result))
    }
}

impl Verifier {
    pub(in crate::agent) fn new(locations: Arc<Registry>, state_dir: &Path) -> Self {
        Self {
            locations,
            records: Records::new(state_dir),
        }
    }

    /// Starts to verify a backup.
    pub(in crate::agent) fn start(
        &self,
        location: Arc<Location>,
        entry: Entry,
        mode: VerifyMode,
    ) -> Verification {
        let (sender, steps) = mpsc::channel(1);
        let verifier = self.clone();
        let task =
            tokio::spawn(async move { verifier.verify(&location, entry, mode, sender).await });
        Verification {
            steps,
            task: Some(AbortOnDropHandle::new(task)),
        }
    }

    /// Updates a location's status from the records.
    pub(in crate::agent) fn show(&self, location: &Location) {
        self.show_with(location, location.verify_error());
    }

    /// The same after a run, which may have failed.
    pub(super) fn show_with(&self, location: &Location, error: Option<Failure>) {
        location.set_verification(self.records.of(&location.folder.id), error);
    }

    /// Remembers tars that are no backups, and tells it with a new list; `orphans` are the keys of all tars without metadata.
    pub(in crate::agent) async fn remember_not_backups(
        &self,
        location: &Location,
        found: BTreeMap<String, NotABackup>,
        orphans: BTreeSet<String>,
    ) {
        self.records
            .add_not_backups(&location.folder.id, found, orphans)
            .await;
        location
            .folder
            .set_record(self.records.of(&location.folder.id));
        location.outdated();
    }

    pub(super) async fn verify(
        &self,
        location: &Arc<Location>,
        entry: Entry,
        mode: VerifyMode,
        steps: mpsc::Sender<VerifyStep>,
    ) -> Result<VerifyReport> {
        let mut report = verify_backup(location, &entry, mode, steps).await?;
        if report.ok && mode == VerifyMode::Quick {
            self.repeat_finding(location, &entry, &mut report);
        }
        Self::announce(location, &entry, &report);
        if report.version != entry.tar.version {
            // A status reports damage only of tars in the list.
            drop(location.scan(Patience::INTERACTIVE).await);
        }
        let backup_id = &entry.metadata.backup_id;
        self.records
            .add(&location.folder.id, backup_id, &report)
            .await;
        // Its settings may have changed, or it may be gone.
        if let Some(location) = self.current(location) {
            self.show(&location);
        }
        Ok(report)
    }

    /// A quick look reads too little to refute what a full verification found, at any time before.
    fn repeat_finding(&self, location: &Location, entry: &Entry, report: &mut VerifyReport) {
        let record = self.records.of(&location.folder.id);
        let Some(found) = record.finding(&entry.metadata.backup_id, &report.version) else {
            return;
        };
        let key = &entry.tar.key;
        let detail = format!(
            "A full verification found \"{key}\" damaged, which only another full one can refute. {}",
            found.join(" ")
        );
        report.add(FindingCode::FoundDamaged, detail.trim_end());
    }

    fn announce(location: &Location, entry: &Entry, report: &VerifyReport) {
        let (key, storage) = (entry.tar.key.as_str(), location.store.description());
        let backup_id = &entry.metadata.backup_id;
        for finding in report.problems.iter().chain(&report.notes) {
            warn!(backup_id, key, "{storage} {}", finding.detail);
        }
        if report.ok {
            info!(
                size_bytes = report.size_bytes,
                read_bytes = report.read_bytes,
                "verified \"{key}\" in {storage}: no problem found"
            );
        } else if report
            .problems
            .iter()
            .any(|finding| finding.code.is_missing())
        {
            location.changed(backup_id);
        } else {
            location.outdated();
        }
    }

    /// The location as it is now; none if it was removed or moved to another folder.
    pub(super) fn current(&self, location: &Location) -> Option<Arc<Location>> {
        let current = self.locations.find(location.id()).ok();
        current.filter(|current| current.folder.id == location.folder.id)
    }
}
