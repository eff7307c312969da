//! Steps of a check, in the order of [`CheckStep::NAMES`].

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::probe::{Probe, Warning, abort, limited, not_allowed};
use super::proof::{SIGNED, proven};
use super::words::{offset, said};
use crate::agent::model::{CheckNote, CheckStep, Failure};
use crate::config::{Backend, Location};
use crate::error::{Error, Kind, Reason, Result};
use crate::store::{Dialect, Keys, Outcome, Patience, Route, Store};

/// Time limit of one step; a user waits.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// Code of the warning that a probe was left behind.
pub(super) const LEFT_BEHIND: &str = "left_behind";

/// Code of the warning that the uplink is too slow for a whole part.
const SLOW_UPLINK: &str = "slow_uplink";

/// Code of the warning that nothing verifies what arrives.
const UNVERIFIED: &str = "content_unverified";

/// Code of the warning that the bucket keeps versions.
const KEEPS_VERSIONS: &str = "keeps_versions";

/// Clock skew that is not warned of; Amazon refuses 15 minutes.
const CLOCK_TOLERANCE: chrono::Duration = chrono::Duration::minutes(5);

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

    /// Blames the failure on the signature, without the provider's words: they may quote a part of a secret in the place of the ID.
    pub(super) fn blame_signature(&mut self, reason: Reason) {
        let failed = self.steps.iter_mut().find(|step| !step.ok);
        if let Some(CheckStep {
            step,
            error: Some(error),
            ..
        }) = failed
        {
            *step = "signature";
            let rejected = Error::new(reason.kind(), "The provider rejected the access key.");
            *error = Failure::from(&rejected.with_reason(Some(reason)));
        }
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
            let greeting = if route.has_tls() {
                self.step("connect", async { Ok(route.connect(&addresses).await?) })
                    .await?;
                let greeting = async { Ok(route.greet().await?) };
                self.step("tls", greeting).await?
            } else {
                let connected = async {
                    route.connect(&addresses).await?;
                    Ok(route.greet().await?)
                };
                self.step("connect", connected).await?
            };
            self.note_clock(greeting.ahead);
        }
        let store = Store::open(&self.location);
        let result = self.storage(&store).await;
        self.dialect = store.dialect();
        result
    }

    /// Warns of clock skew, which not every provider refuses.
    fn note_clock(&mut self, ahead: Option<chrono::Duration>) {
        if let Some(ahead) = ahead.filter(|ahead| ahead.abs() > CLOCK_TOLERANCE) {
            let message = format!("This machine's clock is {} the provider's.", offset(ahead));
            let minutes = ahead.num_minutes().abs().to_string();
            let code = Kind::ClockSkew.code();
            self.note(code, code, message, [("minutes", minutes)]);
        }
    }

    async fn storage(&mut self, store: &Store) -> Result<(), Stopped> {
        let keys = Keys::new(&self.location.prefix);
        self.listing(store, keys.folder()).await?;
        let mut probe = Probe::new(store, keys.probe(), self.location.part_size);
        let tried = self.write_and_read(&mut probe).await;
        // Also after a failed step: the probe may exist.
        let start = Instant::now();
        let deleted = limited(STEP_LIMIT, probe.delete()).await;
        let took = start.elapsed();
        if let Err(error) = &deleted
            && self.may_have_written()
        {
            self.note_kept(&probe, error);
        }
        if store.is_unverified() {
            let message = "This server verifies no checksum: damage on the way to it stays unnoticed until a backup is verified \
                           or restored. Let the agent verify backups from time to time (verify_every).";
            self.note(UNVERIFIED, UNVERIFIED, message.to_owned(), []);
        }
        if store.keeps_versions() == Some(true) {
            let message = "The bucket keeps versions: backups that Home Assistant deletes stay in it, and cost, until a rule of the \
                           bucket removes them. Set one at the provider that deletes old versions (Amazon calls it \
                           NoncurrentVersionExpiration); what a lock keeps stays until the lock ends.";
            self.note(KEEPS_VERSIONS, KEEPS_VERSIONS, message.to_owned(), []);
        }
        tried?;
        // A backup needs no deletion: a key or a bucket that keeps everything can be used.
        deleted.map_or(Ok(()), |()| self.push("delete", took, Ok(())))
    }

    fn note_kept(&mut self, probe: &Probe<'_>, error: &Error) {
        let message = format!(
            "The check could not delete its object \"{}\", which stays: {error} {} Backups can be stored and restored, but \
             those that Home Assistant deletes stay in the bucket, and cost.",
            probe.key,
            error.hint()
        );
        let about = [("key", probe.key.to_string()), ("said", said(error))];
        self.note(LEFT_BEHIND, "left_behind_object", message, about);
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

    fn note<const N: usize>(
        &mut self,
        code: &'static str,
        reason: &'static str,
        message: String,
        placeholders: [(&'static str, String); N],
    ) {
        self.notes.push(CheckNote {
            code,
            reason,
            key: None,
            message,
            placeholders: placeholders.into(),
            suggestion: None,
        });
    }

    async fn write_and_read(&mut self, probe: &mut Probe<'_>) -> Result<(), Stopped> {
        self.step("write", probe.write()).await?;
        self.multipart(probe).await?;
        let start = Instant::now();
        let read = limited(self.limit(), probe.read()).await;
        match read {
            Err(error) if error.reason() == Reason::Archived.code() => {
                let code = Reason::Archived.code();
                self.note(code, code, format!("{error} {}", error.hint()), []);
                self.push("read", start.elapsed(), Ok(()))
            }
            read => self.push("read", start.elapsed(), read),
        }
    }

    /// Completes an upload in parts, and aborts another one.
    async fn multipart(&mut self, probe: &mut Probe<'_>) -> Result<(), Stopped> {
        let start = Instant::now();
        let mut started = None;
        let stored = probe.write_in_parts(self.limit(), &mut started).await;
        match &stored {
            Ok(Some(proven)) => {
                let message = format!(
                    "The uplink is slow: it took {} KiB within {} s, so that no larger request was tried. A part of a backup \
                     has {} KiB.",
                    proven / 1024,
                    STEP_LIMIT.as_secs(),
                    self.location.part_size / 1024
                );
                let about = [
                    ("proven_kib", (proven / 1024).to_string()),
                    ("seconds", STEP_LIMIT.as_secs().to_string()),
                    ("part_kib", (self.location.part_size / 1024).to_string()),
                ];
                self.note(SLOW_UPLINK, SLOW_UPLINK, message, about);
            }
            Ok(None) => {}
            Err(_) => {
                if let Some(multipart) = started {
                    let aborted = limited(STEP_LIMIT, async { Ok(abort(&multipart).await) }).await;
                    self.warn(probe, aborted.unwrap_or(Err(Warning::NoAbort(None))));
                }
            }
        }
        self.push("multipart", start.elapsed(), stored.map(drop))?;
        if matches!(self.location.backend, Backend::S3(_)) {
            let aborted = limited(STEP_LIMIT, async { Ok(probe.abort_another().await) }).await;
            self.warn(probe, aborted.unwrap_or(Ok(())));
        }
        Ok(())
    }

    /// Notes a permission that no backup needs every night.
    fn warn(&mut self, probe: &Probe<'_>, result: Result<(), Warning>) {
        let (reason, words, message) = match result {
            Ok(()) => return,
            Err(Warning::NoList) => {
                let message = "The key may not list unfinished uploads (Amazon calls it s3:ListBucketMultipartUploads). Parts of uploads \
                 that break off stay until the bucket's own rules remove them.";
                ("left_behind_list", String::new(), message.to_owned())
            }
            Err(Warning::NoAbort(error)) => {
                let words = error.as_ref().map(said).unwrap_or_default();
                let why = error.map(|error| format!(": {error} {}", error.hint()));
                let another = ". Another check is running, or its key may not abort (Amazon calls it s3:AbortMultipartUpload).";
                let message = format!(
                    "An unfinished upload of \"{}\" stays, which the check could not abort{} Parts of uploads that are \
                     cancelled stay, and cost, until the bucket's own rules remove them.",
                    probe.key,
                    why.unwrap_or_else(|| another.to_owned())
                );
                ("left_behind_upload", words, message)
            }
        };
        let about = [("key", probe.key.to_string()), ("said", words)];
        self.note(LEFT_BEHIND, reason, message, about);
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
            Ok(Err(error)) => {
                let condition =
                    format!("s3:ListBucket; a condition on s3:prefix must allow \"{folder}\"");
                let outcome = Some(error.outcome);
                (outcome, Some(not_allowed(error, "list", &condition)))
            }
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

#[cfg(test)]
mod tests;
