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
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod key;
mod layers;
mod leftover;
mod limit;
mod multipart;
mod pace;
mod pages;
mod retry;
mod s3;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use backend::{Backend, Payload};
pub use backend::{Body, ContentType, CopySource, HeldPart, Leftover, Object, Objects, Part, Stat};
pub use digest::{Algorithm, Hasher, InvalidDigest, PartDigest};
use directory::Directory;
pub use error::{AtOnce, Error, Outcome, clock_offset};
pub use key::{Key, Keys, Role, Stem, flat_folder};
use layers::{Limited, Limits, Paced};
pub use leftover::Leftovers;
pub use multipart::Multipart;
use pace::Pace;
use pages::Bounds;
pub use retry::{Backoff, Patience, Watch};
use retry::{Call, Retry};
use s3::S3;
pub use s3::{Dialect, Route, Traffic};

use crate::config::{self, Location};

/// Ten million objects, of which a hundred thousand backups take half of the memory.
const OBJECTS: Bounds = Bounds {
    what: "listing",
    pages: 10_000,
    items: usize::MAX,
    weight: 64 * 1024 * 1024,
};

/// A bucket or a directory.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    /// The bucket itself, for questions that need no request.
    s3: Option<S3>,
    limits: Limits,
    pace: Pace,
    description: Arc<str>,
    watch: Option<Arc<dyn Watch>>,
}

impl Store {
    /// Opens a location's storage. Nothing is sent yet; a directory is created when it is first needed.
    ///
    /// # Errors
    /// When a client cannot be set up with these settings.
    pub fn open(location: &Location) -> Result<Self, Error> {
        Self::compose(location, None)
    }

