//! The end of an upload, in the order that is the promise: the tar, its size confirmed, the metadata.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tracing::warn;

use super::{Content, Keep, Tar, Upload};
use crate::agent::cleanup::{Deletion, EarlierCopy};
use crate::agent::journal::Tombstone;
use crate::backup::{AgentBackup, AgentMetadata, FORMAT, StoredBackup};
use crate::error::{Error, Kind, Result};
use crate::store::{Backoff, ContentType, Error as StoreError, Object, Outcome, Patience};
use crate::units::{rfc3339_millis, sha256};

/// How long what was stored a moment ago is looked for. A proxy that does not reach the server says that it is not there,
/// and an answer to HEAD has no body to tell that by.
const NOT_FOUND_FOR: Duration = Duration::from_mins(2);

impl Upload {
    pub(super) async fn put_in_place(
        self: &Arc<Self>,
        content: &Content,
        tar: Tar,
    ) -> Result<StoredBackup> {
        let location = &self.location;
        let _changing = location.folder.changing.read().await;
        let before = match self.refuse_when_taken().await {
            Ok(before) => before.map(|left| left.version),
            Err(error) => {
                self.leave_or_clean_up(Some(tar), &error);
                return Err(error);
            }
        };
        let (multipart, is_copy) = (tar.multipart(), matches!(tar, Tar::Inside(_)));
        if let Err(error) = self.store_tar(tar, content.size, before.as_deref()).await {
            // An earlier attempt may have arrived, whatever the last one came to.
            let removal = Tombstone::Failed {
                metadata: None,
                version: None,
            };
            let is_transient = error.outcome.is_transient() || error.may_pass;
            if is_transient && self.means.options.keep == Keep::Failed {
                self.record.leave();
            } else if is_copy {
                // A server that takes the request for another one has stored something else.
                self.record.removing(&removal).await;
                self.erased(removal, None, content.size).await;
            } else {
                self.erase(removal, multipart, content.size).await;
            }
            return Err(error.into());
        }
        let (mut metadata, mut version) = (None, None);
        let described = self
            .confirm_and_describe(content, &mut metadata, &mut version)
            .await;
        if described.is_ok() {
            self.remove_replaced();
        } else {
            self.erase(Tombstone::Failed { metadata, version }, None, content.size)
                .await;
        }
        described
    }

    /// Another agent on the same folder may have chosen the same name since, and both would write over each other. Gives
    /// the tar that an earlier attempt left there.
    async fn refuse_when_taken(&self) -> Result<Option<Object>> {
        let (location, key) = (&self.location, self.tar_key());
        match self.store.object_if_any(&key, location.patience()).await? {
            None => Ok(None),
            // It has no metadata.
            Some(left) if self.has_left && !self.is_described().await? => Ok(Some(left)),
            Some(_) => {
                let place = location.store.place();
                let detail = format!(
                    "Something else wrote \"{key}\" to {place} while this backup was on its way."
                );
                Err(Error::new(Kind::StorageError, detail)
                    .with_hint("Upload it again: it gets another name."))
            }
        }
    }

    async fn is_described(&self) -> Result<bool> {
        let (location, metadata) = (&self.location, self.location.keys.metadata(&self.stem));
        Ok(self
            .store
            .object_if_any(&metadata, location.patience())
            .await?
            .is_some())
    }

    async fn store_tar(
        self: &Arc<Self>,
        tar: Tar,
        size: u64,
        before: Option<&str>,
    ) -> std::result::Result<(), StoreError> {
        let (store, key, patience) = (&self.store, self.tar_key(), self.location.patience());
        match tar {
            Tar::Parts(multipart, parts) => {
                multipart.complete(&parts, size, before, patience).await
            }
            Tar::Whole(data) => {
                self.begin_in_one_request().await;
                store.write(&key, data, ContentType::Tar, patience).await
            }
            Tar::Inside(source) => {
                self.begin_in_one_request().await;
                store.copy(&source, &key, patience).await
            }
        }
    }

    /// Says whose tar it is that comes to be under this key.
    async fn begin_in_one_request(self: &Arc<Self>) {
        if let Some((resumed, _)) = self.record.resume() {
            let upload = Arc::clone(self);
            self.means.tasks.spawn(async move {
                drop(resumed.multipart.abort(upload.location.patience()).await);
            });
        }
        drop(
            self.record
                .begin(self.header(None), &self.means.tasks)
                .await,
        );
    }

    /// The tar in its place, which must have the size that was sent.
    async fn confirmed(&self, content: &Content) -> Result<Object> {
        let key = self.tar_key();
        let mut backoff = Backoff::new(Patience::lasting(
            self.location.settings.outage.min(NOT_FOUND_FOR),
        ));
        let tar = loop {
            match self.store.object(&key, self.location.patience()).await {
                Err(error) if error.outcome == Outcome::NotFound => {
                    backoff
                        .pause(StoreError {
                            may_pass: true,
                            ..error
                        })
                        .await?;
                }
                found => break found?,
            }
        };
        if tar.size != content.size {
            let detail = format!(
                "\"{}\" has {} bytes in the bucket, but {} were sent.",
                tar.key, tar.size, content.size
            );
            return Err(Error::new(Kind::StorageError, detail));
        }
        Ok(tar)
    }

    /// Writes the metadata, and tells before each step what is in the bucket when that fails: the metadata object's
    /// SHA-256 and the tar's version.
    async fn confirm_and_describe(
        &self,
        content: &Content,
        metadata: &mut Option<String>,
        version: &mut Option<String>,
    ) -> Result<StoredBackup> {
        *version = Some(self.confirmed(content).await?.version);
        let stored = self.describe(content);
        let json = stored
            .to_object()
            .map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
        *metadata = Some(sha256(&json));
        let key = self.location.keys.metadata(&self.stem);
        self.store
            .write(
                &key,
                json.into(),
                ContentType::Json,
                self.location.patience(),
            )
            .await?;
        Ok(stored)
    }

    /// An earlier copy of this backup goes when the new one is complete, not before.
    fn remove_replaced(self: &Arc<Self>) {
        for copy in self.replaced.clone() {
            let upload = Arc::clone(self);
            self.means.tasks.spawn(async move {
                if let Err(error) = upload.remove_copy(&copy).await {
                    let tar = upload.location.keys.tar(&copy.stem);
                    warn!("an earlier copy of the backup, \"{tar}\", is left behind: {error}");
                }
            });
        }
    }

    async fn remove_copy(&self, copy: &EarlierCopy) -> std::result::Result<(), StoreError> {
        let (location, patience) = (&self.location, self.location.patience());
        let (id, journals) = (&self.backup.backup_id, &self.means.journals);
        if let Some(deletion) = Deletion::begin_copy(location, copy, id, journals).await? {
            deletion.finish(patience, &self.means.tasks).await;
            location.outdated();
        }
        Ok(())
    }

    fn describe(&self, content: &Content) -> StoredBackup {
        let backup = AgentBackup {
            size: content.size,
            ..self.backup.clone()
        };
        let agent = content.sha256.clone().map(|sha256| AgentMetadata {
            format: FORMAT,
            size: content.size,
            sha256: Some(sha256),
            crc32: content.crc32.clone(),
            part_size: Some(content.part_size),
            uploaded_at: rfc3339_millis(Utc::now()),
            duration_ms: u64::try_from(self.started.1.elapsed().as_millis()).ok(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        StoredBackup { backup, agent }
    }
}
