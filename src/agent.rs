//! The agent: locations, their backups, and uploads. Independent of HTTP and S3.

pub mod beside;
pub mod catalog;
pub mod check;
mod cleanup;
pub mod copy;
pub mod diagnostics;
pub mod download;
mod embedded;
pub mod events;
pub mod folder;
pub mod identity;
mod journal;
pub(crate) mod kept;
pub mod location;
pub mod model;
pub mod nearby;
pub mod opened;
mod peek;
mod poll;
pub mod recover;
mod registry;
mod task;
pub mod upload;
mod uploads;
pub mod verify;

use std::sync::Arc;
use std::time::Duration;
use std::{io, path::Path};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::backup::{AgentBackup, StoredBackup};
use crate::config::{self, Origin};
use crate::error::Result;
use catalog::{Entry, View};
use cleanup::Sweeper;
use copy::{CopyOutcome, CopyPlan, CopyRequest};
use diagnostics::{Diagnostics, Figures};
use embedded::retire_embedded;
use events::Events;
use journal::Journals;
use location::{Location, ids::Ids};
use model::{CheckReport, CheckStep, LocationStatus, Recovery, UploadStatus, VerifyMode};
use poll::poll;
use registry::Registry;
pub(crate) use task::shutting_down;
use task::to_end;
use upload::{Announcement, Context, Received, Upload, Uploader};
use uploads::Uploads;
use verify::schedule::Scheduler;
use verify::{Verification, Verifier};

/// The agent.
#[derive(Debug)]
pub struct Agent {
    /// New at each start.
    pub instance_id: String,
    locations: Arc<Registry>,
    uploads: Arc<Uploads>,
    events: Events,
    context: Context,
    verifier: Verifier,
}

impl Agent {
    /// Opens all locations, without a request. Journals and verification records are kept in `state_dir`.
    #[must_use]
    pub fn new(locations: Vec<config::Location>, state_dir: &Path) -> Arc<Self> {
        let events = Events::default();
        let locations = Arc::new(Registry::open(locations, Ids::read(state_dir), &events));
        let context = Context {
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            journals: Journals::new(state_dir),
        };
        let agent = Arc::new(Self {
            instance_id: uuid::Uuid::new_v4().to_string(),
            verifier: Verifier::new(Arc::clone(&locations), state_dir),
            locations,
            events,
            uploads: Arc::new(Uploads::new(context.clone())),
            context,
        });
        for location in agent.locations.all() {
            agent.verifier.show(&location);
        }
        agent
    }

