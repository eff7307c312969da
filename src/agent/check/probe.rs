//! Probe of a check: an object that is written and read like a backup, with its name, sizes and requests.
//!
//! One name per folder, so that no number of checks leaves more than one object. Its content follows from the position of
//! each byte: a cache may answer with the probe of an earlier check.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Kind, Reason, Result};
use crate::store::{
    ContentType, Error as StoreError, Key, Multipart, Outcome, PROBE, Part, Patience, Store,
};

/// Size of the last part, and of a part that is stored where a large one is not.
const SMALL_BYTES: usize = 64 * 1024;

/// Bytes of each range that is read.
const RANGE_BYTES: u64 = 4096;

/// How long a listing may take to show a new object.
const LISTED_WITHIN: Duration = Duration::from_secs(10);

/// Pause between two looks at a listing.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Age from which an unfinished upload of the probe is that of an earlier check.
const LEFT_AFTER: chrono::Duration = chrono::Duration::minutes(2);

/// The probe.
pub(super) struct Probe<'s> {
    store: &'s Store,
    pub(super) key: Key,
    content: Bytes,
    /// Size of a probe that an earlier check left and that cannot be written over.
    kept: Option<u64>,
    /// Size of the object after the multipart upload.
    size: u64,
}

/// How a part was stored.
enum FirstPart {
    Whole(Part),
    /// The line took this many bytes within the limit.
    TooSlow(u64),
}

impl<'s> Probe<'s> {
    /// A probe whose first part has `part_size` bytes.
    pub(super) fn new(store: &'s Store, key: Key, part_size: u64) -> Self {
        let size = usize::try_from(part_size).unwrap_or(SMALL_BYTES) + SMALL_BYTES;
        let mut content = PROBE.repeat(size.div_ceil(PROBE.len()));
        content.truncate(size);
        Self {
            store,
            key,
            content: content.into(),
            kept: None,
            size: 0,
        }
    }

    fn part_size(&self) -> usize {
        self.content.len() - SMALL_BYTES
    }

    /// Writes it in one request, and deletes it. A storage that keeps what it has may refuse both, and to write over an
    /// earlier probe.
    pub(super) async fn write(&mut self) -> Result<()> {
        let data = Bytes::from_static(PROBE);
        let written = self
            .store
            .write(&self.key, data, ContentType::Tar, Patience::INTERACTIVE);
        if let Err(error) = written.await {
            if error.outcome.is_refusal() {
                let earlier = self.store.listed(&self.key, Patience::INTERACTIVE).await;
                self.kept = earlier.ok().flatten().map(|earlier| earlier.size);
            }
            if self.kept.is_none() {
                return Err(not_allowed(error, "write", "s3:PutObject"));
            }
        } else if let Err(error) = self.store.delete(&self.key, Patience::INTERACTIVE).await {
            // Each backup has a new name, so the upload in parts needs one, too.
            self.kept = error.outcome.is_refusal().then_some(PROBE.len() as u64);
        }
        Ok(())
    }

    /// Writes it in parts, the first as large as a backup's, and sets `started`, also if a part fails. Returns the size that
    /// was proven when the line was too slow for a whole part.
    pub(super) async fn write_in_parts(
        &mut self,
        limit: Duration,
        started: &mut Option<Multipart>,
    ) -> Result<Option<u64>> {
        let multipart = limited(limit, async { self.begin().await.map_err(refused) }).await?;
        let multipart = &*started.insert(multipart);
        let (first, first_size, proven) = match self.first_part(multipart, limit).await? {
            FirstPart::Whole(part) => (part, self.part_size(), None),
            FirstPart::TooSlow(proven) => {
                let small = limited(limit, async {
                    self.part(multipart, 0, SMALL_BYTES).await.map_err(refused)
                });
                (small.await?, SMALL_BYTES, Some(proven))
            }
        };
        self.size = (first_size + SMALL_BYTES) as u64;
        let completed = limited(limit, async {
            let last = self.last_part(multipart, first_size).await?;
            let parts = [first, last];
            let completed = multipart.complete(&parts, self.size, None, Patience::INTERACTIVE);
            match completed.await {
                Err(error) if self.kept.is_some() && is_of_kept(&error) => Ok(false),
                completed => completed.map(|()| true).map_err(refused),
            }
        });
        if completed.await? {
            self.kept = None;
        } else {
            // One that is left is noted with the next.
            drop(multipart.abort(Patience::INTERACTIVE).await);
        }
        Ok(proven)
    }

