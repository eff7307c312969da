//! Calls that wait for a location's storage, as its status and the log show them.

use std::time::Duration;

use tokio::time::Instant;

use super::Location;
use crate::store::{Error as StoreError, Store, Watch};

/// An outage is shown once it lasts this long: a single failed attempt is normal.
pub(in crate::agent) const SHOWN_AFTER: Duration = Duration::from_secs(5);

/// Observer of calls that are retried for as long as the location's `outage_seconds`.
#[derive(Debug)]
struct Waiting(Location);

impl Watch for Waiting {
    fn waits(&self, error: &StoreError, since: Instant) {
        if since.elapsed() >= SHOWN_AFTER {
            self.0.note_waiting(&error.replica().into());
        }
    }

    fn goes_on(&self) {
        self.0.note_success();
    }
}

impl Location {
    /// Its storage for a transfer that sits out an outage, which the location's status shows meanwhile.
    pub(in crate::agent) fn patient_store(&self) -> Store {
        self.store
            .watched(std::sync::Arc::new(Waiting(self.clone())))
    }
}
