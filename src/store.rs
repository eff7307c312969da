//! Storage: the calls that the agent makes on a bucket or a directory.
//!
//! Each call of [`Store`] is retried in [`retry`], nowhere else, and ends in one of the outcomes in [`error`].
//!
//! Upper bound of a call: with [`Patience::INTERACTIVE`] 18 seconds for each request, a page of a list being one (parts
//! have no such deadline: a slow line may need longer, and the connection's idle timeout ends a silent one). With
//! [`Patience::lasting`], that long after the first failure, plus the last attempt, which ends when the connection is
//! silent for the location's idle timeout (ten times as long while the provider joins or copies).

mod backend;
mod digest;
mod directory;
mod error;
#[cfg(any(feature = "fuzzing", test))]
pub(crate) mod fuzzing;
mod key;
mod layers;
mod leftover;
mod limit;
mod multipart;
mod pace;
mod pages;
mod read;
mod retry;
mod s3;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use backend::{Backend, Content, Payload};
pub use backend::{
    Body, ContentType, CopySource, HeldPart, Leftover, Object, Objects, PROBE, Part, Stat,
};
pub use digest::{Algorithm, Hasher, InvalidDigest, PartDigest};
use directory::Directory;
pub use error::{AtOnce, Error, Outcome, clock_offset};
pub use key::{Key, Keys, Role, Stem, flat_folder};
use layers::{Layered, Limits};
pub use leftover::Leftovers;
pub use multipart::Multipart;
use pace::Pace;
use retry::Retry;
pub(crate) use retry::jitter;
pub use retry::{Backoff, Patience, Watch};
use s3::Client;
pub use s3::{Dialect, Greeting, Route, Traffic};

use crate::config::{self, Location};

/// A bucket or a directory.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Layered,
    /// The bucket itself, for questions that need no request.
    s3: Option<Arc<Client>>,
    description: Arc<str>,
    watch: Option<Arc<dyn Watch>>,
}

impl Store {
    /// Opens a location's storage. Nothing is sent yet; a directory is created when it is first needed.
    #[must_use]
    pub fn open(location: &Location) -> Self {
        Self::compose(location, None)
    }

    /// Opens the same storage with other settings. Running transfers have the new credential and limits from their next
    /// request on.
    #[must_use]
    pub fn reopen(&self, location: &Location) -> Self {
        Self::compose(location, Some(self))
    }

    /// Composes the layers: `retry(limit(pace(backend)))`. Retries are outermost, in [`Store::write_retry`] and
    /// [`Store::read_retry`], so that each attempt waits for its turn anew.
    fn compose(location: &Location, previous: Option<&Self>) -> Self {
        let previous_s3 = previous.and_then(|previous| previous.s3.as_deref());
        let (s3, backend, description): (_, Arc<dyn Backend>, String) = match &location.backend {
            config::Backend::S3(settings) => {
                let s3 = Arc::new(Client::open(settings, &location.id, previous_s3));
                let description =
                    format!("bucket \"{}\" at {}", settings.bucket, settings.endpoint);
                (Some(Arc::clone(&s3)), s3, description)
            }
            config::Backend::Directory(path) => {
                let description = format!("directory \"{}\"", path.display());
                (None, Arc::new(Directory::new(path)), description)
            }
        };
        // A directory takes over nothing from a bucket.
        let layers = previous
            .filter(|previous| previous.s3.is_some() == s3.is_some())
            .map(|previous| {
                (
                    previous.backend.limits.clone(),
                    previous.backend.pace.clone(),
                )
            });
        let (limits, pace): (Limits, Pace) = layers.unwrap_or_default();
        if let config::Backend::S3(settings) = &location.backend {
            limits.upload.set(settings.wire.upload_limit);
            limits.download.set(settings.wire.download_limit);
        }
        Self {
            backend: Layered {
                limits,
                pace,
                backend,
            },
            s3,
            description: description.into(),
            watch: None,
        }
    }

    /// The same storage with an observer, which is told when a call waits.
    #[must_use]
    pub fn watched(&self, watch: Arc<dyn Watch>) -> Self {
        Self {
            watch: Some(watch),
            ..self.clone()
        }
    }

    /// Retries of one write.
    fn write_retry(&self, patience: Patience) -> Retry {
        Retry {
            watch: self.watch.clone(),
            ..Retry::with(patience)
        }
    }

    /// Retries of one read, which is hedged when a bucket is silent. A directory has its own probe.
    fn read_retry(&self, patience: Patience) -> Retry {
        Retry {
            hedges: self.s3.is_some(),
            ..self.write_retry(patience)
        }
    }

    /// Patience of a call that a directory gets once and without a deadline: a file takes each byte once, and a listing may
    /// be slow.
    fn remote(&self, patience: Patience) -> Patience {
        self.s3.as_ref().map_or(Patience::NONE, |_| patience)
    }

