//! An object written in parts, of which nothing is visible before it is completed.

use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, PutMultipartOptions, PutPayload};
use tokio::sync::Mutex;

use super::error::{Error, Outcome};
use super::retry::{Patience, retry};
use super::{ContentType, Key, Store, StoreBackend, path_of};

/// A part that is stored: its number, from 0, and what the server called it.
#[derive(Debug, Clone)]
pub struct Part {
    /// Number from 0, in the order of the bytes.
    pub number: usize,
    /// The server's `ETag` for it; empty in a directory.
    pub e_tag: String,
}

/// A multipart upload that was started and has neither been completed nor aborted.
#[derive(Debug, Clone)]
pub struct Multipart {
    store: Store,
    key: Key,
    path: Path,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    S3 {
        s3: Arc<AmazonS3>,
        upload_id: String,
    },
    /// A directory takes its parts in order and has nothing to resume.
    Directory(Arc<Mutex<Box<dyn MultipartUpload>>>),
}

impl Multipart {
    /// Starts an upload of the object `key`.
    ///
    /// # Errors
    /// What a request can come to.
    pub async fn start(store: &Store, key: &Key, patience: Patience) -> Result<Self, Error> {
        let path = path_of(key)?;
        let (place, action) = (&path, &store.action("start the upload of", key));
        let options = || PutMultipartOptions::from(store.attributes(ContentType::Tar));
        let kind = match &*store.backend {
            StoreBackend::S3(s3) => {
                let s3 = s3.multipart();
                let client = &s3;
                let upload_id = retry(patience, || async move {
                    let started = client.create_multipart_opts(place, options()).await;
                    started.map_err(|error| Error::from_object_store(error, action))
                })
                .await?;
                Kind::S3 { s3, upload_id }
            }
            StoreBackend::Directory => {
                let started = store.objects.put_multipart_opts(&path, options()).await;
                let upload = started.map_err(|error| Error::from_object_store(error, action))?;
                Kind::Directory(Arc::new(Mutex::new(upload)))
            }
        };
        Ok(Self { store: store.clone(), key: key.clone(), path, kind })
    }

    /// Stores part `number` from memory, as often as `patience` allows. Parts may be stored at the same time, in a
    /// directory only when their calls begin in order.
    ///
    /// # Errors
    /// What a write can come to.
    pub async fn store_part(&self, number: usize, data: Bytes, patience: Patience) -> Result<Part, Error> {
        let action = &format!("store part {} of \"{}\" in {}", number + 1, self.key, self.store.place());
        let failed = |error| Error::from_object_store(error, action);
        match &self.kind {
            Kind::S3 { s3, upload_id } => {
                let stored = retry(patience, || {
                    let payload = PutPayload::from(data.clone());
                    async move { s3.put_part(&self.path, upload_id, number, payload).await.map_err(failed) }
                });
                Ok(Part { number, e_tag: stored.await?.content_id })
            }
            Kind::Directory(upload) => {
                let written = upload.lock().await.put_part(PutPayload::from(data));
                written.await.map_err(failed)?;
                Ok(Part { number, e_tag: String::new() })
            }
        }
    }

    /// Makes the object of its parts, which must be all of them, in order. `size` is what the object must then have:
    /// when the answer to an earlier attempt was lost, the upload is gone because it succeeded.
    ///
    /// # Errors
    /// What a request can come to.
    pub async fn complete(&self, parts: &[Part], size: u64, patience: Patience) -> Result<(), Error> {
        let action = &self.store.action("complete the upload of", &self.key);
        let failed = |error| Error::from_object_store(error, action);
        match &self.kind {
            Kind::S3 { s3, upload_id } => {
                let completed = retry(patience, || {
                    let parts = parts.iter().map(|part| PartId { content_id: part.e_tag.clone() }).collect();
                    async move { s3.complete_multipart(&self.path, upload_id, parts).await.map(drop).map_err(failed) }
                })
                .await;
                match completed {
                    Err(error) if error.outcome == Outcome::NoSuchUpload => self.was_completed(size, error).await,
                    completed => completed,
                }
            }
            Kind::Directory(upload) => upload.lock().await.complete().await.map(drop).map_err(failed),
        }
    }

    async fn was_completed(&self, size: u64, error: Error) -> Result<(), Error> {
        match self.store.size(&self.key, Patience::INTERACTIVE).await {
            Ok(stored) if stored == size => Ok(()),
            Err(unclear) if unclear.outcome.is_transient() => Err(unclear),
            _ => Err(error),
        }
    }

    /// Throws the stored parts away.
    ///
    /// # Errors
    /// What a request can come to; an upload that is gone already is as good as aborted.
    pub async fn abort(&self, patience: Patience) -> Result<(), Error> {
        let action = &self.store.action("abort the upload of", &self.key);
        let failed = |error| Error::from_object_store(error, action);
        match &self.kind {
            Kind::S3 { s3, upload_id } => {
                let aborted =
                    retry(patience, || async move { s3.abort_multipart(&self.path, upload_id).await.map_err(failed) });
                aborted.await.or_else(|error| match error.outcome {
                    Outcome::NoSuchUpload | Outcome::NotFound => Ok(()),
                    _ => Err(error),
                })
            }
            Kind::Directory(upload) => upload.lock().await.abort().await.map_err(failed),
        }
    }
}
