//! Reads of a [`Store`]: lists, metadata and content.

use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::Store;
use super::backend::{Body, Object, Objects, Stat};
use super::error::{Error, Outcome};
use super::key::Key;
use super::pages::{self, Bounds, Cursor, Page};
use super::retry::{Call, Patience};

/// Ten million objects, of which a hundred thousand backups take half of the memory.
const OBJECTS: Bounds = Bounds {
    what: "listing",
    pages: 10_000,
    items: usize::MAX,
    weight: 64 * 1024 * 1024,
};

impl Store {
    /// Lists everything under `folder`, page by page; each page is retried by itself.
    ///
    /// # Errors
    /// What a page fails with.
    pub async fn list(&self, folder: &str, patience: Patience) -> Result<Objects, Error> {
        let patience = self.remote(patience);
        let action = &format!("list {}", self.description);
        let listed = self.pages(&OBJECTS, action, patience, |call, after| async move {
            self.backend.list(&call, folder, after, None).await
        });
        Ok(listed.await?.0.into_iter().collect())
    }

    /// Fetches all pages of a listing, each with retries of its own. Returns the items and the server's clock.
    pub(super) async fn pages<T, F>(
        &self,
        bounds: &Bounds,
        action: &str,
        patience: Patience,
        fetch: impl Fn(Call, Option<Cursor>) -> F,
    ) -> Result<(Vec<T>, Option<DateTime<Utc>>), Error>
    where
        F: Future<Output = Result<Page<T>, Error>>,
    {
        let fetch = &fetch;
        let page = |after: Option<Cursor>| {
            self.read_retry(patience)
                .run(action, move |call| fetch(call, after.clone()))
        };
        pages::all(bounds, action, page).await
    }

    /// Lists at most one object, to see whether that is allowed.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn peek(&self, folder: &str, patience: Patience) -> Result<(), Error> {
        let patience = self.remote(patience);
        let action = format!("list {}", self.description);
        let page = self.read_retry(patience).run(&action, |call| async move {
            self.backend.list(&call, folder, None, Some(1)).await
        });
        page.await.map(drop)
    }

    /// Lists the first page under `folder`, a thousand objects on most servers.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn first_page(&self, folder: &str, patience: Patience) -> Result<Objects, Error> {
        let (page, _) = self.page_after(folder, None, patience).await?;
        Ok(page)
    }

    /// Lists one page under `folder`, of keys behind `after`. Returns whether there are more pages.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn page_after(
        &self,
        folder: &str,
        after: Option<&str>,
        patience: Patience,
    ) -> Result<(Objects, bool), Error> {
        let action = format!("list {}", self.description);
        let page = self.read_retry(patience).run(&action, |call| async move {
            let after = after.map(|key| vec![("start-after", key.to_owned())]);
            self.backend.list(&call, folder, after, None).await
        });
        let page = page.await?;
        let has_more = page.next.is_some();
        Ok((page.items.into_iter().collect(), has_more))
    }

    /// Lists the names of the folders directly under `folder`; the first page of many.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn folders(&self, folder: &str, patience: Patience) -> Result<Vec<String>, Error> {
        let action = format!("list the folders of {}", self.description);
        let found = self.read_retry(patience).run(&action, |call| async move {
            self.backend.folders(&call, folder).await
        });
        found.await
    }

    /// Reads a small object whole; one larger than `limit` bytes is refused.
    ///
    /// # Errors
    /// [`Outcome::NotFound`], and what else a read fails with.
    pub async fn read(&self, key: &Key, limit: u64, patience: Patience) -> Result<Bytes, Error> {
        let action = &self.action("read", key);
        self.read_retry(patience)
            .run(action, |call| async move {
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
        self.read_retry(patience)
            .run(self.action("read", key), |call| {
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
        self.read_retry(patience)
            .run(action, |call| {
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
        let action = self.action("find", key);
        let found = self.read_retry(patience).run(action, |call| async move {
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

    /// Returns an object as a listing would, also when a cache still answers that it does not exist: the listing tells.
    ///
    /// # Errors
    /// As [`Self::size`].
    pub async fn object_or_listed(&self, key: &Key, patience: Patience) -> Result<Object, Error> {
        match self.object(key, patience).await {
            Err(error) if error.outcome == Outcome::NotFound && self.s3.is_some() => {
                self.listed(key, patience).await?.ok_or(error)
            }
            found => found,
        }
    }

    /// The same, or nothing when the listing does not show it either.
    ///
    /// # Errors
    /// What a request fails with.
    pub async fn object_or_listed_if_any(
        &self,
        key: &Key,
        patience: Patience,
    ) -> Result<Option<Object>, Error> {
        if_any(self.object_or_listed(key, patience).await)
    }

    /// Returns an object by the listing of its own key.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn listed(&self, key: &Key, patience: Patience) -> Result<Option<Object>, Error> {
        let action = self.action("list", key);
        let patience = self.remote(patience);
        let page = self.read_retry(patience).run(&action, |call| async move {
            self.backend.list(&call, key.as_str(), None, Some(1)).await
        });
        let mut objects = page.await?.items.into_iter().flatten();
        Ok(objects.find(|object| object.key == *key))
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
        if_any(self.object(key, patience).await)
    }

    /// Returns an object's metadata with the checksums that the server has.
    ///
    /// # Errors
    /// As [`Self::size`].
    pub async fn stat(&self, key: &Key, patience: Patience) -> Result<Stat, Error> {
        let action = self.action("find", key);
        let head = async |with_checksums| {
            let found = self.read_retry(patience).run(&action, |call| async move {
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
}

fn if_any(found: Result<Object, Error>) -> Result<Option<Object>, Error> {
    match found {
        Err(error) if error.outcome == Outcome::NotFound => Ok(None),
        found => found.map(Some),
    }
}