    /// Opens the same storage with other settings. Running transfers have the new credential and limits from their next
    /// request on.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn reopen(&self, location: &Location) -> Result<Self, Error> {
        Self::compose(location, Some(self))
    }

    /// Composes the layers: `retry(limit(pace(backend)))`. Retries are outermost, in [`Self::retried`], so that each attempt
    /// waits for its turn anew.
    fn compose(location: &Location, previous: Option<&Self>) -> Result<Self, Error> {
        let (s3, backend, description): (_, Arc<dyn Backend>, String) = match &location.backend {
            config::Backend::S3(settings) => {
                let previous = previous.and_then(|previous| previous.s3.as_ref());
                let s3 = S3::open(settings, &location.id, previous)?;
                let description =
                    format!("bucket \"{}\" at {}", settings.bucket, settings.endpoint);
                (Some(s3.clone()), Arc::new(s3), description)
            }
            config::Backend::Directory(path) => {
                let description = format!("directory \"{}\"", path.display());
                (None, Arc::new(Directory::new(path)), description)
            }
        };
        let previous = previous.filter(|previous| previous.s3.is_some() == s3.is_some());
        let limits = previous.map(|previous| previous.limits.clone());
        let limits = limits.unwrap_or_default();
        if let config::Backend::S3(settings) = &location.backend {
            limits.upload.set(settings.wire.upload_limit);
            limits.download.set(settings.wire.download_limit);
        }
        let pace = previous.map(|previous| previous.pace.clone());
        let pace = pace.unwrap_or_default();
        let paced = Paced {
            inner: backend,
            pace: pace.clone(),
        };
        let limited = Limited {
            inner: Arc::new(paced),
            limits: limits.clone(),
        };
        Ok(Self {
            backend: Arc::new(limited),
            s3,
            limits,
            pace,
            description: description.into(),
            watch: None,
        })
    }

    /// The same storage with an observer, which is told when a write waits.
    #[must_use]
    pub fn watched(&self, watch: Arc<dyn Watch>) -> Self {
        Self {
            watch: Some(watch),
            ..self.clone()
        }
    }

    /// Retries one write.
    async fn retried<T, F>(
        &self,
        patience: Patience,
        action: impl AsRef<str>,
        attempt: impl Fn(Call) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let retry = Retry {
            watch: self.watch.clone(),
            ..Retry::with(patience)
        };
        retry.run(action, attempt).await
    }

    /// Retries one read, which is hedged when a bucket is silent. A directory's probe has its own timeout.
    async fn read_retried<T, F>(
        &self,
        patience: Patience,
        action: impl AsRef<str>,
        attempt: impl Fn(Call) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let retry = Retry {
            hedges: self.s3.is_some(),
            ..Retry::with(patience)
        };
        retry.run(action, attempt).await
    }

    /// The bucket or directory, for messages. It is no identity.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.description
    }

    /// The dialect as far as it is known; a directory has none.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.s3.as_ref().map(S3::dialect)
    }

    /// Counters of the requests; a directory has none.
    #[must_use]
    pub fn traffic(&self) -> Option<Traffic> {
        self.s3.as_ref().map(S3::traffic)
    }

    /// Number of parts in flight when a location asks for `wanted`: fewer while the provider throttles, one in a directory.
    #[must_use]
    pub fn parts_in_flight(&self, wanted: usize) -> usize {
        self.backend.parts_in_flight(wanted)
    }

    /// Number of parts in flight while the provider throttles.
    #[must_use]
    pub fn slowed_to(&self) -> Option<usize> {
        self.pace.slowed_to()
    }

    /// Computes the one digest of a part: the provider verifies it, [`Multipart::put_part`] sends it, and the journal
    /// recognises the part by it.
    #[must_use]
    pub fn part_digest(&self, bytes: &Bytes) -> PartDigest {
        let algorithm = self.s3.as_ref().map(S3::algorithm);
        algorithm.unwrap_or(Algorithm::Crc64Nvme).digest(bytes)
    }

    fn payload(&self, bytes: Bytes) -> Payload {
        Payload {
            digest: self.s3.as_ref().map(|_| self.part_digest(&bytes)),
            bytes,
            ..Payload::default()
        }
    }

    /// Lists everything under `folder`, page by page; each page is retried by itself.
    ///
    /// # Errors
    /// What a page fails with.
    pub async fn list(&self, folder: &str, patience: Patience) -> Result<Objects, Error> {
        let action = &format!("list {}", self.description);
        let listed = pages::all(&OBJECTS, action, |after| async move {
            let after = after.as_ref();
            let page = self.read_retried(patience, action, |call| async move {
                self.backend.list(&call, folder, after, None).await
            });
            page.await
        });
        let mut objects = Objects::default();
        for item in listed.await?.0 {
            match item {
                Ok(object) => objects.objects.push(object),
                Err(key) => objects.unreachable.push(key),
            }
        }
        Ok(objects)
    }

    /// Lists at most one object, to see whether that is allowed.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn peek(&self, folder: &str, patience: Patience) -> Result<(), Error> {
        let action = format!("list {}", self.description);
        let page = self.read_retried(patience, &action, |call| async move {
            self.backend.list(&call, folder, None, Some(1)).await
        });
        page.await.map(drop)
    }

    /// Reads a small object whole; one larger than `limit` bytes is refused.
    ///
    /// # Errors
    /// [`Outcome::NotFound`], and what else a read fails with.
    pub async fn read(&self, key: &Key, limit: u64, patience: Patience) -> Result<Bytes, Error> {
        let action = &self.action("read", key);
        self.read_retried(patience, action, |call| async move {
            let body = self.backend.get_range(&call, key, None, None).await?;
            if body.object_size > limit {
                let why = format!("it has {} bytes, more than {limit}", body.object_size);
                return Err(Error::refused(action, why));
            }
            // A server may send more bytes than it announced.
            let bytes = body.collect(limit).await?;
            if bytes.len() as u64 > limit {
                return Err(Error::refused(
                    action,
                    format!("it has more bytes than {limit}"),
                ));
            }
            Ok(bytes)
        })
        .await
    }

    /// Opens a range of an object and retries until the body begins; `e_tag` refuses another version of the object. A body
    /// that breaks later is the caller's to resume.
    ///
    /// # Errors
    /// [`Outcome::NotFound`], [`Outcome::Changed`], and what else a read fails with. The stream ends with an error when
    /// the body breaks.
    pub async fn open_range(
        &self,
        key: &Key,
        range: Range<u64>,
        e_tag: Option<&str>,
        patience: Patience,
    ) -> Result<Body, Error> {
        let range = Some(range).filter(|range| !range.is_empty());
        self.read_retried(patience, self.action("read", key), |call| {
            let range = range.clone();
            async move { self.backend.get_range(&call, key, range, e_tag).await }
        })
        .await
    }

    /// Reads a range whole, retried together with its body. Returns the bytes and the object's `ETag`.
    ///
    /// # Errors
    /// As [`Self::open_range`]; [`Outcome::Refused`] when the provider sends another number of bytes.
    pub async fn read_range(
        &self,
        key: &Key,
        range: Range<u64>,
        e_tag: Option<&str>,
        patience: Patience,
    ) -> Result<(Bytes, Option<String>), Error> {
        let (action, length) = (&self.action("read", key), range.end - range.start);
        self.read_retried(patience, action, |call| {
            let range = Some(range.clone());
            async move {
                let body = self.backend.get_range(&call, key, range, e_tag).await?;
                let found = body.e_tag.clone();
                let bytes = body.collect(length).await?;
                if bytes.len() as u64 == length {
                    return Ok((bytes, found));
                }
                let why = "the provider sent another number of bytes than asked for";
                Err(Error::refused(action, why))
            }
        })
        .await
    }

    /// Returns an object's size in bytes.
    ///
    /// # Errors
    /// [`Outcome::NotFound`], and what else a request fails with.
    pub async fn size(&self, key: &Key, patience: Patience) -> Result<u64, Error> {
        self.object(key, patience).await.map(|object| object.size)
    }

    /// Returns an object as a listing would.
    ///
    /// # Errors
    /// As [`Self::size`].
    pub async fn object(&self, key: &Key, patience: Patience) -> Result<Object, Error> {
        let found = self.retried(patience, self.action("find", key), |call| async move {
            self.backend.head(&call, key, false).await
        });
        let found = found.await?;
        let time = || found.modified.map(|time| time.to_rfc3339());
        Ok(Object {
            key: key.clone(),
            size: found.size,
            version: found.version.or_else(time).unwrap_or_default(),
            modified: found.modified,
        })
    }

    /// Returns an object, or nothing when it does not exist.
    ///
    /// # Errors
    /// What a request fails with.
    pub async fn object_if_any(
        &self,
        key: &Key,
        patience: Patience,
    ) -> Result<Option<Object>, Error> {
        match self.object(key, patience).await {
            Err(error) if error.outcome == Outcome::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Returns an object's metadata with the checksums that the server has.
    ///
    /// # Errors
    /// As [`Self::size`].
    pub async fn stat(&self, key: &Key, patience: Patience) -> Result<Stat, Error> {
        let action = self.action("find", key);
        let head = async |with_checksums| {
            let found = self.read_retried(patience, &action, |call| async move {
                self.backend.head(&call, key, with_checksums).await
            });
            found.await
        };
        match head(true).await {
            // A provider without checksums may refuse to be asked for them.
            Err(error) if error.outcome != Outcome::NotFound && !error.outcome.is_transient() => {
                head(false).await
            }
            found => found,
        }
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
        let payload = self.payload(data);
        self.retried(patience, self.action("write", key), |call| {
            let payload = payload.clone();
            async move { self.backend.put(&call, key, payload, kind).await }
        })
        .await
    }

    /// Deletes an object. Idempotent: an object that does not exist counts as deleted.
    ///
    /// # Errors
    /// What a request fails with.
    pub async fn delete(&self, key: &Key, patience: Patience) -> Result<(), Error> {
        let deleted = Retry::with(patience).run(self.action("delete", key), |call| async move {
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
        self.retried(patience, self.action("copy", key), |call| async move {
            self.backend.copy(&call, source, key).await
        })
        .await
    }

    fn action(&self, verb: &str, key: &Key) -> String {
        format!("{verb} \"{key}\" in {}", self.description)
    }
}
