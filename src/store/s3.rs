//! A bucket.
//!
//! Requests are this module's own: `object_store` fails a whole listing over one key that it cannot address, and hashes
//! content itself, which has its digest already. Its signature (`AwsAuthorizer`) is used.

mod answer;
mod checksum;
mod client;
mod confirm;
mod connect;
mod copy;
mod detour;
mod dialect;
mod e_tag;
mod encryption;
mod failure;
mod folders;
mod names;
mod object;
mod page;
mod probe;
mod proof;
mod proxy;
mod range;
mod request;
mod resolve;
mod shared;
mod sign;
mod traffic;
mod transport;
mod trust;
mod verified;
mod watch;
mod xml;

#[cfg(any(feature = "fuzzing", test))]
pub(super) mod fuzzing {
    pub(in crate::store) use super::answer::{Answer, plain};
    pub(in crate::store) use super::names::Readings;
    pub(in crate::store) use super::request::encode_key;
    pub(in crate::store) use super::xml::{List, Objects, Parts, Uploads};
}

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use http::Method;

use super::backend::{
    Backend, Body, Completion, Content, ContentType, HeldPart, Leftover, Listed, Part, Session,
    SessionId, Stat,
};
use super::error::{Error, Outcome};
use super::key::Key;
use super::pages::{Cursor, Page};
use super::retry::Call;
pub(super) use client::Client;
use client::MAX_ANSWER_BYTES;
pub use dialect::Dialect;
pub use probe::{Greeting, Route};
use request::Request;
pub use traffic::Traffic;
use xml::{Objects, Parts, Uploads};

/// A page of a thousand parts takes a quarter of it.
const MAX_PARTS_BYTES: usize = 2 * 1024 * 1024;

/// Each call is one request of Amazon's API.
#[async_trait]
impl Backend for Client {
    /// `ListObjectsV2`.
    async fn list(
        &self,
        call: &Call,
        folder: &str,
        after: Option<Cursor>,
        max_keys: Option<u32>,
    ) -> Result<Page<Listed>, Error> {
        let limit = max_keys.map(|max| ("max-keys", max.to_string()));
        let request = Request::of_bucket(Method::GET)
            .queries(after.unwrap_or_default())
            .query("encoding-type", "url")
            .query("list-type", "2")
            .queries(limit)
            .query("prefix", folder);
        let page = self
            .page::<Objects>(call, request, MAX_ANSWER_BYTES)
            .await?;
        self.note_listed();
        Ok(page)
    }

    async fn folders(&self, call: &Call, folder: &str) -> Result<Vec<String>, Error> {
        self.list_folders(call, folder).await
    }

    /// `HeadObject`.
    async fn head(&self, call: &Call, key: &Key, with_checksums: bool) -> Result<Stat, Error> {
        let mut request = Request::of(Method::HEAD, key).headers(&self.headers.customer);
        let detours = self.detours(call);
        if detours.get_for_head {
            return self.head_by_get(call, key).await;
        }
        // A provider shows no checksums of an object with a customer's key.
        if with_checksums && self.headers.customer.is_empty() {
            request = request.header("x-amz-checksum-mode", "ENABLED");
        }
        let reply = self.send(call, request).await;
        let reply = reply.map_err(|error| detours.after_head(error))?;
        object::stat(&reply).ok_or_else(|| Error::refused(&call.action, "the answer has no size"))
    }

    /// `GetObject`.
    async fn get_range(
        &self,
        call: &Call,
        key: &Key,
        range: Option<Range<u64>>,
        e_tag: Option<&str>,
    ) -> Result<Body, Error> {
        let detours = self.detours(call);
        let mut request = Request::of(Method::GET, key)
            .headers(&self.headers.customer)
            .range("range", range.as_ref());
        if let Some(e_tag) = e_tag.filter(|e_tag| detours.may_compare(e_tag)) {
            request = request.header("if-match", e_tag);
        }
        if detours.past_cache {
            request = request.query("x-id", "GetObject");
        }
        let reply = self.send(call, request).await;
        let reply = reply.map_err(|error| detours.after_get(error, key, e_tag))?;
        let sent = range::sent(&reply, range.as_ref()).ok_or_else(|| {
            let why = "the answer is not the range that was asked for";
            Error::refused(&call.action, why)
        })?;
        let found = reply.header("etag").map(str::to_owned);
        // Some servers ignore If-Match.
        if let Some(wanted) = e_tag
            && found.as_deref().map(e_tag::opaque) != Some(e_tag::opaque(wanted))
        {
            let why = "it was replaced in the meantime";
            return Err(Error::could_not(&call.action, Outcome::Changed, why));
        }
        self.keep(detours);
        let action = Arc::clone(&call.action);
        let stream = reply.body.map_err(move |error| error.error(&action));
        Ok(Body {
            object_size: sent.object_size,
            e_tag: found,
            ignores_range: sent.ignores_range(),
            stream: sent.cut(stream.boxed()),
        })
    }

