//! Three steps for a new user, until there is a bucket and Home Assistant is connected.

use super::location::LocationView;
use crate::api;

/// Where Home Assistant installs the integration from.
pub(super) const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The steps, and which are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guide {
    /// The integration is installed: it was connected, or has registered a location.
    pub(super) is_installed: bool,
    pub(super) is_connected: bool,
    /// A bucket was added. Whether it works is in the summary.
    pub(super) has_bucket: bool,
}

impl Guide {
    pub(super) fn of(state: &api::State, locations: &[LocationView<'_>]) -> Self {
        let is_connected = state.home_assistant.is_connected();
        let has_registered = locations
            .iter()
            .any(|location| location.status.source == "registered");
        Self {
            is_installed: is_connected || has_registered || state.home_assistant.was_connected(),
            is_connected,
            has_bucket: buckets(locations).next().is_some(),
        }
    }

    /// Whether a new user needs it: with backups in a bucket, the summary says what is wrong. A bucket that has not answered
    /// since the start may have backups.
    pub(super) fn is_needed(self, locations: &[LocationView<'_>]) -> bool {
        let is_complete = self.is_connected && self.has_bucket;
        let may_have_backups = buckets(locations)
            .any(|bucket| bucket.status.status == "unknown" || bucket.backups.count() > 0);
        !is_complete && !may_have_backups
    }
}

fn buckets<'l>(locations: &'l [LocationView<'l>]) -> impl Iterator<Item = &'l LocationView<'l>> {
    locations.iter().filter(|location| !location.is_embedded)
}
