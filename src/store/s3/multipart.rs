//! Multipart uploads of a bucket.

use std::sync::Arc;

use http::Method;

use super::client::{Client, MAX_ANSWER_BYTES};
use super::object::e_tag_of;
use super::request::Request;
use super::xml;
use crate::store::backend::{ContentType, Part, Payload, Session, SessionId};
use crate::store::error::Error;
use crate::store::key::Key;
use crate::store::retry::Call;

impl Client {
    /// Makes one `CreateMultipartUpload` request.
    pub(super) async fn start(&self, call: &Call, key: &Key) -> Result<Session, Error> {
        let mut request = Request::of(Method::POST, key)
            .query("uploads", "")
            .header("content-type", ContentType::Tar.as_str())
            .headers(&self.headers.begin);
        if let Some(class) = &self.storage_class {
            request = request.header("x-amz-storage-class", class);
        }
        let (_, text) = self.document(call, request, MAX_ANSWER_BYTES).await?;
        let id = xml::upload_id(&text)
            .ok_or_else(|| Error::refused(&call.action, "the answer has no upload id"))?;
        Ok(Session {
            key: key.clone(),
            id: SessionId::Upload(id),
        })
    }

    /// Makes one `UploadPart` request, whose content the provider or its `ETag` verifies.
    pub(super) async fn put_part(
        self: &Arc<Self>,
        call: &Call,
        session: &Session,
        number: usize,
        payload: Payload,
    ) -> Result<String, Error> {
        let digest = payload.digest.clone();
        let request = part(session, number)
            .headers(&self.headers.customer)
            .payload(payload);
        let e_tag = e_tag_of(&self.send(call, request).await?);
        self.verify(call, &session.key, &e_tag, digest.as_ref())
            .await?;
        Ok(e_tag)
    }

    /// Makes one `CompleteMultipartUpload` request.
    pub(super) async fn complete(
        &self,
        call: &Call,
        session: &Session,
        parts: &[Part],
    ) -> Result<(), Error> {
        let body = xml::completion(parts).map_err(|error| Error::refused(&call.action, error))?;
        let request = Request::of(Method::POST, &session.key)
            .query("uploadId", upload_id(session))
            .headers(&self.headers.customer)
            .body(body)
            .may_fail_late();
        let (_, text) = self.document(call, request, MAX_ANSWER_BYTES).await?;
        match xml::e_tag(&text) {
            Some(_) => Ok(()),
            None => Err(Error::refused(
                &call.action,
                "the answer is not that of a completed upload",
            )),
        }
    }

    /// Makes one `AbortMultipartUpload` request.
    pub(super) async fn abort(&self, call: &Call, session: &Session) -> Result<(), Error> {
        let request =
            Request::of(Method::DELETE, &session.key).query("uploadId", upload_id(session));
        self.send(call, request).await.map(drop)
    }
}

/// Request that stores part `number`, from 0.
pub(super) fn part(session: &Session, number: usize) -> Request {
    Request::of(Method::PUT, &session.key)
        .query("partNumber", (number + 1).to_string())
        .query("uploadId", upload_id(session))
}

fn upload_id(session: &Session) -> &str {
    session.upload_id().unwrap_or_default()
}
