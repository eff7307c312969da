//! Steps of a check, in the order of [`CheckStep::NAMES`].

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::agent::model::{CheckNote, CheckStep, Failure};
use crate::config::{Backend, Location};
use crate::error::{Error, Kind, Reason, Result};
use crate::store::{
    ContentType, Dialect, Error as StoreError, Key, Keys, Multipart, Outcome, Patience, Route,
    Store, clock_offset,
};

/// Time limit of one step; a user waits.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// Code of the warning that a probe was left behind.
pub(super) const LEFT_BEHIND: &str = "left_behind";

/// Clock skew that is not warned of; Amazon refuses 15 minutes.
const CLOCK_TOLERANCE: chrono::Duration = chrono::Duration::minutes(5);

/// Size of a part that is aborted.
const PART_BYTES: usize = 64 * 1024;

const PROBE: &[u8] = b"A check of the S3 Backup Agent wrote this. It may be deleted.\n";

/// A trial of settings.
pub(super) struct Trial {
    location: Location,
    pub(super) steps: Vec<CheckStep>,
    pub(super) notes: Vec<CheckNote>,
    /// Dialect that the trial ended with.
    pub(super) dialect: Option<Dialect>,
    /// Deadline; cleaning up has its own limit.
    until: Option<Instant>,
    /// Receives each step as it ends.
    watcher: Option<UnboundedSender<CheckStep>>,
}

/// A step failed and is recorded.
struct Stopped;

impl Trial {
    /// Tries the settings up to the first step that fails, and sends each step to `watcher`.
    pub(super) async fn run(
        location: Location,
        until: Option<Instant>,
        watcher: Option<UnboundedSender<CheckStep>>,
    ) -> Self {
        let made = missing_folders(&location).await;
        let mut trial = Self {
            location,
            steps: Vec::new(),
            notes: Vec::new(),
            dialect: None,
            until,
            watcher,
        };
        // A failed step is recorded already.
        drop(trial.all_steps().await);
        // A folder that is no longer empty stays.
        in_thread(move || {
            for folder in made {
                drop(std::fs::remove_dir(folder));
            }
        })
        .await;
        trial
    }

