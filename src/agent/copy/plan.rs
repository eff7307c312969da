//! Plan of a copy: one scan of each side, compared.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use crate::agent::catalog::{Entry, Listing, scan_flat};
use crate::agent::location::Location;
use crate::agent::model::Skipped;
use crate::backup::Damage;
use crate::error::{Error, Kind, Result};
use crate::store::flat_folder;

/// Largest object that S3 copies in one request, and the part size of larger ones: a part takes less than a minute, so
/// that an interruption costs little.
/// Source: "Copying, moving, and renaming objects" in Amazon's user guide.
const INSIDE: InsideLimits = InsideLimits {
    single: 5 << 30,
    part_size: 128 << 20,
};

/// What to copy.
#[derive(Debug, Clone)]
pub struct CopyRequest {
    /// Id of the source location.
    pub from: String,
    /// Layout of the source folder.
    pub layout: Layout,
    /// Id of the target location.
    pub to: String,
    /// Ids of the backups; empty for all.
    pub backup_ids: Vec<String>,
    /// Limits of copies inside the storage.
    pub inside: InsideLimits,
}

/// Layout of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// The agent's own: `prefix/backups/`.
    Agent,
    /// Directly under a prefix, as Home Assistant's own `aws_s3`, `cloudflare_r2` and `idrive_e2` do. It may be empty.
    ///
    /// Sources: `suggested_filenames` in `homeassistant/components/aws_s3/backup.py` and its like in `cloudflare_r2` and
    /// `idrive_e2`. The first two have a prefix, whose slashes at both ends are trimmed (`config_flow.py`).
    Flat(String),
}

/// Limits of copies inside the storage, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct InsideLimits {
    /// Larger objects are copied in parts.
    pub single: u64,
    /// Size of a part.
    pub part_size: u64,
}

impl Default for InsideLimits {
    fn default() -> Self {
        INSIDE
    }
}

/// A planned copy.
#[derive(Debug)]
pub struct CopyPlan {
    /// One per backup.
    pub steps: Vec<CopyStep>,
    /// Objects in the source that are not listed.
    pub left_out: Vec<Skipped>,
    /// Whether the storage can copy by itself.
    pub is_inside: bool,
    pub(super) from: Arc<Location>,
    pub(super) folder: String,
    pub(super) to: Arc<Location>,
    pub(super) inside: InsideLimits,
}

/// One backup of a plan.
#[derive(Debug)]
pub struct CopyStep {
    /// Id of the backup.
    pub backup_id: String,
    /// Size of its tar in bytes.
    pub size: u64,
    pub(super) action: Action,
}

#[derive(Debug)]
pub(super) enum Action {
    Copy(Entry),
    Skip,
    Refuse(Error),
}

/// Result for one backup.
#[derive(Debug)]
pub struct CopyOutcome {
    /// Id of the backup.
    pub backup_id: String,
    /// Size of its tar in bytes.
    pub size: u64,
    /// What was done, or why it failed.
    pub result: Result<Done>,
}

/// What was done with a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// The storage copied it; its bytes did not pass through the agent.
    CopiedInside,
    /// Downloaded, verified and uploaded.
    Copied,
    /// It exists in the target.
    Skipped,
    /// Dry run: it would be copied.
    WouldCopy,
}

impl CopyPlan {
    /// Total size of the backups to copy, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.steps
            .iter()
            .filter(|step| matches!(step.action, Action::Copy(_)))
            .map(|step| step.size)
            .sum()
    }

    /// Results of a dry run.
    #[must_use]
    pub fn outcomes(self) -> Vec<CopyOutcome> {
        self.steps
            .into_iter()
            .map(|step| step.outcome(Ok(Done::WouldCopy)))
            .collect()
    }
}

impl CopyStep {
    /// Its result; `copied` is the result of a copy.
    pub(super) fn outcome(self, copied: Result<Done>) -> CopyOutcome {
        let result = match self.action {
            Action::Copy(_) => copied,
            Action::Skip => Ok(Done::Skipped),
            Action::Refuse(error) => Err(error),
        };
        CopyOutcome {
            backup_id: self.backup_id,
            size: self.size,
            result,
        }
    }
}

