//! Confirmation of the encryption that a request asked for, before any byte of a backup is sent.

use futures_util::{StreamExt, stream};
use tracing::warn;

use super::client::{Client, MAX_ANSWER_BYTES, read};
use super::dialect::Dialect;
use super::encryption::{is_confirmed, is_ignored};
use super::failure::Failure;
use super::request::Request;
use super::transport::Reply;
use super::xml;
use crate::store::error::Error;
use crate::store::retry::Call;

impl Client {
    /// Refuses an answer without the encryption that was asked for, and deletes what was begun or written in the clear.
    pub(super) async fn encrypted(
        &self,
        call: &Call,
        request: &Request,
        reply: Reply,
        dialect: &Dialect,
    ) -> Result<Reply, Error> {
        if !is_ignored(request, &reply) {
            return Ok(reply);
        }
        let started = request.starts_multipart();
        let (status, headers) = (reply.status, reply.headers.clone());
        let text = read(call, reply, MAX_ANSWER_BYTES).await?;
        let upload_id = started.then(|| xml::upload_id(&text)).flatten();
        if let Some(upload_id) = &upload_id
            && self.encrypts_parts(call, request, upload_id, dialect).await
        {
            let body = stream::iter([Ok(text)]).boxed();
            return Ok(Reply {
                status,
                headers,
                body,
            });
        }
        if upload_id.is_some() || !started {
            let undo = request.undo(upload_id);
            if let Err(error) = self.sent(call, &undo, dialect, &self.credential()).await {
                warn!("\"{}\" remains without encryption: {error}", call.action);
            }
        }
        Err(Failure::NotEncrypted.error(&call.action))
    }

    /// Whether the provider encrypts the parts of an upload, although it did not confirm that when the upload began, as
    /// `SeaweedFS` 4.48. It is asked with a part of its own, which the first part of the backup replaces.
    async fn encrypts_parts(
        &self,
        call: &Call,
        begun: &Request,
        upload_id: &str,
        dialect: &Dialect,
    ) -> bool {
        let probe = begun.first_part(upload_id, &self.headers.customer);
        let stored = self.sent(call, &probe, dialect, &self.credential()).await;
        stored.is_ok_and(|reply| is_confirmed(begun, &reply))
    }
}