    pub(super) fn ok(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    pub(super) fn error(&self) -> Option<&Failure> {
        self.steps.iter().find_map(|step| step.error.as_ref())
    }

    async fn all_steps(&mut self) -> Result<(), Stopped> {
        if let Backend::S3(settings) = self.location.backend.clone() {
            let route = match Route::of(&settings) {
                Ok(route) => route,
                Err(error) => return self.push("resolve", Duration::ZERO, Err(error.into())),
            };
            let addresses = self
                .step("resolve", async { Ok(route.resolve().await?) })
                .await?;
            let ahead = if route.has_tls() {
                self.step("connect", async { Ok(route.connect(&addresses).await?) })
                    .await?;
                self.step("tls", async { Ok(route.greet().await?) }).await?
            } else {
                let connected = async {
                    route.connect(&addresses).await?;
                    Ok(route.greet().await?)
                };
                self.step("connect", connected).await?
            };
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

    /// Warns of clock skew, which not every provider refuses.
    fn note_clock(&mut self, ahead: Option<chrono::Duration>) {
        if let Some(ahead) = ahead.filter(|ahead| ahead.abs() > CLOCK_TOLERANCE) {
            let message = format!("This machine's clock is {} the provider's.", offset(ahead));
            self.note(Kind::ClockSkew.code(), message);
        }
    }

    async fn storage(&mut self, store: &Store) -> Result<(), Stopped> {
        let keys = Keys::new(&self.location.prefix);
        self.listing(store, keys.folder()).await?;
        let probe = keys.probe(&uuid::Uuid::new_v4().simple().to_string());
        let tried = self.write_and_read(store, &probe).await;
        let start = Instant::now();
        let refused = |error| not_allowed(error, "delete", "s3:DeleteObject");
        let deleted = store.delete(&probe, Patience::INTERACTIVE);
        // Also after a failed step: the probe may exist.
        let deleted = limited(STEP_LIMIT, async { deleted.await.map_err(refused) }).await;
        if deleted.is_err() && self.may_have_written() {
            let message = format!(
                "The check could not delete its object \"{probe}\". Delete it at the provider."
            );
            self.note(LEFT_BEHIND, message);
        }
        tried?;
        self.push("delete", start.elapsed(), deleted)
    }

    /// Whether the probe may exist: a refused write left nothing, an unanswered one may have.
    fn may_have_written(&self) -> bool {
        let failed = self
            .steps
            .iter()
            .filter(|step| step.step == "write")
            .find_map(|step| step.error.as_ref());
        failed.is_none_or(|error| error.retryable() || error.reason == Reason::NoEncryption.code())
    }

    fn note(&mut self, code: &'static str, message: String) {
        self.notes.push(CheckNote {
            code,
            key: None,
            message,
        });
    }

    async fn write_and_read(&mut self, store: &Store, probe: &Key) -> Result<(), Stopped> {
        let refused = |error| not_allowed(error, "write", "s3:PutObject");
        let written = store.write(
            probe,
            Bytes::from_static(PROBE),
            ContentType::Text,
            Patience::INTERACTIVE,
        );
        self.step("write", async { written.await.map_err(refused) })
            .await?;
        let part = Key::new(format!("{probe}.tar"));
        self.multipart(store, &part).await?;
        self.step("read", read_back(store, probe)).await
    }

    /// Stores two parts and aborts, also if a part fails. A directory uses a file instead.
    async fn multipart(&mut self, store: &Store, key: &Key) -> Result<(), Stopped> {
        let start = Instant::now();
        let mut started = None;
        let stored = limited(self.limit(), two_parts(store, key, &mut started)).await;
        let Some(multipart) = started else {
            return self.push("multipart", start.elapsed(), stored);
        };
        let refused = |error| not_allowed(error, "abort an upload", "s3:AbortMultipartUpload");
        let aborted = multipart.abort(Patience::INTERACTIVE);
        let aborted = limited(STEP_LIMIT, async { aborted.await.map_err(refused) }).await;
        if aborted.is_err() {
            let message = format!(
                "The check could not abort its unfinished upload of \"{key}\". Abort it at the provider."
            );
            self.note(LEFT_BEHIND, message);
        }
        self.push("multipart", start.elapsed(), stored.and(aborted))
    }

    /// Runs five steps with one signed request: the provider's answer tells which of them failed.
    async fn listing(&mut self, store: &Store, folder: &str) -> Result<(), Stopped> {
        let start = Instant::now();
        let listed = limited(self.limit(), async {
            Ok(store.peek(folder, Patience::INTERACTIVE).await)
        })
        .await;
        let (outcome, error) = match listed {
            Ok(Ok(())) => (None, None),
            Ok(Err(error)) => (
                Some(error.outcome),
                Some(not_allowed(error, "list", "s3:ListBucket")),
            ),
            Err(error) => (Some(Outcome::Timeout), Some(error)),
        };
        let is_directory = matches!(self.location.backend, Backend::Directory(_));
        let (proven, last) = if is_directory {
            (0, "list")
        } else {
            proven(outcome)
        };
        for name in &SIGNED[..proven] {
            self.push(name, Duration::ZERO, Ok(()))?;
        }
        self.push(last, start.elapsed(), error.map_or(Ok(()), Err))
    }

    async fn step<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T, Stopped> {
        let start = Instant::now();
        let (value, result) = match limited(self.limit(), work).await {
            Ok(value) => (Some(value), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.push(name, start.elapsed(), result)?;
        value.ok_or(Stopped)
    }

    /// Time limit of the next step.
    fn limit(&self) -> Duration {
        self.until.map_or(STEP_LIMIT, |until| {
            until
                .saturating_duration_since(Instant::now())
                .min(STEP_LIMIT)
        })
    }

    fn push(
        &mut self,
        step: &'static str,
        took: Duration,
        result: Result<()>,
    ) -> Result<(), Stopped> {
        debug_assert!(CheckStep::NAMES.contains(&step), "{step}");
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let error = result.err().map(|error| Failure::from(&error));
        let ok = error.is_none();
        let detail = error.as_ref().map(|error| error.detail.as_str());
        debug!(
            location = self.location.id,
            step, ok, duration_ms, detail, "checked a step"
        );
        let done = CheckStep {
            step,
            ok,
            duration_ms,
            error,
            key: None,
        };
        if let Some(watcher) = &self.watcher {
            // Fails after the watcher is gone.
            drop(watcher.send(done.clone()));
        }
        self.steps.push(done);
        if ok { Ok(()) } else { Err(Stopped) }
    }
}

/// What a provider validates before the permission.
const SIGNED: [&str; 4] = ["clock", "signature", "region", "bucket"];

/// Returns how many of these an answer proves, and the step that it ends.
fn proven(outcome: Option<Outcome>) -> (usize, &'static str) {
    match outcome {
        Some(Outcome::ClockSkew) => (0, "clock"),
        Some(Outcome::Auth) => (1, "signature"),
        Some(Outcome::WrongRegion) => (2, "region"),
        Some(Outcome::BucketNotFound) => (3, "bucket"),
        None | Some(Outcome::Forbidden | Outcome::NotFound) => (SIGNED.len(), "list"),
        // No answer, the answer of another server, or one that may precede any validation.
        Some(_) => (0, "list"),
    }
}

async fn limited<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let detail = format!("The provider did not finish within {} s.", limit.as_secs());
        Err(Error::new(Kind::StorageTimeout, detail))
    })
}

/// Sets `started`, also if a part fails.
async fn two_parts(store: &Store, key: &Key, started: &mut Option<Multipart>) -> Result<()> {
    let refused = |error| not_allowed(error, "upload in parts", "s3:PutObject");
    let multipart = Multipart::start(store, key, Patience::INTERACTIVE)
        .await
        .map_err(refused)?;
    let multipart = started.insert(multipart);
    let part = Bytes::from(vec![0; PART_BYTES]);
    let digest = store.part_digest(&part);
    for number in 0..2 {
        multipart
            .put_part(number, part.clone(), &digest, Patience::INTERACTIVE)
            .await
            .map_err(refused)?;
    }
    Ok(())
}

/// Returns the folders that the check of a directory creates, deepest first.
async fn missing_folders(location: &Location) -> Vec<PathBuf> {
    let Backend::Directory(path) = &location.backend else {
        return Vec::new();
    };
    let folder = path.join(Keys::new(&location.prefix).folder());
    in_thread(move || {
        folder
            .ancestors()
            .take_while(|folder| !folder.exists())
            .map(PathBuf::from)
            .collect()
    })
    .await
}

/// Runs file operations, which may hang on a network mount; the steps report that.
async fn in_thread<T: Default + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    timeout(STEP_LIMIT, spawn_blocking(work))
        .await
        .ok()
        .and_then(std::result::Result::ok)
        .unwrap_or_default()
}

/// Formats clock skew, up to the name of the other clock.
fn offset(ahead: chrono::Duration) -> String {
    let of = if ahead < chrono::Duration::zero() {
        ""
    } else {
        " of"
    };
    clock_offset(ahead) + of
}

/// Reads the probe by a ranged read, as a download does.
async fn read_back(store: &Store, probe: &Key) -> Result<()> {
    let refused = |error| not_allowed(error, "read", "s3:GetObject");
    let range = 2..PROBE.len() - 1;
    let bytes = u64::try_from(range.start).unwrap_or_default()
        ..u64::try_from(range.end).unwrap_or_default();
    let (read, _) = store
        .read_range(probe, bytes, None, Patience::INTERACTIVE)
        .await
        .map_err(refused)?;
    if read == PROBE[range] {
        return Ok(());
    }
    let detail =
        format!("The object \"{probe}\" was damaged: the agent read other bytes than it wrote.");
    Err(Error::new(Kind::StorageError, detail).with_hint(
        "A proxy or the server changes the data in transit. Bypass the proxy, or check the server.",
    ))
}

/// Names the missing permission in the hint.
fn not_allowed(error: StoreError, what: &str, action: &str) -> Error {
    let is_forbidden = error.outcome == Outcome::Forbidden;
    let error = Error::from(error);
    if !is_forbidden {
        return error;
    }
    let hint =
        format!("Give the key permission to {what} in this bucket (Amazon calls it {action}).");
    error
        .with_reason(Some(Reason::ActionDenied))
        .with_hint(hint)
}

#[cfg(test)]
mod tests;
