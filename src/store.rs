//! Objects, keys and the calls on them: what the agent needs of a bucket or a directory, and nothing else.
//!
//! Each call retries by the one policy in [`retry`] and ends in the closed set of outcomes in [`error`]. The order of
//! layers, outermost first: retry, then `object_store`, then the signing in [`s3`], then [`http`]'s single watched attempt.

mod copy;
mod digest;
mod directory;
mod e_tag;
mod error;
#[cfg(any(feature = "fuzzing", test))]
pub(crate) mod fuzzing;
mod http;
mod key;
mod leftover;
mod limit;
mod multipart;
mod pace;
mod reach;
mod retry;
mod s3;
mod stat;

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, Attributes, GetOptions, GetRange, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutOptions, PutPayload,
};

pub use copy::CopySource;
pub use digest::{Algorithm, Hasher, InvalidDigest, PartDigest};
use directory::Directory;
pub use error::{Error, Outcome, clock_offset};
pub use http::Traffic;
pub use key::{Key, Keys, Role, Stem, flat_folder};
pub use leftover::{Leftover, Leftovers};
pub use multipart::{Multipart, Part};
pub use reach::Route;
pub use retry::{Backoff, Patience, Watch, retry};
pub use s3::Dialect;
pub use stat::{Checksum, Stat};

use crate::config::{Backend, Encryption, Location, S3Settings};
use crate::provider;
use s3::S3;

/// What a listing says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
    /// What changes when the object does: its `ETag`, or its time where a server gives none.
    pub version: String,
    /// When it was written; S3 has the start of an upload in parts for that.
    pub modified: Option<DateTime<Utc>>,
}

impl From<ObjectMeta> for Object {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            key: Key::new(meta.location.as_ref()),
            size: meta.size,
            version: meta
                .e_tag
                .unwrap_or_else(|| meta.last_modified.to_rfc3339()),
            modified: Some(meta.last_modified),
        }
    }
}

/// One answer of a listing, and what could not be read of it.
#[derive(Debug, Default)]
pub struct Objects {
    /// The objects.
    pub objects: Vec<Object>,
    /// Keys that no client library can address, such as `a//b.tar`.
    pub unreachable: Vec<String>,
}

/// A part of an object on its way.
pub struct Body {
    /// Size of the whole object in bytes.
    pub object_size: u64,
    /// The object's `ETag`, for the next range of the same object.
    pub e_tag: Option<String>,
    /// The bytes.
    pub stream: BoxStream<'static, Result<Bytes, Error>>,
}

/// A bucket or a directory.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Arc<StoreBackend>,
    place: Arc<str>,
    storage_class: Option<Arc<str>>,
    watch: Option<Arc<dyn Watch>>,
}

#[derive(Debug)]
enum StoreBackend {
    S3(S3),
    Directory(Directory),
}

/// Content types of the objects the agent writes.
#[derive(Debug, Clone, Copy)]
pub enum ContentType {
    /// A backup.
    Tar,
    /// Metadata.
    Json,
    /// A check's probe.
    Text,
}

impl ContentType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tar => "application/x-tar",
            Self::Json => "application/json",
            Self::Text => "text/plain",
        }
    }
}

impl Store {
    /// Opens a location's storage. Nothing is sent yet, and a directory is made when it is first needed.
    ///
    /// # Errors
    /// When a client cannot be set up with these settings.
    pub fn open(location: &Location) -> Result<Self, Error> {
        match &location.backend {
            Backend::S3(settings) => {
                Ok(Self::of_bucket(S3::open(settings, &location.id)?, settings))
            }
            Backend::Directory(path) => {
                let place = format!("directory \"{}\"", path.display()).into();
                let backend = Arc::new(StoreBackend::Directory(Directory::new(path)));
                Ok(Self {
                    backend,
                    place,
                    storage_class: None,
                    watch: None,
                })
            }
        }
    }

