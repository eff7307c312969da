//! An object written in parts, of which nothing is visible before it is completed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method};
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartUpload, PutMultipartOptions, PutPayload};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::copy::{self, CopySource};
use super::error::{Error, Outcome};
use super::http::read_up_to;
use super::retry::{Patience, retry};
use super::s3::S3;
use super::{ContentType, Key, PartDigest, Store, StoreBackend, path_of};

/// More than a location may ask for at once: with that many the provider is at full pace again.
const MOST_IN_FLIGHT: usize = 16;

/// What an upload has at most. Source: "Multipart upload limits" in Amazon's user guide.
const MAX_PARTS: usize = 10_000;

/// Some servers tell a hundred parts at a time.
const MAX_PAGES: usize = 1000;

/// A thousand parts take a quarter of it.
const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// All pages together; as many parts as there may be take a quarter of it, too.
const MAX_LIST_BYTES: usize = 20 * 1024 * 1024;

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

/// A part that the server says it holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HeldPart {
    /// Number from 1.
    pub part_number: usize,
    /// Its `ETag`.
    #[serde(rename = "ETag")]
    pub e_tag: String,
    /// Bytes.
    pub size: u64,
    /// When it was stored, as the server says it.
    #[serde(default)]
    pub last_modified: Option<String>,
}

/// One page of `ListParts`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PartsPage {
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_part_number_marker: Option<String>,
    #[serde(default, rename = "Part")]
    parts: Vec<HeldPart>,
}

impl PartsPage {
    pub(super) fn parse(text: &[u8]) -> Result<Self, quick_xml::DeError> {
        quick_xml::de::from_reader(text)
    }
}

