//! The steps of a check: resolve, connect, tls, clock, signature, region, bucket, list, write, multipart, read, delete. A
//! directory has the last five.

use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::time::{Instant, timeout};

use super::{Note, Step};
use crate::agent::events::Report;
use crate::config::{Backend, Location};
use crate::error::{Error, Kind, Reason, Result};
use crate::store::{
    ContentType, Dialect, Error as StoreError, Key, Keys, Multipart, Outcome, Patience, Route, Store, retry,
};

/// How long one step may take; a person waits.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// A clock that is this far off is worth a word; Amazon refuses at 15 minutes.
const CLOCK_TOLERANCE: chrono::Duration = chrono::Duration::minutes(5);

/// Parts that are thrown away again may be small.
const PART_BYTES: usize = 64 * 1024;

const PROBE: &[u8] = b"A check of the S3 Backup Agent wrote this. It may be deleted.\n";

/// Settings being tried.
pub(super) struct Trial {
    location: Location,
    pub(super) steps: Vec<Step>,
    pub(super) notes: Vec<Note>,
    /// How the provider was spoken to in the end.
    pub(super) dialect: Option<Dialect>,
}

/// A step failed, and is noted.
struct Stopped;

impl Trial {
    /// Tries the settings, up to the first step that fails.
    pub(super) async fn of(location: Location) -> Self {
        let mut trial = Self { location, steps: Vec::new(), notes: Vec::new(), dialect: None };
        // A failed step has been noted; there is nothing more to say.
        drop(trial.run().await);
        trial
    }

    pub(super) fn ok(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    pub(super) fn error(&self) -> Option<&Report> {
        self.steps.iter().find_map(|step| step.error.as_ref())
    }

    async fn run(&mut self) -> Result<(), Stopped> {
        if let Backend::S3(settings) = self.location.backend.clone() {
            let route = match Route::of(&settings) {
                Ok(route) => route,
                Err(error) => return self.push("resolve", Duration::ZERO, Err(error.into())),
            };
            let addresses = self.step("resolve", async { Ok(route.resolve().await?) }).await?;
            self.step("connect", async { Ok(route.connect(&addresses).await?) }).await?;
            let ahead = self.step("tls", async { Ok(route.greet().await?) }).await?;
            self.note_clock(ahead);
        }
        let store = match Store::open(&self.location) {
            Ok(store) => store,
            Err(error) => return self.push("list", Duration::ZERO, Err(error.into())),
        };
        let result = self.storage(&store).await;
        self.dialect = store.dialect();
        result
    }

    /// A clock that is off does no harm by itself: not every provider minds.
    fn note_clock(&mut self, ahead: Option<chrono::Duration>) {
        if let Some(ahead) = ahead.filter(|ahead| ahead.abs() > CLOCK_TOLERANCE) {
            let message = format!("This machine's clock is {} minutes off the provider's.", ahead.num_minutes());
            self.notes.push(Note { code: Kind::ClockSkew.code(), key: None, message });
        }
    }

    async fn storage(&mut self, store: &Store) -> Result<(), Stopped> {
        let keys = Keys::new(&self.location.prefix);
        self.listing(store, keys.folder()).await?;
        let probe = keys.probe(&uuid::Uuid::new_v4().simple().to_string());
        let written = self.write_and_read(store, &probe).await;
        if written.is_err() {
            // Whatever arrived goes again; that it could not be written is what counts.
            drop(timeout(STEP_LIMIT, store.delete(&probe, Patience::NONE)).await);
            return written;
        }
        let refused = |error| not_allowed(error, "delete", "s3:DeleteObject");
        let deleted = store.delete(&probe, Patience::INTERACTIVE);
        let deleted = self.step("delete", async { deleted.await.map_err(refused) }).await;
        if deleted.is_err() {
            let message = format!("The check could not remove its object \"{probe}\"; it may be deleted by hand.");
            self.notes.push(Note { code: "left_behind", key: None, message });
        }
        deleted
    }

    async fn write_and_read(&mut self, store: &Store, probe: &Key) -> Result<(), Stopped> {
        let refused = |error| not_allowed(error, "write", "s3:PutObject");
        let written = store.write(probe, Bytes::from_static(PROBE), ContentType::Text, Patience::INTERACTIVE);
        self.step("write", async { written.await.map_err(refused) }).await?;
        let part = Key::new(format!("{probe}.tar"));
        self.step("multipart", multipart(store, &part)).await?;
        self.step("read", read_back(store, probe)).await
    }

    /// One signed request answers for five steps: which of them failed is in what the provider says.
    async fn listing(&mut self, store: &Store, folder: &str) -> Result<(), Stopped> {
        let start = Instant::now();
        let listed = limited(async { Ok(store.peek(folder, Patience::INTERACTIVE).await) }).await;
        let (outcome, error) = match listed {
            Ok(Ok(())) => (None, None),
            Ok(Err(error)) => (Some(error.outcome), Some(not_allowed(error, "list", "s3:ListBucket"))),
            Err(error) => (Some(Outcome::Timeout), Some(error)),
        };
        let failed_at = outcome.map(|outcome| match outcome {
            Outcome::ClockSkew => "clock",
            Outcome::Auth => "signature",
            Outcome::WrongRegion => "region",
            Outcome::BucketNotFound => "bucket",
            _ => "list",
        });
        let is_directory = matches!(self.location.backend, Backend::Directory(_));
        let names = ["clock", "signature", "region", "bucket"].into_iter().filter(|_| !is_directory);
        for name in names {
            if failed_at == Some(name) {
                break;
            }
            self.push(name, Duration::ZERO, Ok(()))?;
        }
        let last = failed_at.unwrap_or("list");
        self.push(last, start.elapsed(), error.map_or(Ok(()), Err))
    }

    async fn step<T>(&mut self, name: &'static str, work: impl Future<Output = Result<T>>) -> Result<T, Stopped> {
        let start = Instant::now();
        match limited(work).await {
            Ok(value) => self.push(name, start.elapsed(), Ok(())).map(|()| value),
            Err(error) => Err(self.push(name, start.elapsed(), Err(error)).err().unwrap_or(Stopped)),
        }
    }

    fn push(&mut self, step: &'static str, took: Duration, result: Result<()>) -> Result<(), Stopped> {
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let error = result.err().map(|error| Report::from(&error));
        let ok = error.is_none();
        self.steps.push(Step { step, ok, duration_ms, error, key: None });
        if ok { Ok(()) } else { Err(Stopped) }
    }
}

async fn limited<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(STEP_LIMIT, work).await.unwrap_or_else(|_| {
        let detail = format!("The provider did not finish within {} s.", STEP_LIMIT.as_secs());
        Err(Error::new(Kind::StorageTimeout, detail))
    })
}

