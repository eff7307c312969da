//! Pages of lists: objects, parts, unfinished uploads.

use chrono::DateTime;
use http::Method;

use super::client::{Client, MAX_ANSWER_BYTES};
use super::request::Request;
use super::xml::{List, Objects, Parts, Uploads};
use crate::store::backend::{HeldPart, Leftover, Listed, Session};
use crate::store::error::Error;
use crate::store::pages::{Cursor, Page};
use crate::store::retry::Call;

/// A thousand parts take a quarter of it.
const MAX_PARTS_BYTES: usize = 2 * 1024 * 1024;

impl Client {
    pub(super) async fn list(
        &self,
        call: &Call,
        folder: &str,
        after: Option<&Cursor>,
        max_keys: Option<u32>,
    ) -> Result<Page<Listed>, Error> {
        let limit = max_keys.map(|max| ("max-keys", max.to_string()));
        let request = Request::of_bucket(Method::GET)
            .queries(after.cloned().unwrap_or_default())
            .query("encoding-type", "url")
            .query("list-type", "2")
            .queries(limit)
            .query("prefix", folder);
        let page = self
            .page::<Objects>(call, request, MAX_ANSWER_BYTES)
            .await?;
        self.note_s3();
        Ok(page)
    }

    pub(super) async fn parts(
        &self,
        call: &Call,
        session: &Session,
        after: Option<&Cursor>,
    ) -> Result<Page<HeldPart>, Error> {
        let upload_id = session.upload_id().unwrap_or_default();
        let first = || vec![("part-number-marker", "0".to_owned())];
        let request = Request::of(Method::GET, &session.key)
            .queries(after.cloned().unwrap_or_else(first))
            .query("uploadId", upload_id)
            .headers(&self.headers.customer);
        self.page::<Parts>(call, request, MAX_PARTS_BYTES).await
    }

    pub(super) async fn unfinished(
        &self,
        call: &Call,
        folder: &str,
        after: Option<&Cursor>,
    ) -> Result<Page<Leftover>, Error> {
        let request = Request::of_bucket(Method::GET)
            .queries(after.cloned().unwrap_or_default())
            .query("encoding-type", "url")
            .query("prefix", folder)
            .query("uploads", "");
        let mut page = self
            .page::<Uploads>(call, request, MAX_ANSWER_BYTES)
            .await?;
        // Some servers take the prefix loosely.
        page.items
            .retain(|leftover| leftover.key.as_str().starts_with(folder));
        Ok(page)
    }

    async fn page<L: List>(
        &self,
        call: &Call,
        request: Request,
        max: usize,
    ) -> Result<Page<L::Item>, Error> {
        let (headers, text) = self.document(call, request, max).await?;
        let page = L::read(&text).map_err(|why| self.not_s3(call, &why))?;
        let date = headers.get("date").and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        Ok(Page {
            date: date.map(|date| date.to_utc()),
            ..page
        })
    }
}