/// Plans a copy. Nothing is written. A copy runs unattended, so both scans sit out an outage as an upload does.
///
/// # Errors
/// [`Kind::InvalidRequest`] if both sides are the same folder; errors of a scan.
pub(in crate::agent) async fn plan(
    from: Arc<Location>,
    to: Arc<Location>,
    request: &CopyRequest,
) -> Result<CopyPlan> {
    let folder = match &request.layout {
        Layout::Agent => from.folder.keys.folder().to_owned(),
        Layout::Flat(prefix) => flat_folder(prefix),
    };
    if from.folder.id.is_same_storage(&to.folder.id) && folder == to.folder.keys.folder() {
        let detail = format!(
            "\"{}\" and \"{}\" are the same folder of the same bucket.",
            from.id(),
            to.id()
        );
        return Err(Error::new(Kind::InvalidRequest, detail));
    }
    let source = async {
        match &request.layout {
            Layout::Agent => from.scan(from.patience()).await,
            Layout::Flat(_) => scan_flat(&from.patient_store(), &folder, from.patience())
                .await
                .map(Arc::new),
        }
    };
    let (source, target) = tokio::join!(source, to.scan(to.patience()));
    let (source, target) = (from.note(source)?, to.note(target)?);
    for (location, listing) in [(&from, &source), (&to, &target)] {
        // Metadata that could not be read may belong to a requested backup.
        if let Some(unread) = &listing.unread
            && is_any_missing(listing, &request.backup_ids)
        {
            return location.note(Err(unread.clone()));
        }
    }
    Ok(CopyPlan {
        steps: steps(&source, &target, &request.backup_ids, &from),
        left_out: source.skipped.clone(),
        is_inside: from.store.can_copy_inside_to(&to.store),
        from,
        folder,
        to,
        inside: request.inside,
    })
}

/// Whether a requested backup is missing in the list.
fn is_any_missing(listing: &Listing, wanted: &[String]) -> bool {
    wanted.is_empty()
        || wanted
            .iter()
            .any(|backup_id| listing.find(backup_id).is_none())
}

/// One step per requested backup, found or not.
fn steps(found: &Listing, held: &Listing, wanted: &[String], from: &Location) -> Vec<CopyStep> {
    let is_wanted =
        |entry: &&Entry| wanted.is_empty() || wanted.contains(&entry.metadata.backup_id);
    let mut steps: Vec<CopyStep> = found
        .entries
        .iter()
        .filter(is_wanted)
        .map(|entry| step(entry, held))
        .collect();
    let known: HashSet<_> = steps.iter().map(|step| step.backup_id.clone()).collect();
    for backup_id in wanted
        .iter()
        .filter(|backup_id| !known.contains(*backup_id))
    {
        steps.push(CopyStep {
            backup_id: backup_id.clone(),
            size: 0,
            action: Action::Refuse(from.no_such_backup(backup_id)),
        });
    }
    steps
}

fn step(entry: &Entry, held: &Listing) -> CopyStep {
    let backup_id = entry.metadata.backup_id.clone();
    let action = match held.find(&backup_id) {
        None if entry
            .metadata
            .damage
            .as_ref()
            .is_some_and(Damage::is_change) =>
        {
            let detail = format!(
                "The metadata \"{}\" is damaged: a copy would pass for a good one.",
                entry.key
            );
            let hint = "Find out with `verify` what is true, and let `recover` write it anew.";
            Action::Refuse(Error::new(Kind::InvalidMetadata, detail).with_hint(hint))
        }
        None => Action::Copy(entry.clone()),
        Some(held) if is_same(entry, &held) => Action::Skip,
        Some(held) => {
            let detail = format!(
                "The backup \"{backup_id}\" is there as \"{}\", with other content.",
                held.tar.key
            );
            let hint = "Find out which one is right, and delete the other.";
            Action::Refuse(Error::new(Kind::ChecksumMismatch, detail).with_hint(hint))
        }
    };
    CopyStep {
        backup_id,
        size: entry.tar.size,
        action,
    }
}

/// Whether both have the same size, and the same SHA-256 if both record one.
fn is_same(one: &Entry, other: &Entry) -> bool {
    let hashes = one.metadata.sha256().zip(other.metadata.sha256());
    one.tar.size == other.tar.size && hashes.is_none_or(|(one, other)| one == other)
}
