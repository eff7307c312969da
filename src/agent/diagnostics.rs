//! The agent as a bug report shows it.

use serde::Serialize;

use super::journal::JournalStatus;
use super::location::Location;
use super::model::{Counts, LastCheck, LastSweep, LocationStatus, Skipped, UploadStatus};
use super::{Agent, MAX_UPLOADS, MAX_UPLOADS_OF_ONE, listing};
use crate::store::Traffic;

/// Left-out objects that are named; there may be thousands.
const MAX_SKIPPED: usize = 50;

/// Everything that the agent knows of itself, without secrets.
#[derive(Debug, Serialize)]
pub struct Diagnostics {
    locations: Vec<LocationDiagnostics>,
    uploads: Vec<UploadStatus>,
    journal: Vec<JournalStatus>,
    limits: Limits,
}

#[derive(Debug, Serialize)]
struct LocationDiagnostics {
    location: LocationStatus,
    settings: serde_json::Value,
    last_check: Option<LastCheck>,
    last_sweep: Option<LastSweep>,
    list: Option<List>,
    counts: Counts,
    requests: Option<Traffic>,
    /// Parts at the same time, after the provider asked for fewer.
    slowed_to: Option<usize>,
}

#[derive(Debug, Serialize)]
struct List {
    age_seconds: u64,
    backups: usize,
    /// How many cannot be checked when they are read: another tool uploaded them.
    without_sha256: usize,
    skipped: Vec<Skipped>,
    skipped_beside: usize,
}

#[derive(Debug, Serialize)]
struct Limits {
    uploads: usize,
    uploads_of_one_location: usize,
    list_lifetime_seconds: u64,
}

/// A location in numbers, for who watches over it.
#[derive(Debug)]
pub struct Figures {
    /// How it stands.
    pub status: LocationStatus,
    /// Age of the last list.
    pub list_age_seconds: Option<f64>,
    /// What its work came to.
    pub counts: Counts,
    /// What its requests came to; a directory has none.
    pub requests: Option<Traffic>,
}

impl Agent {
    /// How everything stands.
    pub async fn diagnostics(&self) -> Diagnostics {
        Diagnostics {
            locations: self
                .locations
                .all()
                .iter()
                .map(|location| LocationDiagnostics::of(location))
                .collect(),
            uploads: self.uploads_under_way(),
            journal: self.journals.overview().await,
            limits: Limits {
                uploads: MAX_UPLOADS,
                uploads_of_one_location: MAX_UPLOADS_OF_ONE,
                list_lifetime_seconds: listing::LIFETIME.as_secs(),
            },
        }
    }

    /// All locations in numbers.
    #[must_use]
    pub fn figures(&self) -> Vec<Figures> {
        let figures = |location: &Location| Figures {
            status: location.status(),
            list_age_seconds: location
                .listings
                .last()
                .map(|listing| listing.taken.elapsed().as_secs_f64()),
            counts: location.history.counts(),
            requests: location.store.traffic(),
        };
        self.locations
            .all()
            .iter()
            .map(|location| figures(location))
            .collect()
    }
}

impl LocationDiagnostics {
    fn of(location: &Location) -> Self {
        Self {
            location: location.status(),
            settings: location.settings.report(),
            last_check: location.last_check(),
            last_sweep: location.history.last_sweep(),
            list: List::of(location),
            counts: location.history.counts(),
            requests: location.store.traffic(),
            slowed_to: location
                .store
                .slowed_to()
                .filter(|parts| *parts < location.settings.parts_in_flight()),
        }
    }
}

impl List {
    fn of(location: &Location) -> Option<Self> {
        let listing = location.listings.last()?;
        let skipped: Vec<_> = listing.skipped.iter().take(MAX_SKIPPED).cloned().collect();
        Some(Self {
            age_seconds: listing.taken.elapsed().as_secs(),
            backups: listing.entries.len(),
            without_sha256: listing
                .entries
                .iter()
                .filter(|entry| entry.metadata.sha256().is_none())
                .count(),
            skipped_beside: listing.skipped.len() - skipped.len(),
            skipped,
        })
    }
}
