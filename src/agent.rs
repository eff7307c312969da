//! The agent: locations, their backups, and uploads. Independent of HTTP and S3.

pub mod catalog;
pub mod check;
mod cleanup;
pub mod copy;
pub mod diagnostics;
pub mod download;
pub mod events;
pub mod folder;
pub mod identity;
mod journal;
pub(crate) mod kept;
pub mod location;
pub mod model;
mod peek;
pub mod recover;
mod registry;
mod task;
pub mod upload;
pub mod verify;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::backup::{AgentBackup, StoredBackup};
use crate::config;
use crate::error::{Error, Kind, Result};
use catalog::{Entry, View};
use cleanup::{Sweeper, abandon};
use copy::{CopyOutcome, CopyPlan, CopyRequest};
use diagnostics::{Diagnostics, Figures, Limits};
use download::Download;
use events::Events;
use journal::Journals;
use location::Location;
use model::{CheckReport, CheckStep, LocationStatus, Recovery, UploadStatus, VerifyMode};
use recover::Guards;
use registry::Registry;
pub(crate) use task::shutting_down;
use task::stopped;
use upload::{Announcement, Context, Origin, Reason, Received, Upload};
use verify::schedule::Scheduler;
use verify::{Verification, Verifier};

/// Uploads at the same time; each may hold a few parts in memory.
const MAX_UPLOADS: usize = 16;

/// Those of them that may go to one location.
const MAX_UPLOADS_OF_ONE: usize = 4;

/// How long a deletion waits for a commit of the same backup.
const COMMIT_WAIT: Duration = Duration::from_secs(12);

/// The agent.
#[derive(Debug)]
pub struct Agent {
    /// New at each start.
    pub instance_id: String,
    locations: Arc<Registry>,
    uploads: Mutex<HashMap<String, Upload>>,
    events: Events,
    stopping: CancellationToken,
    tasks: TaskTracker,
    journals: Arc<Journals>,
    verifier: Verifier,
}

impl Agent {
    /// Opens all locations, without a request. Journals and verification records are kept in `state_dir`.
    ///
    /// # Errors
    /// When a location's storage cannot be set up.
    pub fn new(locations: Vec<config::Location>, state_dir: &Path) -> Result<Arc<Self>> {
        let events = Events::default();
        let locations = Arc::new(Registry::open(locations, &events)?);
        let agent = Arc::new(Self {
            instance_id: uuid::Uuid::new_v4().to_string(),
            verifier: Verifier::new(Arc::clone(&locations), state_dir),
            locations,
            uploads: Mutex::default(),
            events,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            journals: Journals::new(state_dir),
        });
        for location in agent.locations.all() {
            agent.verifier.show(&location);
        }
        Ok(agent)
    }

    /// Sender of events.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Cancelled when the agent begins to shut down; new work is refused then.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Status of all locations, in the order of the configuration.
    #[must_use]
    pub fn locations(&self) -> Vec<LocationStatus> {
        self.locations
            .all()
            .iter()
            .map(|location| location.status())
            .collect()
    }

    /// The location with this id.
    ///
    /// # Errors
    /// [`Kind::LocationNotFound`].
    pub fn location(&self, id: &str) -> Result<Arc<Location>> {
        self.locations.find(id)
    }

    /// Registers a location, or changes a registered one. Uploads in progress continue with the new key.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`] for a location of the agent's own configuration.
    pub async fn put_location(&self, settings: config::Location) -> Result<Arc<Location>> {
        self.refuse_when_stopping()?;
        let before = self.locations.find(&settings.id).ok();
        let location = self.locations.put(settings)?;
        if let Some(before) = before {
            self.abandon_left(&before).await;
        }
        self.verifier.show(&location);
        Ok(location)
    }

    /// Removes a registered location and cancels its uploads. Its backups stay.
    ///
    /// # Errors
    /// [`Kind::LocationNotFound`]; [`Kind::InvalidRequest`] for a location of the agent's own configuration.
    pub async fn remove_location(&self, id: &str) -> Result<()> {
        let location = self.location(id)?;
        self.locations.remove(id)?;
        let uploads: Vec<_> = {
            let uploads = self.uploads();
            uploads
                .values()
                .filter(|upload| !upload.has_ended() && upload.location().id() == id)
                .cloned()
                .collect()
        };
        for upload in uploads {
            upload.discard(Reason::LocationRemoved).await;
            self.uploads().remove(&upload.id);
        }
        self.abandon_left(&location).await;
        Ok(())
    }

    /// Discards interrupted uploads to a folder that no location leads to any more: they cannot be resumed.
    async fn abandon_left(&self, location: &Arc<Location>) {
        if self.locations.at(&location.folder.id).is_some() {
            return;
        }
        for upload in self.journals.interrupted_in(&location.folder.id).await {
            abandon(location, upload, &self.tasks);
        }
    }

