//! A location on the page: its status, its last check, its list.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::time::timeout;

use super::check::{CheckView, ErrorView};
use super::escape::Own;
use super::words::Words;
use crate::agent::Agent;
use crate::agent::beside::beside_lately;
use crate::agent::catalog::{Row, View};
use crate::agent::location::Location;
use crate::agent::model::{Beside, LastCheck, LocationStatus, Skipped};
use crate::error;
use crate::provider;
use crate::units::rfc3339;

/// How long the page waits for a list; a slower one appears when it is ready.
const LIST_WITHIN: Duration = Duration::from_secs(2);

/// Skipped objects that are named; there may be thousands.
const MAX_SKIPPED: usize = 50;

/// A location.
#[derive(Debug)]
pub(super) struct LocationView<'w> {
    pub(super) status: LocationStatus,
    /// Its id, in addresses and anchors.
    pub(super) id: Own,
    pub(super) is_embedded: bool,
    pub(super) is_only: bool,
    /// Its status, or that a backup is damaged.
    pub(super) badge: &'static str,
    pub(super) status_words: Own,
    pub(super) error: Option<ErrorView>,
    pub(super) check: Option<CheckView<'w>>,
    pub(super) backups: ListView,
    pub(super) beside: Option<Beside>,
}

/// The list of a location.
#[derive(Debug, Default)]
pub(super) struct ListView {
    /// Whether the first list is in progress.
    pub(super) is_waiting: bool,
    /// Whether there is a list.
    pub(super) is_known: bool,
    /// Since when the list is stale, RFC 3339.
    pub(super) stale_since: Option<String>,
    pub(super) rows: Arc<[Row]>,
    pub(super) total_bytes: u64,
    pub(super) skipped: Vec<Skipped>,
    pub(super) skipped_count: usize,
}

impl<'w> LocationView<'w> {
    /// Requests its list, then reads its status.
    pub(super) async fn of(agent: &Agent, words: &'w Words, location: &Location) -> Self {
        let listed = timeout(LIST_WITHIN, agent.list(location.id(), false)).await;
        // What is unreachable, or slow, is not asked again.
        let beside = match &listed {
            Ok(Ok(view)) if view.error.is_none() => beside_lately(location).await,
            _ => None,
        };
        let backups = ListView::of(location, listed.ok());
        let (mut status, last_check) = (location.status(), location.last_check());
        let is_embedded = status.source == "embedded";
        if is_embedded {
            // The agent chose its name, not a user.
            words.locations.local.as_str().clone_into(&mut status.name);
        }
        let found = last_check.as_ref().and_then(|last| last.report.error());
        // An error that the check found is shown with its step.
        let error = status
            .error
            .as_ref()
            .filter(|error| found.is_none_or(|found| found.code != error.code));
        let verification = status.verification.as_ref();
        let is_damaged = verification.is_some_and(|found| !found.damaged.is_empty());
        let badge = match status.status {
            "ok" if is_damaged => "backup_damaged",
            badge => badge,
        };
        Self {
            id: Own::quoting(&status.id),
            is_embedded,
            is_only: agent.locations().len() == 1,
            badge,
            status_words: words.status(badge, status.error.as_ref()),
            error: error.map(|error| ErrorView::of(words, error)),
            check: last_check
                .as_ref()
                .map(|last: &LastCheck| CheckView::ended(words, last)),
            backups,
            beside,
            status,
        }
    }

    /// Time of the current error's first occurrence, RFC 3339.
    pub(super) fn since(&self) -> Option<&str> {
        self.status.error.as_ref()?.since.as_deref()
    }

    /// Formats provider, bucket, folder and endpoint.
    pub(super) fn place(&self) -> String {
        let status = &self.status;
        let provider = provider::find(&status.provider).filter(|provider| provider.id != "other");
        let provider = provider.map_or("", |provider| &provider.name);
        let folder = join(
            [status.bucket.as_deref().unwrap_or_default(), &status.prefix],
            "/",
        );
        join(
            [provider, &folder, status.endpoint.trim_end_matches('/')],
            " · ",
        )
    }
}

impl ListView {
    fn of(location: &Location, listed: Option<error::Result<View>>) -> Self {
        let (listing, is_stale) = match listed {
            Some(Ok(view)) => (Some(view.listing), view.error.is_some()),
            // Falls back to the last list when a new one fails or is slow.
            Some(Err(_)) => (location.catalog.last(), true),
            None => (location.catalog.last(), false),
        };
        let Some(listing) = listing else {
            return Self {
                is_waiting: !is_stale,
                ..Self::default()
            };
        };
        let taken = Utc::now() - listing.taken.elapsed();
        Self {
            is_waiting: false,
            is_known: true,
            stale_since: is_stale.then(|| rfc3339(taken)),
            total_bytes: listing.entries.iter().map(|entry| entry.tar.size).sum(),
            skipped: listing.skipped.iter().take(MAX_SKIPPED).cloned().collect(),
            skipped_count: listing.skipped.len(),
            rows: listing.rows(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.rows.len()
    }
}

/// Joins the parts that are not empty.
fn join<const N: usize>(parts: [&str; N], between: &str) -> String {
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(between)
}
