//! Moving house: backups are copied from one location to another, or taken over from a folder of another layout.
//!
//! First a plan is made from one list of each side, then it is carried out. What is there already is skipped, so a copy
//! that was interrupted goes on when it is asked for once more; an upload that was under way is resumed by its journal.
//! The source is only read.

mod transfer;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use super::Agent;
use super::listing::{Entry, Listing, Listings};
use super::location::Location;
use super::model::Skipped;
use crate::error::{Error, Kind, Result};
use crate::store::flat_folder;

/// Small backups that are copied at the same time. Each of a few KiB costs six requests, most of which is waiting.
const SMALL_IN_FLIGHT: usize = 4;

/// The largest object that S3 copies in one request, and how large the parts of a larger one are: one is copied within
/// a minute, so that an interruption costs little.
/// Source: "Copying, moving, and renaming objects" in Amazon's user guide.
const INSIDE: InsideLimits = InsideLimits {
    single: 5 << 30,
    part_size: 128 << 20,
};

/// What is to be copied.
#[derive(Debug, Clone)]
pub struct CopyRequest {
    /// Id of the location that is copied from.
    pub from: String,
    /// The folder in it.
    pub layout: Layout,
    /// Id of the location that is copied to.
    pub to: String,
    /// The backups; all of them when it is empty.
    pub backup_ids: Vec<String>,
    /// How objects are copied inside the storage.
    pub inside: InsideLimits,
}

/// Where backups lie in a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Where the agent keeps them.
    Agent,
    /// Right under a prefix, which may be empty, as Home Assistant's own `aws_s3`, `cloudflare_r2` and `idrive_e2` do.
    ///
    /// Sources: `suggested_filenames` in `homeassistant/components/aws_s3/backup.py` and its like in `cloudflare_r2` and
    /// `idrive_e2`. The first two have a prefix, of which slashes at both ends are cut off (`config_flow.py`).
    Flat(String),
}

/// How objects are copied inside the storage, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct InsideLimits {
    /// Larger ones are copied in parts.
    pub single: u64,
    /// Size of such a part.
    pub part_size: u64,
}

impl Default for InsideLimits {
    fn default() -> Self {
        INSIDE
    }
}

/// What a copy would do.
#[derive(Debug)]
pub struct CopyPlan {
    /// One for each backup.
    pub steps: Vec<CopyStep>,
    /// Metadata objects in the source that are no backups, and why.
    pub left_out: Vec<Skipped>,
    /// Whether the storage may be asked to copy by itself.
    pub is_inside: bool,
    from: Arc<Location>,
    folder: String,
    to: Arc<Location>,
    inside: InsideLimits,
}

/// One backup of a plan.
#[derive(Debug)]
pub struct CopyStep {
    /// The backup.
    pub backup_id: String,
    /// Size of its tar in bytes.
    pub size: u64,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Copy(Entry),
    Skip,
    Refuse(Error),
}

/// What came of one backup.
#[derive(Debug)]
pub struct CopyOutcome {
    /// The backup.
    pub backup_id: String,
    /// Size of its tar in bytes.
    pub size: u64,
    /// What was done, or why it was not.
    pub result: Result<Done>,
}

/// What was done with a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// The storage copied it; its bytes did not pass here.
    CopiedInside,
    /// It was downloaded, checked and uploaded.
    Copied,
    /// It is there already.
    Skipped,
    /// Nothing yet: it would be copied.
    WouldCopy,
}

impl CopyPlan {
    /// Bytes that are to be copied.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.steps
            .iter()
            .filter(|step| matches!(step.action, Action::Copy(_)))
            .map(|step| step.size)
            .sum()
    }

    /// What would come of it.
    #[must_use]
    pub fn outcomes(self) -> Vec<CopyOutcome> {
        self.steps
            .into_iter()
            .map(|step| step.outcome(Ok(Done::WouldCopy)))
            .collect()
    }
}