    /// Lists the backups of a location, within 20 seconds. `refresh` bypasses the cache.
    ///
    /// # Errors
    /// When the storage cannot be listed and there is no earlier list.
    pub async fn list(&self, location: &str, refresh: bool) -> Result<View> {
        let location = self.location(location)?;
        let start = Instant::now();
        let view = location.note_error(location.list(refresh).await)?;
        match &view.error {
            Some(error) => drop(location.note::<()>(Err(error.clone()))),
            // An older list says nothing about the storage now.
            None if view.listing.taken >= start => location.note(Ok(()))?,
            None => {}
        }
        Ok(view)
    }

    /// Finds a backup.
    ///
    /// # Errors
    /// [`Kind::BackupNotFound`], and those of [`Self::list`].
    pub async fn find(&self, location: &str, backup_id: &str) -> Result<Entry> {
        let location = self.location(location)?;
        location.note_error(location.find(backup_id).await)
    }

    /// Finds a backup and opens it with `open`; once more by a fresh list if its tar was deleted or renamed since the scan.
    ///
    /// # Errors
    /// Those of [`Self::find`] and of `open`.
    pub async fn open<T, F>(
        &self,
        location: &str,
        backup_id: &str,
        open: impl Fn(Arc<Location>, Entry) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let location = self.location(location)?;
        let entry = location.note_error(location.find(backup_id).await)?;
        match open(Arc::clone(&location), entry).await {
            Err(error) if error.kind() == Kind::BackupNotFound => {
                let entry = location.note_error(location.find(backup_id).await)?;
                open(location, entry).await
            }
            opened => opened,
        }
    }

    /// Opens a listed backup, or a range of it.
    ///
    /// # Errors
    /// [`Kind::LocationNotFound`], and those of [`Download::open`].
    pub async fn download(
        &self,
        location: &str,
        entry: &Entry,
        range: Option<Range<u64>>,
    ) -> Result<Download> {
        Download::open(self.location(location)?, entry, range).await
    }

    /// Starts to verify a backup.
    ///
    /// # Errors
    /// [`Kind::ShuttingDown`], and those of [`Self::find`].
    pub async fn verify(
        &self,
        location: &str,
        backup_id: &str,
        mode: VerifyMode,
    ) -> Result<Verification> {
        self.refuse_when_stopping()?;
        let entry = self.find(location, backup_id).await?;
        Ok(self.verifier.start(self.location(location)?, entry, mode))
    }

    /// Adopts tars without metadata: the named ones, or all orphans. With `dry_run` nothing is written.
    ///
    /// # Errors
    /// [`Kind::ShuttingDown`], and errors of a scan. Errors of one tar are in the result.
    pub async fn recover(
        self: &Arc<Self>,
        location: &str,
        keys: Option<Vec<String>>,
        dry_run: bool,
    ) -> Result<Recovery> {
        self.refuse_when_stopping()?;
        let location = self.location(location)?;
        let agent = Arc::clone(self);
        // Its own task: a client that disconnects leaves no tar half adopted.
        let recovering = self.tasks.spawn(async move {
            let guards = Guards {
                is_uploading: &|id| !agent.uploads_at(&location, id).0.is_empty(),
                stopping: &agent.stopping,
            };
            recover::recover(&location, keys, dry_run, guards).await
        });
        recovering.await.map_err(stopped)?
    }

    /// Plans a copy. Nothing is written.
    ///
    /// # Errors
    /// [`Kind::LocationNotFound`]; [`Kind::InvalidRequest`] if both sides are the same folder; errors of a scan.
    pub async fn plan_copy(&self, request: &CopyRequest) -> Result<CopyPlan> {
        copy::plan(
            self.location(&request.from)?,
            self.location(&request.to)?,
            request,
        )
        .await
    }

    /// Carries out a plan.
    pub fn copy(self: &Arc<Self>, plan: CopyPlan) -> impl Stream<Item = CopyOutcome> + use<> {
        copy::run(Arc::clone(self), plan)
    }

    /// The agent's state.
    pub async fn diagnostics(&self) -> Diagnostics {
        let locations = self.locations.all();
        Diagnostics {
            locations: locations
                .iter()
                .map(|location| (&**location).into())
                .collect(),
            uploads: self.uploads_under_way(),
            journal: self.journals.overview().await,
            limits: Limits::new(MAX_UPLOADS, MAX_UPLOADS_OF_ONE),
        }
    }

    /// Figures of all locations.
    #[must_use]
    pub fn figures(&self) -> Vec<Figures> {
        let locations = self.locations.all();
        locations
            .iter()
            .map(|location| (&**location).into())
            .collect()
    }