    /// The bucket or directory, for messages. It is no identity.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The dialect as far as it is known; a directory has none.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.s3.as_deref().map(Client::dialect)
    }

    /// Whether the bucket keeps versions, so that what is deleted stays; unknown before the first upload in parts, and
    /// of a directory.
    #[must_use]
    pub fn keeps_versions(&self) -> Option<bool> {
        self.s3.as_deref().and_then(Client::keeps_versions)
    }

    /// Whether neither the provider nor an `ETag` tells that content was damaged on the way; found out before the first
    /// write.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        self.s3.as_deref().is_some_and(Client::is_unverified)
    }

    /// Counters of the requests; a directory has none.
    #[must_use]
    pub fn traffic(&self) -> Option<Traffic> {
        self.s3.as_deref().map(Client::traffic)
    }

    /// Number of parts in flight when a location asks for `wanted`: fewer while the provider throttles, one in a directory.
    #[must_use]
    pub fn parts_in_flight(&self, wanted: usize) -> usize {
        self.backend.parts_in_flight(wanted)
    }

    /// Number of parts in flight while the provider throttles.
    #[must_use]
    pub fn slowed_to(&self) -> Option<usize> {
        self.backend.pace.slowed_to()
    }

    /// Computes the one digest of a part: the provider verifies it, [`Multipart::put_part`] sends it, and the journal
    /// recognises the part by it.
    #[must_use]
    pub fn part_digest(&self, bytes: &Bytes) -> PartDigest {
        let algorithm = self.s3.as_deref().map(Client::algorithm);
        algorithm.unwrap_or(Algorithm::Crc64Nvme).digest(bytes)
    }

    /// Writes an object in one request, atomically.
    ///
    /// # Errors
    /// What a write fails with; [`Outcome::Damaged`] when the provider received other bytes.
    pub async fn write(
        &self,
        key: &Key,
        data: Bytes,
        kind: ContentType,
        patience: Patience,
    ) -> Result<(), Error> {
        let content = Content::Payload(Payload {
            digest: self.s3.as_ref().map(|_| self.part_digest(&data)),
            bytes: data,
            ..Payload::default()
        });
        self.put("write", key, &content, kind, patience).await
    }

    /// Deletes an object. Idempotent: an object that does not exist counts as deleted.
    ///
    /// # Errors
    /// What a request fails with.
    pub async fn delete(&self, key: &Key, patience: Patience) -> Result<(), Error> {
        self.delete_while(key, patience, || ready(Ok(true)).boxed())
            .await
    }

    /// Deletes an object that another writer may replace meanwhile. Each further attempt asks `is_ours` first: an earlier
    /// one may have deleted the object without an answer, and the name has been free since. An object that is not the
    /// caller's counts as deleted.
    ///
    /// # Errors
    /// As [`Self::delete`], and those of `is_ours`.
    pub async fn delete_while<'a>(
        &self,
        key: &Key,
        patience: Patience,
        is_ours: impl Fn() -> BoxFuture<'a, Result<bool, Error>> + Sync,
    ) -> Result<(), Error> {
        let is_ours = &is_ours;
        let deleted = Retry::with(patience).run(self.action("delete", key), |call| async move {
            if call.is_repeated && !is_ours().await? {
                return Ok(());
            }
            self.backend.delete(&call, key).await
        });
        match deleted.await {
            Err(error) if error.outcome == Outcome::NotFound => Ok(()),
            deleted => deleted,
        }
    }

    /// Whether both are buckets at one endpoint, and the server can read what it copies: not with a customer's key.
    #[must_use]
    pub fn can_copy_inside_to(&self, to: &Self) -> bool {
        let both = self.s3.as_ref().zip(to.s3.as_ref());
        both.is_some_and(|(from, to)| from.can_copy_to(to))
    }

    /// An object of this bucket as the source of copies. Only an attempt tells whether another location's key may read it.
    #[must_use]
    pub fn copy_source(&self, object: &Object) -> Option<CopySource> {
        self.s3.as_ref().map(|s3| s3.copy_source(object))
    }

    /// Copies an object of up to 5 GiB to `key`, atomically.
    ///
    /// # Errors
    /// What a copy fails with.
    pub async fn copy(
        &self,
        source: &CopySource,
        key: &Key,
        patience: Patience,
    ) -> Result<(), Error> {
        let content = Content::Copy(source.clone(), None);
        self.put("copy", key, &content, ContentType::Tar, patience)
            .await
    }

    async fn put(
        &self,
        verb: &str,
        key: &Key,
        content: &Content,
        kind: ContentType,
        patience: Patience,
    ) -> Result<(), Error> {
        self.write_retry(patience)
            .run(self.action(verb, key), |call| async move {
                self.backend.put(&call, key, content, kind).await
            })
            .await
    }

    fn action(&self, verb: &str, key: &Key) -> String {
        format!("{verb} \"{key}\" in {}", self.description)
    }
}