impl CopyStep {
    /// What is known without doing anything; `copied` for what is to be copied.
    fn outcome(self, copied: Result<Done>) -> CopyOutcome {
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

impl Agent {
    /// Says what a copy would do. Nothing is written.
    ///
    /// # Errors
    /// [`Kind::LocationNotFound`], [`Kind::InvalidRequest`] when both sides are one, and what a listing can come to.
    pub async fn plan_copy(&self, request: &CopyRequest) -> Result<CopyPlan> {
        let (from, to) = (self.location(&request.from)?, self.location(&request.to)?);
        let (source, folder) = match &request.layout {
            Layout::Agent => (Arc::clone(&from.listings), from.keys.folder().to_owned()),
            Layout::Flat(prefix) => {
                let folder = flat_folder(prefix);
                (
                    Arc::new(Listings::flat(from.store.clone(), &folder)),
                    folder,
                )
            }
        };
        if from.folder.id.is_same_storage(&to.folder.id) && folder == to.keys.folder() {
            let detail = format!(
                "\"{}\" and \"{}\" are the same folder of the same bucket.",
                from.id(),
                to.id()
            );
            return Err(Error::new(Kind::InvalidRequest, detail));
        }
        let (found, held) = tokio::join!(source.taken(), to.listings.taken());
        let (found, held) = (from.note(found)?, to.note(held)?);
        for (location, listing) in [(&from, &found), (&to, &held)] {
            // What cannot be read may be one of them.
            if let Some(unread) = &listing.unread
                && is_any_missing(listing, &request.backup_ids)
            {
                return location.note(Err(unread.clone()));
            }
        }
        let is_inside = from.store.can_copy_inside_to(&to.store);
        let steps = steps(&found, &held, &request.backup_ids, &from);
        let left_out = found.skipped.clone();
        Ok(CopyPlan {
            steps,
            left_out,
            is_inside,
            from,
            folder,
            to,
            inside: request.inside,
        })
    }

    /// Carries a plan out: what needs no copy first, then the small backups, then one large one after the other.
    pub fn copy(self: &Arc<Self>, plan: CopyPlan) -> impl Stream<Item = CopyOutcome> + use<> {
        let CopyPlan {
            steps,
            is_inside,
            from,
            folder,
            to,
            inside,
            ..
        } = plan;
        let part_size = to.settings.part_size;
        let copying = Arc::new(transfer::Copying {
            agent: Arc::clone(self),
            from,
            folder,
            to,
            inside,
            is_inside: AtomicBool::new(is_inside),
        });
        let (copied, settled): (Vec<_>, Vec<_>) = steps
            .into_iter()
            .partition(|step| matches!(step.action, Action::Copy(_)));
        let (small, large): (Vec<_>, Vec<_>) =
            copied.into_iter().partition(|step| step.size <= part_size);
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
}

/// Whether one that was asked for is not in the list.
fn is_any_missing(listing: &Listing, wanted: &[String]) -> bool {
    wanted.is_empty()
        || wanted
            .iter()
            .any(|backup_id| listing.find(backup_id).is_none())
}

/// One step for each backup that was asked for, found or not.
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
        let detail = format!(
            "There is no backup \"{backup_id}\" in {}.",
            from.store.place()
        );
        let action = Action::Refuse(Error::new(Kind::BackupNotFound, detail));
        steps.push(CopyStep {
            backup_id: backup_id.clone(),
            size: 0,
            action,
        });
    }
    steps
}

fn step(entry: &Entry, held: &Listing) -> CopyStep {
    let backup_id = entry.metadata.backup_id.clone();
    let action = match held.find(&backup_id) {
        None if entry.metadata.damage.is_some() => {
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

/// Same size, and the same SHA-256 where both have one.
fn is_same(one: &Entry, other: &Entry) -> bool {
    let hashes = one.metadata.sha256().zip(other.metadata.sha256());
    one.tar.size == other.tar.size && hashes.is_none_or(|(one, other)| one == other)
}