    /// The same storage with other settings; transfers under way have the new key and limits from their next request.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn reopen(&self, location: &Location) -> Result<Self, Error> {
        match (&*self.backend, &location.backend) {
            (StoreBackend::S3(s3), Backend::S3(settings)) => {
                Ok(Self::of_bucket(s3.reopen(settings)?, settings))
            }
            _ => Self::open(location),
        }
    }

    fn of_bucket(s3: S3, settings: &S3Settings) -> Self {
        let place = format!("bucket \"{}\" at {}", settings.bucket, settings.endpoint).into();
        let storage_class = settings.storage_class.as_deref().map(Arc::from);
        Self {
            backend: Arc::new(StoreBackend::S3(s3)),
            place,
            storage_class,
            watch: None,
        }
    }

    /// What it is made of, when it can be asked.
    async fn objects(&self, action: &str) -> Result<Arc<dyn ObjectStore>, Error> {
        match &*self.backend {
            StoreBackend::S3(s3) => Ok(s3.objects()),
            StoreBackend::Directory(directory) => directory.objects(action).await,
        }
    }

    /// The same storage for somebody who wants to know when a write waits for it.
    #[must_use]
    pub fn watched(&self, watch: Arc<dyn Watch>) -> Self {
        Self {
            watch: Some(watch),
            ..self.clone()
        }
    }

    /// Tries a write again by the one policy.
    async fn retry<T, F>(&self, patience: Patience, attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        retry::retry_watched(patience, self.watch.clone(), attempt).await
    }

    /// The bucket or directory, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// How the provider is spoken to, as far as is known now; a directory has no dialect.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        match &*self.backend {
            StoreBackend::S3(s3) => Some(s3.dialect()),
            StoreBackend::Directory(_) => None,
        }
    }

    /// What the requests to it came to so far; a directory is asked for nothing.
    #[must_use]
    pub fn traffic(&self) -> Option<Traffic> {
        match &*self.backend {
            StoreBackend::S3(s3) => Some(s3.traffic()),
            StoreBackend::Directory(_) => None,
        }
    }

    /// How many parts may be on their way when a location asks for `wanted`: fewer after a provider asked to slow down,
    /// and a directory takes them in order.
    #[must_use]
    pub fn parts_in_flight(&self, wanted: usize) -> usize {
        match &*self.backend {
            StoreBackend::S3(s3) => wanted.min(s3.pace().allowed()),
            StoreBackend::Directory(_) => 1,
        }
    }

    /// How many parts are on their way at most, when the provider asked for fewer than it was sent.
    #[must_use]
    pub fn slowed_to(&self) -> Option<usize> {
        match &*self.backend {
            StoreBackend::S3(s3) => s3.pace().slowed_to(),
            StoreBackend::Directory(_) => None,
        }
    }

    /// Computes the one digest of a part: what the provider verifies in this location's dialect. It goes along with the
    /// part to [`Multipart::put_part`], and is its identity in the journal.
    #[must_use]
    pub fn part_digest(&self, bytes: &Bytes) -> PartDigest {
        self.part_algorithm().digest(bytes)
    }

    fn part_algorithm(&self) -> Algorithm {
        let StoreBackend::S3(s3) = &*self.backend else {
            return Algorithm::Crc64Nvme;
        };
        match s3.dialect().checksum {
            provider::Checksum::Sha256 => Algorithm::Sha256,
            provider::Checksum::Crc32c => Algorithm::Crc32c,
            provider::Checksum::Crc64Nvme => Algorithm::Crc64Nvme,
            // No ETag is an MD5 with a key of the key service or of the customer.
            provider::Checksum::Off => match s3.encryption() {
                Encryption::Kms(_) | Encryption::Customer(_) => Algorithm::Crc64Nvme,
                Encryption::None | Encryption::Aes256 => Algorithm::Md5,
            },
        }
    }

    /// Lists everything under `folder`, page by page.
    ///
    /// # Errors
    /// When a page cannot be had; each is retried by itself.
    pub async fn list(&self, folder: &str, patience: Patience) -> Result<Objects, Error> {
        let action = format!("list {}", self.place);
        match &*self.backend {
            StoreBackend::S3(s3) => s3.list(folder, patience, &action).await,
            StoreBackend::Directory(_) => self.list_directory(folder, &action).await,
        }
    }

    /// Lists one object at most, to see whether that is allowed.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn peek(&self, folder: &str, patience: Patience) -> Result<(), Error> {
        let action = format!("list {}", self.place);
        match &*self.backend {
            StoreBackend::S3(s3) => s3.peek(folder, patience, &action).await,
            StoreBackend::Directory(_) => self.list_directory(folder, &action).await.map(drop),
        }
    }

    async fn list_directory(&self, folder: &str, action: &str) -> Result<Objects, Error> {
        let folder =
            Path::parse(folder).map_err(|error| Error::new(Outcome::Refused, error.to_string()))?;
        let objects = self.objects(action).await?;
        let listed = objects.list(Some(&folder)).map_ok(Object::from);
        let objects = listed
            .try_collect()
            .await
            .map_err(|error| Error::from_object_store(error, action))?;
        Ok(Objects {
            objects,
            unreachable: Vec::new(),
        })
    }

    /// Reads a small object whole; one larger than `limit` bytes is refused.
    ///
    /// # Errors
    /// [`Outcome::NotFound`], and what else a read can come to.
    pub async fn read(&self, key: &Key, limit: u64, patience: Patience) -> Result<Bytes, Error> {
        let action = &self.action("read", key);
        retry(patience, || async move {
            let path = path_of(key)?;
            let answer = self
                .objects(action)
                .await?
                .get_opts(&path, GetOptions::default())
                .await;
            let answer = answer.map_err(|error| Error::from_object_store(error, action))?;
            if answer.meta.size > limit {
                let message = format!(
                    "Could not {action}: it has {} bytes, more than {limit}",
                    answer.meta.size
                );
                return Err(Error::new(Outcome::Refused, message));
            }
            // What a server says of the length and what it sends are two things.
            let failed = |error| Error::from_object_store(error, action);
            let (mut bytes, mut pieces) = (BytesMut::new(), answer.into_stream().map_err(failed));
            while let Some(piece) = pieces.try_next().await? {
                if (bytes.len() + piece.len()) as u64 > limit {
                    return Err(Error::new(
                        Outcome::Refused,
                        format!("Could not {action}: it has more bytes than {limit}"),
                    ));
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes.freeze())
        })
        .await
    }

    /// Opens a range of an object and retries until the body begins; `e_tag` refuses another version of the object. A body
    /// that breaks later is the caller's to resume.
    ///
    /// # Errors
    /// [`Outcome::NotFound`], [`Outcome::Changed`], and all that a read can fail with. The stream ends with an error
    /// when the body breaks.
    pub async fn open_range(
        &self,
        key: &Key,
        range: Range<u64>,
        e_tag: Option<&str>,
        patience: Patience,
    ) -> Result<Body, Error> {
        retry(patience, || self.open_once(key, range.clone(), e_tag)).await
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
        retry(patience, || async {
            let body = self.open_once(key, range.clone(), e_tag).await?;
            let length = range.end - range.start;
            let mut bytes = BytesMut::new();
            let mut stream = body.stream;
            while let Some(piece) = stream.try_next().await? {
                bytes.extend_from_slice(&piece);
                if bytes.len() as u64 > length {
                    break;
                }
            }
            if bytes.len() as u64 == length {
                return Ok((bytes.freeze(), body.e_tag));
            }
            let why = "the provider sent another number of bytes than asked for";
            Err(Error::new(
                Outcome::Refused,
                format!("Could not {}: {why}", self.action("read", key)),
            ))
        })
        .await
    }

    async fn open_once(
        &self,
        key: &Key,
        range: Range<u64>,
        e_tag: Option<&str>,
    ) -> Result<Body, Error> {
        let action = self.action("read", key);
        let options = GetOptions {
            range: (!range.is_empty()).then_some(GetRange::Bounded(range)),
            if_match: e_tag.map(str::to_owned),
            ..GetOptions::default()
        };
        let answer = self
            .objects(&action)
            .await?
            .get_opts(&path_of(key)?, options)
            .await;
        let answer = answer.map_err(|error| Error::from_object_store(error, &action))?;
        let meta = answer.meta.clone();
        // Some servers ignore If-Match.
        if e_tag.is_some() && meta.e_tag.as_deref() != e_tag {
            return Err(Error::new(
                Outcome::Changed,
                format!("Could not {action}: it was replaced in the meantime"),
            ));
        }
        let stream = answer
            .into_stream()
            .map_err(move |error| Error::from_object_store(error, &action))
            .boxed();
        Ok(Body {
            object_size: meta.size,
            e_tag: meta.e_tag,
            stream,
        })
    }

    /// The size of an object in bytes.
    ///
    /// # Errors
    /// [`Outcome::NotFound`], and what else a request can come to.
    pub async fn size(&self, key: &Key, patience: Patience) -> Result<u64, Error> {
        self.object(key, patience).await.map(|object| object.size)
    }

    /// What a listing would say of an object.
    ///
    /// # Errors
    /// As [`Self::size`].
    pub async fn object(&self, key: &Key, patience: Patience) -> Result<Object, Error> {
        let action = &self.action("find", key);
        self.retry(patience, || async move {
            let meta = self.objects(action).await?.head(&path_of(key)?).await;
            Ok(meta
                .map_err(|error| Error::from_object_store(error, action))?
                .into())
        })
        .await
    }

    /// The same of an object that may not be there.
    ///
    /// # Errors
    /// What a request can come to.
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

    /// Writes an object in one request.
    ///
    /// # Errors
    /// What a write can come to; afterwards the object is there whole, or not at all.
    pub async fn write(
        &self,
        key: &Key,
        data: Bytes,
        kind: ContentType,
        patience: Patience,
    ) -> Result<(), Error> {
        let action = &self.action("write", key);
        self.retry(patience, || {
            let data = data.clone();
            async move {
                let e_tag = self.put(key, data.clone(), kind, action).await?;
                self.compare(key, &e_tag, &data, action).await
            }
        })
        .await
    }

    /// Writes an object in one attempt, and gives its `ETag`.
    async fn put(
        &self,
        key: &Key,
        data: Bytes,
        kind: ContentType,
        action: &str,
    ) -> Result<String, Error> {
        let options = PutOptions::from(self.attributes(kind));
        let objects = self.objects(action).await?;
        let written = objects
            .put_opts(&path_of(key)?, PutPayload::from(data), options)
            .await;
        Ok(written
            .map_err(|error| Error::from_object_store(error, action))?
            .e_tag
            .unwrap_or_default())
    }

    /// Deletes an object; one that is not there is as good as deleted.
    ///
    /// # Errors
    /// What a request can come to.
    pub async fn delete(&self, key: &Key, patience: Patience) -> Result<(), Error> {
        let action = &self.action("delete", key);
        retry(patience, || async move {
            let deleted = self.objects(action).await?.delete(&path_of(key)?).await;
            deleted
                .map_err(|error| Error::from_object_store(error, action))
                .or_else(|error| match error.outcome {
                    Outcome::NotFound => Ok(()),
                    _ => Err(error),
                })
        })
        .await
    }

    /// A directory has nowhere to keep a content type.
    fn attributes(&self, kind: ContentType) -> Attributes {
        match &*self.backend {
            StoreBackend::S3(_) => {
                let content_type = (Attribute::ContentType, AttributeValue::from(kind.as_str()));
                let class = self
                    .storage_class
                    .as_deref()
                    .filter(|_| matches!(kind, ContentType::Tar));
                let class = class.map(|class| {
                    (
                        Attribute::StorageClass,
                        AttributeValue::from(class.to_owned()),
                    )
                });
                [content_type].into_iter().chain(class).collect()
            }
            StoreBackend::Directory(_) => Attributes::new(),
        }
    }

    fn action(&self, verb: &str, key: &Key) -> String {
        format!("{verb} \"{key}\" in {}", self.place)
    }
}

fn path_of(key: &Key) -> Result<Path, Error> {
    Path::parse(key.as_str()).map_err(|error| Error::new(Outcome::Refused, error.to_string()))
}
