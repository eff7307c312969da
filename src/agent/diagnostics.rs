//! The agent's state as a bug report and metrics show it.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::catalog;
use super::journal::JournalStatus;
use super::location::Location;
use super::model::{
    BrokenDownload, Counts, LastCheck, LastSweep, LocationStatus, Skipped, UploadStatus,
};
use super::uploads::{MAX_UPLOADS, MAX_UPLOADS_OF_ONE};
use crate::store::Traffic;

/// Skipped objects that are named; there may be thousands.
const MAX_SKIPPED: usize = 50;

/// The agent's state, without secrets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentState)]
pub struct Diagnostics {
    pub(super) locations: Vec<LocationDiagnostics>,
    pub(super) uploads: Vec<UploadStatus>,
    /// Uploads that can be resumed, including those in progress.
    pub(super) journal: Vec<JournalStatus>,
    pub(super) limits: Limits,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LocationDiagnostics {
    location: LocationStatus,
    #[schema(value_type = Object)]
    settings: serde_json::Value,
    last_check: Option<LastCheck>,
    last_sweep: Option<LastSweep>,
    last_broken_download: Option<BrokenDownload>,
    list: Option<ListDiagnostics>,
    counts: Counts,
    requests: Option<Traffic>,
    /// Concurrent parts, if the provider throttled.
    #[schema(minimum = 1)]
    slowed_to: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ListDiagnostics {
    age_seconds: u64,
    backups: usize,
    /// Backups of other tools, whose downloads cannot be verified.
    without_sha256: usize,
    #[schema(max_items = 50)]
    skipped: Vec<Skipped>,
    skipped_beside: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Limits {
    uploads: usize,
    uploads_of_one_location: usize,
    list_lifetime_seconds: u64,
}

/// A location's figures for metrics.
#[derive(Debug)]
pub struct Figures {
    /// Its status.
    pub status: LocationStatus,
    /// Age of the last list in seconds.
    pub list_age_seconds: Option<f64>,
    /// Counters of its work.
    pub counts: Counts,
    /// Counters of its requests; none for a directory.
    pub requests: Option<Traffic>,
}

impl Diagnostics {
    pub(super) fn of(
        locations: &[Arc<Location>],
        uploads: Vec<UploadStatus>,
        journal: Vec<JournalStatus>,
    ) -> Self {
        Self {
            locations: locations.iter().map(Into::into).collect(),
            uploads,
            journal,
            limits: Limits::default(),
        }
    }
}

impl From<&Arc<Location>> for Figures {
    fn from(location: &Arc<Location>) -> Self {
        let listing = location.catalog.last();
        Self {
            status: location.status(),
            list_age_seconds: listing.map(|listing| listing.taken.elapsed().as_secs_f64()),
            counts: location.history().counts,
            requests: location.store.traffic(),
        }
    }
}

impl From<&Arc<Location>> for LocationDiagnostics {
    fn from(location: &Arc<Location>) -> Self {
        let wanted = location.settings.parts_in_flight();
        let slowed_to = location.store.slowed_to();
        let last_sweep = location.history().last_sweep.clone();
        let last_broken_download = location.history().last_broken_download.clone();
        Self {
            location: location.status(),
            settings: location.settings.report(),
            last_check: location.last_check(),
            last_sweep,
            last_broken_download,
            list: ListDiagnostics::of(location),
            counts: location.history().counts,
            requests: location.store.traffic(),
            slowed_to: slowed_to.filter(|parts| *parts < wanted),
        }
    }
}

impl ListDiagnostics {
    fn of(location: &Location) -> Option<Self> {
        let listing = location.catalog.last()?;
        let skipped: Vec<_> = listing.skipped.iter().take(MAX_SKIPPED).cloned().collect();
        let entries = listing.entries.iter();
        Some(Self {
            age_seconds: listing.taken.elapsed().as_secs(),
            backups: listing.entries.len(),
            without_sha256: entries
                .filter(|entry| entry.metadata.sha256().is_none())
                .count(),
            skipped_beside: listing.skipped.len() - skipped.len(),
            skipped,
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uploads: MAX_UPLOADS,
            uploads_of_one_location: MAX_UPLOADS_OF_ONE,
            list_lifetime_seconds: catalog::LIFETIME.as_secs(),
        }
    }
}