    /// Resumes the upload that an earlier check left, or starts one.
    async fn begin(&self) -> Result<Multipart, StoreError> {
        let patience = Patience::INTERACTIVE;
        if self.store.dialect().is_some()
            && let Ok(found) = self.store.leftovers(self.key.as_str(), patience).await
        {
            let is_left = |begun| found.now - begun > LEFT_AFTER;
            let left = found.all.iter().filter(|left| left.key == self.key);
            for upload in left.filter(|left| is_left(left.begun)) {
                let id = upload.upload_id().unwrap_or_default();
                if let Some(multipart) = Multipart::resume(self.store, &self.key, id)
                    && multipart.stored_parts(patience).await.is_ok()
                {
                    return Ok(multipart);
                }
            }
        }
        Multipart::start(self.store, &self.key, patience).await
    }

    async fn part(
        &self,
        multipart: &Multipart,
        number: usize,
        size: usize,
    ) -> Result<Part, StoreError> {
        let data = self.content.slice(..size);
        let digest = self.store.part_digest(&data);
        multipart
            .put_part(number, data, &digest, Patience::INTERACTIVE)
            .await
    }

    async fn last_part(&self, multipart: &Multipart, start: usize) -> Result<Part> {
        let data = self.content.slice(start..start + SMALL_BYTES);
        let digest = self.store.part_digest(&data);
        let stored = multipart.put_part(1, data, &digest, Patience::INTERACTIVE);
        stored.await.map_err(refused)
    }

    /// Stores a part as large as a backup's, for as long as bytes move within `limit`.
    async fn first_part(&self, multipart: &Multipart, limit: Duration) -> Result<FirstPart> {
        let before = self.sent_bytes();
        let stored = self.part(multipart, 0, self.part_size());
        tokio::pin!(stored);
        let mut moved = 0;
        for share in [limit * 2 / 3, limit / 3] {
            match timeout(share, &mut stored).await {
                Ok(Ok(part)) => return Ok(FirstPart::Whole(part)),
                Ok(Err(error)) => return Err(self.why(multipart, error).await),
                Err(_) => {
                    let now = self.sent_bytes() - before;
                    if now == moved {
                        return Err(too_late(limit));
                    }
                    moved = now;
                }
            }
        }
        Ok(FirstPart::TooSlow(moved.min(self.part_size() as u64)))
    }

    fn sent_bytes(&self) -> u64 {
        self.store.traffic().map_or(0, |traffic| traffic.sent_bytes)
    }

    /// Explains why a large part failed: a connection that breaks under it alone has a limit of size.
    async fn why(&self, multipart: &Multipart, error: StoreError) -> Error {
        let is_broken = error.outcome.is_transient() && error.outcome != Outcome::Throttled;
        if is_broken && self.part(multipart, 0, SMALL_BYTES).await.is_ok() {
            let detail = format!(
                "{error}. A part of {} KiB arrives, one of {} MiB does not.",
                SMALL_BYTES / 1024,
                self.part_size() / 1024 / 1024
            );
            let reason = Some(Reason::BodyTooLarge);
            return Error::new(Kind::StorageError, detail).with_reason(reason);
        }
        refused(error)
    }

    /// Reads it as a download does, and looks for it in a listing.
    pub(super) async fn read(&self) -> Result<()> {
        let size = match self.kept {
            Some(size) => size,
            None => self.confirmed_size().await?,
        };
        let first = 0..RANGE_BYTES.min(size);
        let start = size / 2;
        let e_tag = self.compare(first, None).await?;
        self.compare(start..size.min(start + RANGE_BYTES), e_tag.as_deref())
            .await?;
        if self.store.dialect().is_some() {
            return self.find_in_listing().await;
        }
        Ok(())
    }

    /// Confirms the size as a commit does. A cache may still have the probe of an earlier check.
    async fn confirmed_size(&self) -> Result<u64> {
        let patience = Patience::INTERACTIVE;
        let found = self.store.object_or_listed(&self.key, patience).await;
        let found = found.map_err(unread)?.size;
        if found == self.size {
            return Ok(found);
        }
        let listed = self.store.listed(&self.key, patience).await;
        if listed.is_ok_and(|listed| listed.is_some_and(|listed| listed.size == self.size)) {
            return Ok(found.min(self.size));
        }
        let detail = format!(
            "\"{}\" has {found} bytes in the bucket, but {} were sent.",
            self.key, self.size
        );
        Err(Error::new(Kind::StorageError, detail))
    }

    /// Reads a range and compares it. Returns the object's `ETag`.
    async fn compare(
        &self,
        range: std::ops::Range<u64>,
        e_tag: Option<&str>,
    ) -> Result<Option<String>> {
        let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
        let expected = self.content.get(at(range.start)..at(range.end));
        let (read, found) = self
            .store
            .read_range(&self.key, range.clone(), e_tag, Patience::INTERACTIVE)
            .await
            .map_err(unread)?;
        // What an earlier check left may be larger than today's content.
        if expected.is_none_or(|expected| read == expected) {
            return Ok(found);
        }
        let detail = format!(
            "\"{}\" came back with other bytes than were written.",
            self.key
        );
        Err(Error::new(Kind::StorageError, detail)
            .with_hint("Something on the way changes what it carries: a proxy, or the server."))
    }

