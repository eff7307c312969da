//! Storage as the retry layer sees it: one attempt of each call, and the data that goes in and out.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use object_store::MultipartUpload;
use object_store::path::Path;
use serde::Deserialize;

use super::digest::{Algorithm, PartDigest};
use super::error::Error;
use super::key::Key;
use super::limit::Limit;
use super::pages::{Cursor, Page};
use super::retry::Call;

/// Content of a probe, or its start.
pub const PROBE: &[u8] = b"A check of the S3 Backup Agent wrote this. It may be deleted.\n";

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Key.
    pub key: Key,
    /// Size in bytes.
    pub size: u64,
    /// Version: the `ETag`, or the time where a server gives none.
    pub version: String,
    /// Time of the write; S3 gives the start of a multipart upload.
    pub modified: Option<DateTime<Utc>>,
}

/// A listing.
#[derive(Debug, Default)]
pub struct Objects {
    /// Objects.
    pub objects: Vec<Object>,
    /// Keys that no client library can address, such as `a//b.tar`.
    pub unreachable: Vec<String>,
}

/// An entry of a listing: an object, or a key that cannot be addressed.
pub(super) type Listed = Result<Object, String>;

impl FromIterator<Listed> for Objects {
    fn from_iter<T: IntoIterator<Item = Listed>>(listed: T) -> Self {
        let mut objects = Self::default();
        for item in listed {
            match item {
                Ok(object) => objects.objects.push(object),
                Err(key) => objects.unreachable.push(key),
            }
        }
        objects
    }
}

/// Metadata of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Size in bytes.
    pub size: u64,
    /// Version, where the server gives one.
    pub version: Option<String>,
    /// Time of the last write.
    pub(super) modified: Option<DateTime<Utc>>,
    /// Checksums of all bytes, big-endian.
    pub checksums: Vec<(Algorithm, Vec<u8>)>,
}

/// Content of an object, or a range of it, as it arrives.
pub struct Body {
    /// Size of the whole object in bytes.
    pub object_size: u64,
    /// The object's `ETag`, for the next range of the same object.
    pub e_tag: Option<String>,
    /// Whether the server sent the whole object instead of the range: reading on is cheaper than the next range.
    pub ignores_range: bool,
    /// Bytes.
    pub stream: BoxStream<'static, Result<Bytes, Error>>,
}

impl Body {
    /// Reads it to its end, or to the first piece beyond `limit` bytes.
    pub(super) async fn collect(mut self, limit: u64) -> Result<Bytes, Error> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.stream.try_next().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > limit {
                break;
            }
        }
        Ok(bytes.freeze())
    }
}

/// Content to write.
#[derive(Debug, Clone, Default)]
pub(super) struct Payload {
    pub(super) bytes: Bytes,
    /// Digest that the provider verifies, when it is computed already.
    pub(super) digest: Option<PartDigest>,
    pub(super) limit: Limit,
}

/// Content of an object or a part.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Bytes from the agent.
    Payload(Payload),
    /// Another object inside the storage, or a range of it.
    Copy(CopySource, Option<Range<u64>>),
}

/// Answer to the completion of a multipart upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// The server describes the object.
    Confirmed,
    /// The answer says nothing: the object's size tells.
    Unclear,
}

/// Content type of an object that the agent writes.
#[derive(Debug, Clone, Copy)]
pub enum ContentType {
    /// A backup.
    Tar,
    /// A metadata object.
    Json,
    /// A probe.
    Text,
}

impl ContentType {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Tar => "application/x-tar",
            Self::Json => "application/json",
            Self::Text => "text/plain",
        }
    }
}

/// A multipart upload that was neither completed nor aborted.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) key: Key,
    pub(super) id: SessionId,
}

/// A file of a directory that is being written.
pub(super) type Writing = Arc<tokio::sync::Mutex<Box<dyn MultipartUpload>>>;

#[derive(Debug, Clone)]
pub(super) enum SessionId {
    /// In a bucket.
    Upload(String),
    /// In a directory, written by this process.
    Writing(Writing),
    /// In a directory, left by an upload that ended early.
    File(PathBuf),
}

impl SessionId {
    pub(super) fn upload_id(&self) -> Option<&str> {
        match self {
            SessionId::Upload(id) => Some(id),
            SessionId::Writing(_) | SessionId::File(_) => None,
        }
    }
}

/// A stored part.
#[derive(Debug, Clone)]
pub struct Part {
    /// Number from 0, in the order of the bytes.
    pub number: usize,
    /// The server's `ETag` of it; empty in a directory.
    pub e_tag: String,
}

