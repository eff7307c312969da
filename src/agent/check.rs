//! Tries a location: lists it, then writes, reads and deletes a small object. Leaves nothing behind.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;

use super::events::Report;
use super::location::Location;
use crate::error::{Error, Kind, Result};
use crate::store::{ContentType, Key, Patience};

const PROBE: &[u8] = b"A check of the S3 Backup Agent wrote this. It may be deleted.\n";

/// One step of a check.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// `list`, `write`, `read` or `delete`.
    pub step: &'static str,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took.
    pub duration_ms: u64,
    /// Why it failed.
    pub error: Option<Report>,
}

/// Runs the steps until one fails. The probe is deleted even then.
pub(super) async fn check(location: &Location) -> Vec<Step> {
    let probe = location.keys.probe(&uuid::Uuid::new_v4().simple().to_string());
    let store = &location.store;
    let mut steps = Vec::new();
    let listing = async { store.list(location.keys.folder(), Patience::INTERACTIVE).await.map(drop) };
    if !timed(&mut steps, "list", async { Ok(listing.await?) }).await {
        return steps;
    }
    let written = store.write(&probe, Bytes::from_static(PROBE), ContentType::Text, Patience::INTERACTIVE);
    if !timed(&mut steps, "write", async { Ok(written.await?) }).await {
        // The probe may have arrived, and only the answer was lost.
        drop(store.delete(&probe, Patience::NONE).await);
        return steps;
    }
    timed(&mut steps, "read", read_back(location, &probe)).await;
    let deleted = store.delete(&probe, Patience::INTERACTIVE);
    timed(&mut steps, "delete", async { Ok(deleted.await?) }).await;
    steps
}

async fn read_back(location: &Location, probe: &Key) -> Result<()> {
    let read = location.store.read(probe, PROBE.len() as u64, Patience::INTERACTIVE).await?;
    if read == PROBE {
        return Ok(());
    }
    Err(Error::new(Kind::StorageError, format!("\"{probe}\" came back with other bytes than were written.")))
}

async fn timed(steps: &mut Vec<Step>, step: &'static str, work: impl Future<Output = Result<()>>) -> bool {
    let start = Instant::now();
    let result = work.await;
    let ok = result.is_ok();
    let error = result.err().map(|error| Report::from(&error));
    steps.push(Step { step, ok, duration_ms: millis(start.elapsed()), error });
    ok
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