    /// Deletes a backup: its metadata first, so that it is invisible before its tar is gone. Once the metadata is
    /// deleted the backup no longer exists; a tar that resists is removed in the background.
    ///
    /// # Errors
    /// [`Kind::BackupNotFound`], and errors of the storage; the backup is unchanged then. [`Kind::StorageTimeout`] if the
    /// same backup is still being committed after 12 seconds. Deletions of other backups never wait for a commit.
    pub async fn delete(&self, location: &str, backup_id: &str) -> Result<()> {
        let (location, backup_id) = (self.location(location)?, backup_id.to_owned());
        let (journals, tasks) = (Arc::clone(&self.journals), self.tasks.clone());
        // A task of its own: a client that disconnects does not interrupt the deletion.
        let deleting = self.tasks.spawn(async move {
            let changing = location.folder.changing(&backup_id);
            let Ok(_changing) = timeout(COMMIT_WAIT, changing.write()).await else {
                return Err(being_stored(&backup_id));
            };
            cleanup::delete(&location, &backup_id, &journals, &tasks).await
        });
        deleting.await.map_err(stopped)?
    }

    /// Checks a location.
    ///
    /// # Errors
    /// [`Kind::LocationNotFound`].
    pub async fn check(&self, location: &str) -> Result<CheckReport> {
        self.check_watched(location, None).await
    }

