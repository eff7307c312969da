//! Three steps for a new user, until a bucket works and Home Assistant is connected.

use super::location::LocationView;
use crate::api;

/// The steps, and which are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guide {
    /// The integration is installed: it was connected, or has registered a location.
    pub(super) is_installed: bool,
    pub(super) is_connected: bool,
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
            has_bucket: locations
                .iter()
                .any(|location| !location.is_embedded && location.status.status == "ok"),
        }
    }

    /// Whether a new user needs it: with backups in a bucket, the summary says what is wrong.
    pub(super) fn is_needed(self, locations: &[LocationView<'_>]) -> bool {
        let is_complete = self.is_connected && self.has_bucket;
        let has_backups = locations
            .iter()
            .any(|location| !location.is_embedded && location.backups.count() > 0);
        !is_complete && !has_backups
    }
}