    /// Sender of events.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Cancelled when the agent begins to shut down; new work is refused then.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.context.stopping
    }

    /// Status of all locations, in the order of the configuration.
    #[must_use]
    pub fn locations(&self) -> Vec<LocationStatus> {
        let all = self.locations.all();
        all.iter().map(|location| location.status()).collect()
    }

    /// The location with this id.
    ///
    /// # Errors
    /// `Kind::LocationNotFound`.
    pub fn location(&self, id: &str) -> Result<Arc<Location>> {
        self.locations.find(id)
    }

    /// Registers a location, or changes a registered one. Uploads in progress continue with the new key.
    ///
    /// # Errors
    /// `Kind::InvalidRequest` for a location of the agent's own configuration, or with another's folder.
    pub async fn put_location(&self, settings: config::Location) -> Result<Arc<Location>> {
        self.uploads.refuse_when_stopping()?;
        let before = self.locations.find(&settings.id).ok();
        let location = self.locations.put(settings).await?;
        match before {
            Some(before) => self.sweeper().sweep_abandoned(&before).await,
            None => self.retire_embedded().await,
        }
        self.verifier.show(&location);
        Ok(location)
    }

    /// Removes a registered location, or the embedded one, and cancels its uploads. Its backups stay.
    ///
    /// # Errors
    /// `Kind::LocationNotFound`; `Kind::InvalidRequest` for a location of the agent's own configuration.
    pub async fn remove_location(&self, id: &str) -> Result<()> {
        let location = self.location(id)?;
        self.locations.remove(id)?;
        self.uploads.remove_location(id).await;
        self.sweeper().sweep_abandoned(&location).await;
        Ok(())
    }

    /// Lists the backups of a location, within 20 seconds. `refresh` bypasses the cache.
    ///
    /// # Errors
    /// When the storage cannot be listed and there is no earlier list.
    pub async fn list(&self, location: &str, refresh: bool) -> Result<View> {
        self.location(location)?.list_and_note(refresh).await
    }

    /// Finds a backup.
    ///
    /// # Errors
    /// `Kind::BackupNotFound`, and those of [`Self::list`].
    pub async fn find(&self, location: &str, backup_id: &str) -> Result<Entry> {
        let location = self.location(location)?;
        location.note_error(location.find(backup_id).await)
    }

    /// Finds a backup and opens it with `open`; once more by a fresh list if its tar was deleted or renamed since the scan.
    ///
    /// # Errors
    /// Those of [`Self::find`] and of `open`.
    pub async fn open<T, F: Future<Output = Result<T>>>(
        &self,
        location: &str,
        backup_id: &str,
        open: impl Fn(Arc<Location>, Entry) -> F,
    ) -> Result<T> {
        self.location(location)?.open_backup(backup_id, open).await
    }

    /// Starts to verify a backup.
    ///
    /// # Errors
    /// `Kind::ShuttingDown`, and those of [`Self::find`].
    pub async fn verify(
        &self,
        location: &str,
        backup_id: &str,
        mode: VerifyMode,
    ) -> Result<Verification> {
        self.uploads.refuse_when_stopping()?;
        let entry = self.find(location, backup_id).await?;
        Ok(self.verifier.start(self.location(location)?, entry, mode))
    }

    /// Adopts tars without metadata: the named ones, or all orphans. With `dry_run` nothing is written.
    ///
    /// # Errors
    /// `Kind::ShuttingDown`, and errors of a scan. Errors of one tar are in the result.
    pub async fn recover(
        &self,
        location: &str,
        keys: Option<Vec<String>>,
        dry_run: bool,
    ) -> Result<Recovery> {
        self.uploads.refuse_when_stopping()?;
        let location = self.location(location)?;
        let (uploads, verifier) = (Arc::clone(&self.uploads), self.verifier.clone());
        to_end(&self.context.tasks, async move {
            recover::recover(&location, keys, dry_run, &uploads, &verifier).await
        })
        .await?
    }

    /// Plans a copy. Nothing is written.
    ///
    /// # Errors
    /// `Kind::LocationNotFound`; `Kind::InvalidRequest` if both sides are the same folder; errors of a scan.
    pub async fn plan_copy(&self, request: &CopyRequest) -> Result<CopyPlan> {
        let (from, to) = (self.location(&request.from)?, self.location(&request.to)?);
        copy::plan(from, to, request).await
    }

    /// Carries out a plan.
    pub fn copy(&self, plan: CopyPlan) -> impl Stream<Item = CopyOutcome> + use<> {
        copy::run(Arc::clone(&self.uploads), plan)
    }

    /// The agent's state.
    pub async fn diagnostics(&self) -> Diagnostics {
        let journal = self.context.journals.overview().await;
        Diagnostics::of(&self.locations.all(), self.uploads.status(), journal)
    }

    /// Figures of all locations.
    #[must_use]
    pub fn figures(&self) -> Vec<Figures> {
        self.locations.all().iter().map(Into::into).collect()
    }

    /// Deletes a backup: its metadata first, so that it is invisible before its tar is gone. Once the metadata is
    /// deleted the backup no longer exists; a tar that resists is removed in the background.
    ///
    /// # Errors
    /// `Kind::BackupNotFound`, and errors of the storage; the backup is unchanged then. `Kind::StorageTimeout` if the
    /// same backup is still being committed after 12 seconds. Deletions of other backups never wait for a commit.
    pub async fn delete(&self, location: &str, backup_id: &str) -> Result<()> {
        let location = self.location(location)?;
        let is_embedded = location.settings.origin == Origin::Embedded;
        let (backup_id, context) = (backup_id.to_owned(), self.context.clone());
        to_end(&self.context.tasks, async move {
            cleanup::delete(&location, &backup_id, &context.journals, &context.tasks).await
        })
        .await??;
        if is_embedded {
            self.retire_embedded().await;
        }
        Ok(())
    }

    /// Checks a location, and sends each step to `watcher` as it ends.
    ///
    /// # Errors
    /// `Kind::LocationNotFound`.
    pub async fn check(
        &self,
        location: &str,
        watcher: Option<UnboundedSender<CheckStep>>,
    ) -> Result<CheckReport> {
        let (location, locations) = (self.location(location)?, Arc::clone(&self.locations));
        to_end(&self.context.tasks, async move {
            let report = check::check(&location.settings, watcher).await;
            locations.note_check(&location, &report);
            report
        })
        .await
    }

    /// Checks settings without storing them.
    ///
    /// # Errors
    /// `Kind::ShuttingDown`. Errors of the settings are in the report.
    pub async fn check_settings(&self, settings: serde_json::Value) -> Result<CheckReport> {
        self.uploads.refuse_when_stopping()?;
        let locations = Arc::clone(&self.locations);
        let checking = async move { check::check_json(&settings, |it| locations.id_for(it)).await };
        to_end(&self.context.tasks, checking).await
    }

    /// Begins an upload. It supersedes an active upload of the same backup to the same location.
    ///
    /// # Errors
    /// `Kind::ShuttingDown`, and errors of the storage.
    pub async fn create_upload(
        &self,
        location: &str,
        backup: AgentBackup,
        filename: &str,
        uploader: Uploader,
    ) -> Result<Upload> {
        let announced = Announcement {
            backup,
            filename: filename.to_owned(),
            uploader,
            part_size: None,
        };
        let location = self.location(location)?;
        self.uploads.begin(location, announced).await
    }

    /// Status of all active uploads, the oldest first.
    #[must_use]
    pub fn uploads(&self) -> Vec<UploadStatus> {
        self.uploads.status()
    }

    /// Takes in an upload's content.
    ///
    /// # Errors
    /// As [`Upload::receive`]; the upload has ended then.
    pub async fn receive<S>(&self, upload_id: &str, body: S) -> Result<Received>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.uploads.receive(upload_id, body).await
    }

    /// Commits the backup of an upload.
    ///
    /// # Errors
    /// As [`Upload::complete`]; nothing is kept then.
    pub async fn complete_upload(
        &self,
        upload_id: &str,
        size: u64,
        crc32: String,
    ) -> Result<StoredBackup> {
        self.uploads.complete(upload_id, size, crc32).await
    }

    /// Cancels an upload. Its cleanup continues in the background.
    ///
    /// # Errors
    /// `Kind::UploadNotFound`, also if the backup exists already.
    pub async fn cancel_upload(&self, upload_id: &str) -> Result<()> {
        self.uploads.cancel(upload_id).await
    }

    /// Sweeps leftovers of interrupted uploads, runs scheduled verifications and polls idle locations, until the agent stops.
    pub fn start_maintenance(&self) {
        let (tasks, stopping) = (&self.context.tasks, &self.context.stopping);
        let scheduler = Scheduler::new(self.verifier.clone(), Arc::clone(&self.uploads));
        tasks.spawn(self.sweeper().run(stopping.clone()));
        tasks.spawn(scheduler.run(stopping.clone()));
        tasks.spawn(poll(self.verifier.clone(), stopping.clone()));
        tasks.spawn(self.retire_embedded());
    }

    /// Sweeps the journals of interrupted uploads and deletions once.
    pub async fn sweep_journals(&self) {
        self.sweeper().sweep_journals().await;
    }

    /// Begins a graceful shutdown: refuses new work and interrupts uploads that receive content. Their stored parts are
    /// kept for the next attempt.
    pub fn begin_shutdown(&self) {
        self.context.stopping.cancel();
    }

    /// Ends all uploads and waits for their cleanup, within `limit`.
    pub async fn stop(&self, limit: Duration) {
        self.begin_shutdown();
        let cleaned = timeout(limit, async {
            self.uploads.shut_down().await;
            self.context.tasks.close();
            self.context.tasks.wait().await;
        });
        if cleaned.await.is_err() {
            warn!(
                limit_seconds = limit.as_secs(),
                "stopping before all cleanup ended; the next start sweeps what is left"
            );
        }
    }

    fn retire_embedded(&self) -> impl Future<Output = ()> + use<> {
        let (locations, uploads) = (Arc::clone(&self.locations), Arc::clone(&self.uploads));
        retire_embedded(locations, uploads, self.sweeper())
    }

    fn sweeper(&self) -> Sweeper {
        Sweeper::new(
            Arc::clone(&self.context.journals),
            Arc::clone(&self.locations),
            self.context.tasks.clone(),
        )
    }
}