    /// `PutObject` or `CopyObject`. A copy is encrypted as the request says, not as its source is.
    async fn put(
        &self,
        call: &Call,
        key: &Key,
        content: &Content,
        kind: ContentType,
    ) -> Result<(), Error> {
        let mut request = self.begin(Method::PUT, key, kind);
        if matches!(content, Content::Payload(_)) {
            request = request.header("content-type", kind.as_str());
        }
        self.fill(call, key, request, content).await.map(drop)
    }

    /// `DeleteObject`.
    async fn delete(&self, call: &Call, key: &Key) -> Result<(), Error> {
        let request = Request::of(Method::DELETE, key);
        self.send(call, request).await.map(drop)
    }

    /// `CreateMultipartUpload`.
    async fn start(&self, call: &Call, key: &Key) -> Result<Session, Error> {
        // Not later: `rclone serve s3` 1.75 removes a folder with its last object, and the parts of uploads in it.
        self.prove(key).await;
        let request = self
            .begin(Method::POST, key, ContentType::Tar)
            .query("uploads", "")
            .header("content-type", ContentType::Tar.as_str());
        let text = self.document(call, request).await?;
        let id = xml::upload_id(&text)
            .ok_or_else(|| Error::refused(&call.action, "the answer has no upload id"))?;
        Ok(Session {
            key: key.clone(),
            id: SessionId::Upload(id),
        })
    }

    /// `UploadPart` or `UploadPartCopy`.
    async fn put_part(
        &self,
        call: &Call,
        session: &Session,
        number: usize,
        content: &Content,
    ) -> Result<String, Error> {
        let request = self.part(session, number);
        self.fill(call, &session.key, request, content).await
    }

    /// `CompleteMultipartUpload`.
    async fn complete(
        &self,
        call: &Call,
        session: &Session,
        parts: &[Part],
    ) -> Result<Completion, Error> {
        let body = xml::completion(parts).map_err(|error| Error::refused(&call.action, error))?;
        let request = Request::of(Method::POST, &session.key)
            .of_upload(session)
            .headers(&self.headers.customer)
            .body(body);
        let text = self.document(call, request.may_fail_late()).await?;
        Ok(match xml::e_tag(&text) {
            Some(_) => Completion::Confirmed,
            None => Completion::Unclear,
        })
    }

    /// `AbortMultipartUpload`.
    async fn abort(&self, call: &Call, session: &Session) -> Result<(), Error> {
        let request = Request::of(Method::DELETE, &session.key).of_upload(session);
        self.send(call, request).await.map(drop)
    }

    /// `ListParts`.
    async fn parts(
        &self,
        call: &Call,
        session: &Session,
        after: Option<Cursor>,
    ) -> Result<Page<HeldPart>, Error> {
        let first = || vec![("part-number-marker", "0".to_owned())];
        let request = Request::of(Method::GET, &session.key)
            .queries(after.unwrap_or_else(first))
            .of_upload(session)
            .headers(&self.headers.customer);
        let page = self.page::<Parts>(call, request, MAX_PARTS_BYTES).await;
        page.map_err(|error| match error.outcome {
            // Ceph 20 answers `NoSuchKey`.
            Outcome::NotFound if error.provider_code.is_some() => Error {
                outcome: Outcome::NoSuchUpload,
                ..error
            },
            _ => error,
        })
    }

    /// `ListMultipartUploads`.
    async fn unfinished(
        &self,
        call: &Call,
        folder: &str,
        after: Option<Cursor>,
    ) -> Result<Page<Leftover>, Error> {
        let request = Request::of_bucket(Method::GET)
            .queries(after.unwrap_or_default())
            .query("encoding-type", "url")
            .query("prefix", folder)
            .query("uploads", "");
        let page = self.page::<Uploads>(call, request, MAX_ANSWER_BYTES).await;
        let mut page = match page {
            // `rclone serve s3` 1.75 answers so until the first upload in parts begins.
            Err(error) if error.outcome == Outcome::NoSuchUpload => {
                Page::of(Vec::new(), None, |_| 0)
            }
            page => page?,
        };
        // Some servers take the prefix loosely.
        page.items
            .retain(|leftover| leftover.key.as_str().starts_with(folder));
        Ok(page)
    }
}
