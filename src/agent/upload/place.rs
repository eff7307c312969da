//! The end of an upload, in the order that is the promise: the tar, its size confirmed, the metadata.

use std::sync::Arc;

use chrono::Utc;

use super::{Content, Keep, Tar, Upload};
use crate::backup::{AgentBackup, AgentMetadata, FORMAT, StoredBackup};
use crate::error::{Error, Kind, Result};
use crate::store::{ContentType, Error as StoreError, Outcome};

impl Upload {
    pub(super) async fn put_in_place(self: &Arc<Self>, content: &Content, tar: Tar) -> Result<StoredBackup> {
        let location = &self.location;
        let _changing = location.changing.read().await;
        if let Err(error) = self.refuse_when_taken().await {
            self.leave_or_clean_up(Some(tar), &error);
            return Err(error);
        }
        if let Err(error) = self.store_tar(content, tar).await {
            // The tar may have arrived, and only the answer was lost. A refusal changed nothing.
            if error.outcome.is_transient() && self.means.options.keep != Keep::Failed {
                self.erase();
            }
            return Err(error.into());
        }
        match self.describe_in_bucket(content).await {
            Ok(stored) => {
                self.remove_replaced();
                Ok(stored)
            }
            Err(error) => {
                self.erase();
                Err(error)
            }
        }
    }

    /// Another agent on the same folder may have chosen the same name since, and both would write over each other.
    async fn refuse_when_taken(&self) -> Result<()> {
        let (location, key) = (&self.location, self.tar_key());
        match location.store.size(&key, location.patience()).await {
            Err(error) if error.outcome == Outcome::NotFound => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) if self.has_left => Ok(()),
            Ok(_) => {
                let place = location.store.place();
                let detail = format!("Something else wrote \"{key}\" to {place} while this backup was on its way.");
                Err(Error::new(Kind::StorageError, detail).with_hint("Upload it again: it gets another name."))
            }
        }
    }

    async fn store_tar(self: &Arc<Self>, content: &Content, tar: Tar) -> std::result::Result<(), StoreError> {
        let (store, key, patience) = (&self.store, self.tar_key(), self.location.patience());
        let stored = match tar {
            Tar::Parts(multipart, parts) => {
                let completed = multipart.complete(&parts, content.size, patience).await;
                match &completed {
                    Ok(()) => {}
                    Err(error) if error.outcome.is_transient() && self.means.options.keep == Keep::Failed => {
                        self.record.leave();
                    }
                    Err(_) => self.clean_up(Some(Tar::Parts(multipart, parts))),
                }
                return completed;
            }
            Tar::Whole(data) => {
                self.begin_in_one_request().await;
                store.write(&key, data, ContentType::Tar, patience).await
            }
            Tar::Inside(source) => {
                self.begin_in_one_request().await;
                store.copy(&source, &key, patience).await
            }
        };
        if stored.as_ref().is_err_and(|error| !error.outcome.is_transient()) {
            self.clean_up(None);
        }
        stored
    }

    /// Says whose tar it is that comes to be under this key.
    async fn begin_in_one_request(self: &Arc<Self>) {
        if let Some((resumed, _)) = self.record.resume() {
            let upload = Arc::clone(self);
            self.means.tasks.spawn(async move { drop(resumed.multipart.abort(upload.location.patience()).await) });
        }
        drop(self.record.begin(self.header(None), &self.means.tasks).await);
    }

    /// Confirms the tar's size and writes the metadata.
    async fn describe_in_bucket(&self, content: &Content) -> Result<StoredBackup> {
        let location = &self.location;
        let (tar_key, patience) = (self.tar_key(), location.patience());
        let stored_size = self.store.size(&tar_key, patience).await?;
        if stored_size != content.size {
            let sent = content.size;
            let detail = format!("\"{tar_key}\" has {stored_size} bytes in the bucket, but {sent} were sent.");
            return Err(Error::new(Kind::StorageError, detail));
        }
        let stored = self.describe(content);
        let json = stored.to_object().map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
        let metadata_key = location.keys.metadata(&self.stem);
        self.store.write(&metadata_key, json.into(), ContentType::Json, patience).await?;
        Ok(stored)
    }

    /// An earlier copy of this backup goes when the new one is complete, not before.
    fn remove_replaced(&self) {
        for stem in &self.replaced {
            let keys = vec![self.location.keys.metadata(stem), self.location.keys.tar(stem)];
            self.location.remove_later(keys, &self.means.tasks);
        }
    }

    fn describe(&self, content: &Content) -> StoredBackup {
        let backup = AgentBackup { size: content.size, ..self.backup.clone() };
        let agent = content.sha256.clone().map(|sha256| AgentMetadata {
            format: FORMAT,
            size: content.size,
            sha256: Some(sha256),
            crc32: content.crc32.clone(),
            part_size: Some(content.part_size),
            uploaded_at: Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            duration_ms: u64::try_from(self.started.1.elapsed().as_millis()).ok(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        StoredBackup { backup, agent }
    }

    /// Removes what is in place of an upload that failed at the very end, metadata first.
    fn erase(&self) {
        let keys = vec![self.location.keys.metadata(&self.stem), self.tar_key()];
        self.location.remove_later(keys, &self.means.tasks);
        // The journal goes on saying whose tar that is, should the agent be killed before it is gone.
        self.record.leave();
    }
}