    /// Checks a location, and sends each step to `watcher` as it ends.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub async fn check_watched(
        &self,
        location: &str,
        watcher: Option<UnboundedSender<CheckStep>>,
    ) -> Result<CheckReport> {
        let location = self.location(location)?;
        // Its own task: a client that disconnects does not leave probes behind.
        let checking = self.tasks.spawn(async move {
            let report = check::check(&location.settings, watcher).await;
            location.history().checked(report.clone());
            report
        });
        checking.await.map_err(stopped)
    }

    /// Checks settings without storing them.
    ///
    /// # Errors
    /// [`Kind::ShuttingDown`]. Errors of the settings are in the report.
    pub async fn check_settings(&self, settings: serde_json::Value) -> Result<CheckReport> {
        self.refuse_when_stopping()?;
        let checking = self
            .tasks
            .spawn(async move { check::check_json(&settings).await });
        checking.await.map_err(stopped)
    }

    /// Begins an upload from Home Assistant. It supersedes an active upload of the same backup to the same location.
    ///
    /// # Errors
    /// [`Kind::ShuttingDown`], and errors of the storage.
    pub async fn create_upload(
        &self,
        location: &str,
        backup: AgentBackup,
        filename: &str,
    ) -> Result<Upload> {
        self.announce(location, backup, filename, Origin::HomeAssistant)
            .await
    }

    /// Begins an upload that is not resumed after an interruption.
    ///
    /// # Errors
    /// As [`Self::create_upload`].
    pub async fn create_upload_once(
        &self,
        location: &str,
        backup: AgentBackup,
        filename: &str,
    ) -> Result<Upload> {
        self.announce(location, backup, filename, Origin::Command)
            .await
    }

    async fn announce(
        &self,
        location: &str,
        backup: AgentBackup,
        filename: &str,
        origin: Origin,
    ) -> Result<Upload> {
        let announced = Announcement {
            backup,
            filename: filename.to_owned(),
            origin,
            part_size: None,
        };
        self.begin_upload(location, announced).await
    }

    async fn begin_upload(&self, location: &str, announced: Announcement) -> Result<Upload> {
        let location = self.location(location)?;
        catalog::refuse_oversized(&announced.backup)?;
        loop {
            self.refuse_when_stopping()?;
            // One at a time: the key of an upload that began a moment ago still looks free in the bucket.
            let creating = location.folder.creating.lock().await;
            let (same, beside) = self.uploads_at(&location, &announced.backup.backup_id);
            if same.is_empty() {
                self.refuse_when_busy(beside.len())?;
                let taken: Vec<_> = beside.iter().map(|upload| upload.tar().clone()).collect();
                let context = Context {
                    stopping: self.stopping.clone(),
                    tasks: self.tasks.clone(),
                    journals: Arc::clone(&self.journals),
                };
                let upload =
                    Upload::begin(Arc::clone(&location), announced, &taken, context).await?;
                self.uploads().insert(upload.id.clone(), upload.clone());
                return Ok(upload);
            }
            drop(creating);
            for upload in same {
                upload.discard(Reason::Superseded).await;
                self.uploads().remove(&upload.id);
            }
        }
    }

    /// Active uploads to the folder of a location: those of this backup to this location, and the others.
    fn uploads_at(&self, location: &Location, backup_id: &str) -> (Vec<Upload>, Vec<Upload>) {
        let mut uploads = self.uploads();
        uploads.retain(|_, upload| !upload.has_ended());
        let here = uploads
            .values()
            .filter(|upload| upload.location().folder.id == location.folder.id)
            .cloned();
        here.partition(|upload| {
            upload.backup_id() == backup_id && upload.location().id() == location.id()
        })
    }

    /// Status of all active uploads, the oldest first.
    #[must_use]
    pub fn uploads_under_way(&self) -> Vec<UploadStatus> {
        let mut uploads: Vec<_> = self
            .uploads()
            .values()
            .filter(|upload| !upload.has_ended())
            .map(Upload::status)
            .collect();
        uploads.sort_by(|one, other| {
            (&one.started_at, &one.upload_id).cmp(&(&other.started_at, &other.upload_id))
        });
        uploads
    }

    /// Takes in an upload's content.
    ///
    /// # Errors
    /// As [`Upload::receive`]; the upload has ended then.
    pub async fn receive<S>(&self, upload_id: &str, body: S) -> Result<Received>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let result = self.upload(upload_id)?.receive(body).await;
        self.forget_ended(upload_id);
        result
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
        let result = self.upload(upload_id)?.complete(size, crc32).await;
        self.forget_ended(upload_id);
        result
    }

    /// Cancels an upload. Its cleanup continues in the background.
    ///
    /// # Errors
    /// [`Kind::UploadNotFound`], also if the backup exists already.
    pub async fn cancel_upload(&self, upload_id: &str) -> Result<()> {
        let is_cancelled = self.upload(upload_id)?.discard(Reason::Cancelled).await;
        self.uploads().remove(upload_id);
        if is_cancelled {
            Ok(())
        } else {
            Err(upload::not_found(upload_id))
        }
    }

    /// Sweeps leftovers of interrupted uploads and runs scheduled verifications, until the agent stops.
    pub fn keep_tidy(self: &Arc<Self>) {
        self.tasks.spawn(self.sweeper().run(self.stopping.clone()));
        let agent = Arc::downgrade(self);
        let has_uploads = move || {
            let agent = agent.upgrade();
            agent.is_some_and(|agent| !agent.uploads_under_way().is_empty())
        };
        let scheduler = Scheduler::new(self.verifier.clone(), Arc::new(has_uploads));
        self.tasks.spawn(scheduler.run(self.stopping.clone()));
    }

    /// Sweeps the journals of interrupted uploads and deletions once.
    pub async fn end_what_was_left(&self) {
        self.sweeper().sweep_journals().await;
    }

    /// Begins a graceful shutdown: refuses new work and interrupts uploads that receive content. Their stored parts are
    /// kept for the next attempt.
    pub fn begin_to_stop(&self) {
        self.stopping.cancel();
    }

    /// Ends all uploads and waits for their cleanup, within `limit`.
    pub async fn stop(&self, limit: Duration) {
        self.stopping.cancel();
        let uploads: Vec<_> = self.uploads().drain().map(|(_, upload)| upload).collect();
        let cleaned = timeout(limit, async {
            futures_util::future::join_all(
                uploads
                    .iter()
                    .map(|upload| upload.discard(Reason::ShuttingDown)),
            )
            .await;
            self.tasks.close();
            self.tasks.wait().await;
        });
        if cleaned.await.is_err() {
            warn!(
                "stopping with work left; unfinished multipart uploads may be left in the bucket"
            );
        }
    }

    fn sweeper(&self) -> Sweeper {
        Sweeper::new(
            Arc::clone(&self.journals),
            Arc::clone(&self.locations),
            self.tasks.clone(),
        )
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.uploads.lock()
    }

    fn upload(&self, id: &str) -> Result<Upload> {
        self.uploads()
            .get(id)
            .cloned()
            .ok_or_else(|| upload::not_found(id))
    }

    fn forget_ended(&self, id: &str) {
        let mut uploads = self.uploads();
        if uploads.get(id).is_some_and(Upload::has_ended) {
            uploads.remove(id);
        }
    }

    fn refuse_when_stopping(&self) -> Result<()> {
        if self.stopping.is_cancelled() {
            Err(shutting_down())
        } else {
            Ok(())
        }
    }

    /// One location whose provider is slow must not take the places of all others.
    fn refuse_when_busy(&self, here: usize) -> Result<()> {
        if here < MAX_UPLOADS_OF_ONE && self.uploads().len() < MAX_UPLOADS {
            return Ok(());
        }
        let detail = format!(
            "Too many uploads are under way: {MAX_UPLOADS_OF_ONE} may be to one location, {MAX_UPLOADS} to all together."
        );
        Err(Error::new(Kind::StorageThrottled, detail))
    }
}

/// The error for a deletion of a backup whose commit waits for its storage.
fn being_stored(backup_id: &str) -> Error {
    let detail = format!("The backup \"{backup_id}\" is still being stored.");
    Error::new(Kind::StorageTimeout, detail).with_hint("Cancel its upload, or delete it later.")
}