/// Two parts and an abort. A directory has no parts, and does the same with a file.
async fn multipart(store: &Store, key: &Key) -> Result<()> {
    let refused = |error| not_allowed(error, "upload in parts", "s3:PutObject");
    let multipart = Multipart::start(store, key, Patience::INTERACTIVE).await.map_err(refused)?;
    let part = Bytes::from(vec![0; PART_BYTES]);
    let first = multipart.store_part(0, part.clone(), Patience::INTERACTIVE).await;
    let stored = match first {
        Ok(_) => multipart.store_part(1, part, Patience::INTERACTIVE).await.map(drop),
        Err(error) => Err(error),
    };
    let aborted = multipart.abort(Patience::INTERACTIVE).await;
    stored.map_err(refused)?;
    aborted.map_err(|error| not_allowed(error, "abort an upload", "s3:AbortMultipartUpload"))
}

/// Reads a range, as a download does.
async fn read_back(store: &Store, probe: &Key) -> Result<()> {
    let refused = |error| not_allowed(error, "read", "s3:GetObject");
    let range = 2..PROBE.len() - 1;
    let bytes = u64::try_from(range.start).unwrap_or_default()..u64::try_from(range.end).unwrap_or_default();
    let body = retry(Patience::INTERACTIVE, || store.open_range(probe, bytes.clone(), None)).await.map_err(refused)?;
    let pieces: Vec<Bytes> = body.stream.try_collect().await.map_err(refused)?;
    if pieces.concat() == PROBE[range] {
        return Ok(());
    }
    let detail = format!("\"{probe}\" came back with other bytes than were written.");
    Err(Error::new(Kind::StorageError, detail)
        .with_hint("Something on the way changes what it carries: a proxy, or the server."))
}

/// Names the one permission that is missing.
fn not_allowed(error: StoreError, what: &str, action: &str) -> Error {
    let is_forbidden = error.outcome == Outcome::Forbidden;
    let error = Error::from(error);
    if !is_forbidden {
        return error;
    }
    let hint = format!("Give the key permission to {what} in this bucket (Amazon calls it {action}).");
    error.with_reason(Some(Reason::ActionDenied)).with_hint(hint)
}