    async fn find_in_listing(&self) -> Result<()> {
        let until = Instant::now() + LISTED_WITHIN;
        loop {
            let listed = match self.store.listed(&self.key, Patience::INTERACTIVE).await {
                // A policy may allow to list the folder alone, as backups are listed.
                Err(error) if error.outcome == Outcome::Forbidden => self.is_in_folder().await,
                listed => listed.map(|found| found.is_some()),
            };
            if listed.map_err(|error| not_allowed(error, "list", "s3:ListBucket"))? {
                return Ok(());
            }
            if Instant::now() > until {
                let detail = format!("\"{}\" can be read, but no list shows it.", self.key);
                return Err(Error::new(Kind::StorageError, detail).with_hint(
                    "Something on the way changes names in lists: a proxy, or the server.",
                ));
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    async fn is_in_folder(&self) -> Result<bool, StoreError> {
        let key = self.key.as_str();
        let end = key.rfind('/').map_or(0, |slash| slash + 1);
        let listed = self.store.list(&key[..end], Patience::INTERACTIVE).await?;
        Ok(listed.objects.iter().any(|object| object.key == self.key))
    }

    /// Deletes it.
    pub(super) async fn delete(&self) -> Result<()> {
        let deleted = self.store.delete(&self.key, Patience::INTERACTIVE).await;
        deleted.map_err(|error| not_allowed(error, "delete", "s3:DeleteObject"))
    }

    /// Starts an upload and aborts it, unless one is left already. Returns a warning when either, or the list of unfinished
    /// uploads, is not allowed.
    pub(super) async fn abort_another(&self) -> Result<(), Warning> {
        let patience = Patience::INTERACTIVE;
        let found = match self.store.leftovers(self.key.as_str(), patience).await {
            Err(error) if error.outcome == Outcome::Forbidden => return Err(Warning::NoList),
            // Not every provider has such a list.
            Err(_) => return Ok(()),
            Ok(found) => found,
        };
        if !found.all.is_empty() {
            return Err(Warning::NoAbort(None));
        }
        let Ok(multipart) = Multipart::start(self.store, &self.key, patience).await else {
            return Ok(());
        };
        abort(&multipart).await
    }
}

/// A permission that no backup needs every night.
#[derive(Debug)]
pub(super) enum Warning {
    /// Unfinished uploads cannot be listed.
    NoList,
    /// An unfinished upload cannot be aborted, and one is left.
    NoAbort(Option<Error>),
}

/// Aborts an unfinished upload of the probe.
pub(super) async fn abort(multipart: &Multipart) -> Result<(), Warning> {
    let aborted = multipart.abort(Patience::INTERACTIVE).await;
    let denied = |error| not_allowed(error, "abort an upload", "s3:AbortMultipartUpload");
    aborted.map_err(|error| Warning::NoAbort(Some(denied(error))))
}

/// Whether the storage refuses to write over an object.
fn is_of_kept(error: &StoreError) -> bool {
    let message = error.message.to_ascii_lowercase();
    let words = ["overwrit", "worm", "lock", "retention", "already exists"];
    let says_so = words.iter().any(|word| message.contains(word));
    error.outcome.is_refusal() && (error.outcome != Outcome::Refused || says_so)
}

fn refused(error: StoreError) -> Error {
    not_allowed(error, "upload in parts", "s3:PutObject")
}

fn unread(error: StoreError) -> Error {
    not_allowed(error, "read", "s3:GetObject")
}

fn too_late(limit: Duration) -> Error {
    let detail = format!("The provider did not finish within {} s.", limit.as_secs());
    Error::new(Kind::StorageTimeout, detail)
}

/// Bounds a step's duration.
pub(super) async fn limited<T>(
    limit: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let detail = format!("The provider did not finish within {} s.", limit.as_secs());
        Err(Error::new(Kind::StorageTimeout, detail))
    })
}

/// Names the missing permission in the hint.
pub(super) fn not_allowed(error: StoreError, what: &str, action: &str) -> Error {
    let is_forbidden = error.outcome == Outcome::Forbidden
        && matches!(error.reason, None | Some(Reason::ActionDenied));
    let error = Error::from(error);
    if !is_forbidden {
        return error;
    }
    let hint =
        format!("Give the key permission to {what} in this bucket (Amazon calls it {action}).");
    error
        .with_reason(Some(Reason::ActionDenied))
        .with_hint(hint)
}