/// A part that the server holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HeldPart {
    /// Number from 1.
    pub part_number: usize,
    /// `ETag`.
    #[serde(rename = "ETag")]
    pub e_tag: String,
    /// Size in bytes.
    pub size: u64,
    /// Time of the write, in the server's words.
    #[serde(default)]
    pub last_modified: Option<String>,
}

impl HeldPart {
    /// Whether this is the part called `e_tag`, which may hold a checksum beside the server's `ETag`.
    #[must_use]
    pub fn is(&self, e_tag: &str, size: u64) -> bool {
        let held = self.e_tag.trim_matches('"');
        self.size == size && !held.is_empty() && e_tag.contains(held)
    }
}

/// An unfinished upload.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// Key that the object would have.
    pub key: Key,
    /// Start of the upload.
    pub begun: DateTime<Utc>,
    pub(super) id: SessionId,
}

impl Leftover {
    /// Id of a multipart upload.
    #[must_use]
    pub fn upload_id(&self) -> Option<&str> {
        self.id.upload_id()
    }

    pub(super) fn session(&self) -> Session {
        Session {
            key: self.key.clone(),
            id: self.id.clone(),
        }
    }
}

/// Source of a copy inside the storage.
#[derive(Debug, Clone)]
pub struct CopySource {
    pub(super) bucket: String,
    pub(super) key: Key,
    pub(super) e_tag: Option<String>,
}

impl CopySource {
    /// Identity among other sources: bucket, key and `ETag`.
    #[must_use]
    pub fn name(&self) -> String {
        format!(
            "{}/{} {}",
            self.bucket,
            self.key,
            self.e_tag.as_deref().unwrap_or_default()
        )
    }
}

/// Path of `key` for `object_store`, which keeps no other keys byte for byte.
pub(super) fn path_of(key: &Key) -> Result<Path, Error> {
    Path::parse(key.as_str())
        .map_err(|error| Error::new(super::error::Outcome::Refused, error.to_string()))
}

/// A bucket or a directory. Each method makes one attempt.
#[async_trait]
pub(super) trait Backend: fmt::Debug + Send + Sync {
    /// Number of parts in flight when a location asks for `wanted`.
    fn parts_in_flight(&self, wanted: usize) -> usize {
        wanted
    }

    /// Lists one page under `folder`, of at most `max_keys` objects.
    async fn list(
        &self,
        call: &Call,
        folder: &str,
        after: Option<Cursor>,
        max_keys: Option<u32>,
    ) -> Result<Page<Listed>, Error>;

    /// Lists the names of the folders directly under `folder`: the first page alone.
    async fn folders(&self, call: &Call, folder: &str) -> Result<Vec<String>, Error>;

    /// Reads an object's metadata, and its checksums where the server gives them.
    async fn head(&self, call: &Call, key: &Key, with_checksums: bool) -> Result<Stat, Error>;

    /// Opens a range of an object, or the whole; `e_tag` refuses another version.
    async fn get_range(
        &self,
        call: &Call,
        key: &Key,
        range: Option<Range<u64>>,
        e_tag: Option<&str>,
    ) -> Result<Body, Error>;

    /// Writes an object atomically.
    async fn put(
        &self,
        call: &Call,
        key: &Key,
        content: &Content,
        kind: ContentType,
    ) -> Result<(), Error>;

    /// Deletes an object.
    async fn delete(&self, call: &Call, key: &Key) -> Result<(), Error>;

    /// Starts a multipart upload of a tar.
    async fn start(&self, call: &Call, key: &Key) -> Result<Session, Error>;

    /// Stores part `number`, from 0. Returns its `ETag`.
    async fn put_part(
        &self,
        call: &Call,
        session: &Session,
        number: usize,
        content: &Content,
    ) -> Result<String, Error>;

    /// Completes a multipart upload from all its parts, in order.
    async fn complete(
        &self,
        call: &Call,
        session: &Session,
        parts: &[Part],
    ) -> Result<Completion, Error>;

    /// Aborts an upload and discards its parts.
    async fn abort(&self, call: &Call, session: &Session) -> Result<(), Error>;

    /// Lists one page of an upload's stored parts.
    async fn parts(
        &self,
        call: &Call,
        session: &Session,
        after: Option<Cursor>,
    ) -> Result<Page<HeldPart>, Error>;

    /// Lists one page of the unfinished uploads under `folder`.
    async fn unfinished(
        &self,
        call: &Call,
        folder: &str,
        after: Option<Cursor>,
    ) -> Result<Page<Leftover>, Error>;
}
