//! Layers around a backend: the limit of bytes per second, and the pace at which parts are sent.

use std::ops::{Deref, Range};
use std::sync::Arc;

use futures_util::StreamExt;

use super::backend::{Backend, Body, Content, ContentType, Payload, Session};
use super::error::Error;
use super::key::{Key, Role};
use super::limit::Limit;
use super::pace::Pace;
use super::retry::Call;

/// Limits of one location, kept when its settings change.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    pub(super) upload: Limit,
    pub(super) download: Limit,
}

/// A backend within the limits and the pace of its location: `limit(pace(backend))`.
///
/// Only backups wait; all other calls go to the backend as they are, so that lists and metadata objects never wait behind
/// a backup.
#[derive(Debug, Clone)]
pub(super) struct Layered {
    pub(super) limits: Limits,
    pub(super) pace: Pace,
    pub(super) backend: Arc<dyn Backend>,
}

impl Deref for Layered {
    type Target = dyn Backend;

    fn deref(&self) -> &Self::Target {
        &*self.backend
    }
}

impl Layered {
    /// Sends fewer parts concurrently while the provider throttles.
    pub(super) fn parts_in_flight(&self, wanted: usize) -> usize {
        self.backend
            .parts_in_flight(wanted.min(self.pace.allowed()))
    }

    pub(super) async fn get_range(
        &self,
        call: &Call,
        key: &Key,
        range: Option<Range<u64>>,
        e_tag: Option<&str>,
    ) -> Result<Body, Error> {
        let body = self.backend.get_range(call, key, range, e_tag).await?;
        if key.role() != Role::Tar {
            return Ok(body);
        }
        let limit = self.limits.download.clone();
        let stream = body.stream.flat_map(move |piece| {
            let (limit, piece) = (limit.clone(), piece.map(Some));
            // A large piece passes in slices, so that concurrent ranges have their turn in between.
            futures_util::stream::try_unfold(piece, move |rest| {
                let limit = limit.clone();
                async move {
                    let Some(mut rest) = rest?.filter(|rest| !rest.is_empty()) else {
                        return Ok(None);
                    };
                    let slice = rest.split_to(limit.slice(rest.len()).min(rest.len()));
                    limit.wait(slice.len()).await;
                    Ok(Some((slice, Ok(Some(rest)))))
                }
            })
            .boxed()
        });
        Ok(Body {
            stream: stream.boxed(),
            ..body
        })
    }

    pub(super) async fn put(
        &self,
        call: &Call,
        key: &Key,
        content: &Content,
        kind: ContentType,
    ) -> Result<(), Error> {
        let content = self.limited(key, content);
        self.backend.put(call, key, &content, kind).await
    }

    pub(super) async fn put_part(
        &self,
        call: &Call,
        session: &Session,
        number: usize,
        content: &Content,
    ) -> Result<String, Error> {
        let content = self.limited(&session.key, content);
        let part = self.backend.put_part(call, session, number, &content);
        self.pace.run(part).await
    }

    fn limited(&self, key: &Key, content: &Content) -> Content {
        match content.clone() {
            Content::Payload(payload) if key.role() == Role::Tar => Content::Payload(Payload {
                limit: self.limits.upload.clone(),
                ..payload
            }),
            content => content,
        }
    }
}