impl HeldPart {
    /// Whether this is the part that is called `e_tag` here, which may have a checksum beside the server's `ETag`.
    #[must_use]
    pub fn is(&self, e_tag: &str, size: u64) -> bool {
        let held = self.e_tag.trim_matches('"');
        self.size == size && !held.is_empty() && e_tag.contains(held)
    }
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
                let upload_id = store
                    .retry(patience, || async move {
                        let started = client.create_multipart_opts(place, options()).await;
                        started.map_err(|error| Error::from_object_store(error, action))
                    })
                    .await?;
                Kind::S3 { s3, upload_id }
            }
            StoreBackend::Directory(directory) => Kind::Directory(Arc::new(Mutex::new(
                directory.begin(path.clone(), action).await?,
            ))),
        };
        Ok(Self {
            store: store.clone(),
            key: key.clone(),
            path,
            kind,
        })
    }

    /// Goes on with an upload that was started before; only a bucket knows such.
    #[must_use]
    pub fn resume(store: &Store, key: &Key, upload_id: &str) -> Option<Self> {
        let StoreBackend::S3(s3) = &*store.backend else {
            return None;
        };
        let kind = Kind::S3 {
            s3: s3.multipart(),
            upload_id: upload_id.to_owned(),
        };
        Some(Self {
            store: store.clone(),
            key: key.clone(),
            path: path_of(key).ok()?,
            kind,
        })
    }

    /// The same upload by another handle of its storage.
    #[must_use]
    pub fn in_store(&self, store: &Store) -> Self {
        Self {
            store: store.clone(),
            ..self.clone()
        }
    }

    /// Its id, to resume it by.
    #[must_use]
    pub fn upload_id(&self) -> Option<&str> {
        match &self.kind {
            Kind::S3 { upload_id, .. } => Some(upload_id),
            Kind::Directory(_) => None,
        }
    }

    /// The parts that the server holds.
    ///
    /// # Errors
    /// [`Outcome::NoSuchUpload`], and what else a request can come to.
    pub async fn stored_parts(&self, patience: Patience) -> Result<Vec<HeldPart>, Error> {
        let action = &self.store.action("go on with the upload of", &self.key);
        let (StoreBackend::S3(s3), Some(upload_id)) = (&*self.store.backend, self.upload_id())
        else {
            return Ok(Vec::new());
        };
        let refused =
            |why: &str| Error::new(Outcome::Refused, format!("Could not {action}: {why}"));
        let (mut parts, mut room) = (Vec::new(), MAX_LIST_BYTES);
        let mut after = "0".to_owned();
        for _ in 0..MAX_PAGES {
            let query = &[
                ("part-number-marker", after.as_str()),
                ("uploadId", upload_id),
            ];
            let (page, bytes) = retry(patience, || self.parts_page(s3, query, action)).await?;
            let next = page
                .next_part_number_marker
                .filter(|next| page.is_truncated && *next != after);
            parts.extend(page.parts);
            room = room
                .checked_sub(bytes)
                .ok_or_else(|| refused("the list of parts is too long"))?;
            if parts.len() > MAX_PARTS {
                return Err(refused("the list has more parts than an upload can have"));
            }
            match next {
                Some(next) => after = next,
                None => return Ok(parts),
            }
        }
        Err(refused("the list of parts has no end"))
    }

    /// One page of them, and how many bytes it took.
    async fn parts_page(
        &self,
        s3: &S3,
        query: &[(&str, &str)],
        action: &str,
    ) -> Result<(PartsPage, usize), Error> {
        let text = match s3
            .request(
                Method::GET,
                Some(&self.key),
                query,
                HeaderMap::new(),
                Bytes::new(),
            )
            .await
        {
            Ok(answer) => read_up_to(MAX_PAGE_BYTES, answer.into_body()).await,
            Err(error) => Err(error),
        };
        let text = text.map_err(|error| Error::from_http(error, action))?;
        let page = PartsPage::parse(&text).map_err(|error| {
            Error::new(
                Outcome::Refused,
                format!("Could not {action}: the answer is no list of parts: {error}"),
            )
        })?;
        Ok((page, text.len()))
    }

    /// Stores part `number`, counted from 0. `digest` is of `data`, from [`Store::part_digest`]. Parts may be stored
    /// concurrently; in a directory, only when the calls begin in order.
    ///
    /// # Errors
    /// What a write can fail with; [`Outcome::Damaged`] when the provider received other bytes.
    pub async fn put_part(
        &self,
        number: usize,
        data: Bytes,
        digest: &PartDigest,
        patience: Patience,
    ) -> Result<Part, Error> {
        let _ = digest;
        let action = &format!(
            "store part {} of \"{}\" in {}",
            number + 1,
            self.key,
            self.store.place()
        );
        let failed = |error| Error::from_object_store(error, action);
        match &self.kind {
            Kind::S3 { s3, upload_id } => {
                let stored = self.in_turn(patience, || {
                    let data = data.clone();
                    async move {
                        let payload = PutPayload::from(data.clone());
                        let stored = s3
                            .put_part(&self.path, upload_id, number, payload)
                            .await
                            .map_err(failed)?;
                        self.store
                            .compare(&self.key, &stored.content_id, &data, action)
                            .await?;
                        Ok(stored.content_id)
                    }
                });
                Ok(Part {
                    number,
                    e_tag: stored.await?,
                })
            }
            Kind::Directory(upload) => {
                let written = upload.lock().await.put_part(PutPayload::from(data));
                written.await.map_err(failed)?;
                Ok(Part {
                    number,
                    e_tag: String::new(),
                })
            }
        }
    }

    /// Makes part `number` of a range of another object at the same endpoint, inside the storage.
    ///
    /// # Errors
    /// What a copy can come to.
    pub async fn copy_part(
        &self,
        number: usize,
        source: &CopySource,
        range: Range<u64>,
        patience: Patience,
    ) -> Result<Part, Error> {
        let action = &format!(
            "copy part {} of \"{}\" in {}",
            number + 1,
            self.key,
            self.store.place()
        );
        let (StoreBackend::S3(s3), Some(upload_id)) = (&*self.store.backend, self.upload_id())
        else {
            return Err(Error::new(
                Outcome::Refused,
                format!("Could not {action}: a directory cannot"),
            ));
        };
        let number_text = (number + 1).to_string();
        let query = &[
            ("partNumber", number_text.as_str()),
            ("uploadId", upload_id),
        ];
        let headers = &source.headers(Some(range));
        let e_tag = self
            .in_turn(patience, || {
                copy::copied(s3, &self.key, query, headers, action)
            })
            .await?;
        Ok(Part { number, e_tag })
    }

    /// Tries a part again and again, never more of them at the same time than the provider takes.
    async fn in_turn<T, F>(
        &self,
        patience: Patience,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let StoreBackend::S3(s3) = &*self.store.backend else {
            return self.store.retry(patience, attempt).await;
        };
        let attempt = || {
            let attempt = attempt();
            async move {
                let turn = s3.pace().turn().await;
                let result = attempt.await;
                match &result {
                    Ok(_) => turn.taken(MOST_IN_FLIGHT),
                    Err(error) if error.outcome == Outcome::Throttled => turn.refused(),
                    Err(_) => drop(turn),
                }
                result
            }
        };
        self.store.retry(patience, attempt).await
    }

    /// Makes the object of its parts, which must be all of them, in order. `size` is what the object must then have, and
    /// another version than what was there before: when the answer to an earlier attempt was lost, the upload is gone
    /// because it succeeded.
    ///
    /// # Errors
    /// What a request can come to.
    pub async fn complete(
        &self,
        parts: &[Part],
        size: u64,
        before: Option<&str>,
        patience: Patience,
    ) -> Result<(), Error> {
        let action = &self.store.action("complete the upload of", &self.key);
        let failed = |error| Error::from_object_store(error, action);
        match &self.kind {
            Kind::S3 { s3, upload_id } => {
                let may_have_succeeded = &AtomicBool::new(false);
                let completed = self.store.retry(patience, || {
                    let parts = parts
                        .iter()
                        .map(|part| PartId {
                            content_id: part.e_tag.clone(),
                        })
                        .collect();
                    async move {
                        let completed = s3
                            .complete_multipart(&self.path, upload_id, parts)
                            .await
                            .map(drop);
                        completed.map_err(failed).inspect_err(|error| {
                            let is_unclear = error.outcome.is_transient() || error.may_pass;
                            may_have_succeeded.fetch_or(is_unclear, Ordering::Relaxed);
                        })
                    }
                });
                match completed.await {
                    // Otherwise somebody ended the upload, and what is there is not of these parts.
                    Err(error)
                        if error.outcome == Outcome::NoSuchUpload
                            && may_have_succeeded.load(Ordering::Relaxed) =>
                    {
                        self.was_completed(size, before, error).await
                    }
                    completed => completed,
                }
            }
            Kind::Directory(upload) => upload
                .lock()
                .await
                .complete()
                .await
                .map(drop)
                .map_err(failed),
        }
    }

    async fn was_completed(
        &self,
        size: u64,
        before: Option<&str>,
        error: Error,
    ) -> Result<(), Error> {
        match self.store.object(&self.key, Patience::INTERACTIVE).await {
            Ok(stored) if stored.size == size && before != Some(&stored.version) => Ok(()),
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
                let aborted = retry(patience, || async move {
                    s3.abort_multipart(&self.path, upload_id)
                        .await
                        .map_err(failed)
                });
                aborted.await.or_else(|error| match error.outcome {
                    Outcome::NoSuchUpload | Outcome::NotFound => Ok(()),
                    _ => Err(error),
                })
            }
            Kind::Directory(upload) => match upload.lock().await.abort().await {
                Ok(()) => Ok(()),
                // Once it failed to complete, it knows no more of its file.
                Err(_) => Box::pin(self.store.remove_unnamed(&self.key, patience)).await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_parts_tells_which_ones_are_there() {
        let page = PartsPage::parse(
            br"<ListPartsResult><Bucket>b</Bucket><NextPartNumberMarker>2</NextPartNumberMarker><IsTruncated>true</IsTruncated>
            <Part><PartNumber>1</PartNumber><LastModified>t</LastModified><ETag>&quot;abc&quot;</ETag><Size>7</Size></Part>
            <Part><PartNumber>2</PartNumber><ETag></ETag><Size>8</Size></Part></ListPartsResult>",
        )
        .unwrap();
        assert_eq!(
            (page.is_truncated, page.next_part_number_marker.as_deref()),
            (true, Some("2"))
        );
        let [first, second] = &page.parts[..] else {
            panic!("{page:?}")
        };
        assert!(first.is("\"abc\"", 7) && first.is("<e_tag>\"abc\"</e_tag>", 7));
        assert!(!first.is("\"abc\"", 8) && !first.is("\"abd\"", 7) && !second.is("\"\"", 8));
    }
}
