//! Layers around a backend: the limit of bytes per second, and the pace at which parts are sent.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;

use super::backend::{Backend, Body, ContentType, CopySource, Payload, Session};
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

/// Keeps backups within the limits. Lists and metadata objects never wait behind one.
#[derive(Debug)]
pub(super) struct Limited {
    pub(super) inner: Arc<dyn Backend>,
    pub(super) limits: Limits,
}

impl Limited {
    fn limited(&self, key: &Key, payload: Payload) -> Payload {
        if key.role() != Role::Tar {
            return payload;
        }
        Payload {
            limit: self.limits.upload.clone(),
            ..payload
        }
    }
}

#[async_trait]
impl Backend for Limited {
    fn inner(&self, _: &Call) -> Result<&dyn Backend, Error> {
        Ok(&*self.inner)
    }

    fn parts_in_flight(&self, wanted: usize) -> usize {
        self.inner.parts_in_flight(wanted)
    }

    async fn get_range(
        &self,
        call: &Call,
        key: &Key,
        range: Option<Range<u64>>,
        e_tag: Option<&str>,
    ) -> Result<Body, Error> {
        let body = self.inner.get_range(call, key, range, e_tag).await?;
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

    async fn put(
        &self,
        call: &Call,
        key: &Key,
        payload: Payload,
        kind: ContentType,
    ) -> Result<(), Error> {
        let payload = self.limited(key, payload);
        self.inner.put(call, key, payload, kind).await
    }

    async fn put_part(
        &self,
        call: &Call,
        session: &Session,
        number: usize,
        payload: Payload,
    ) -> Result<String, Error> {
        let payload = self.limited(&session.key, payload);
        self.inner.put_part(call, session, number, payload).await
    }
}

/// Sends fewer parts concurrently while the provider throttles.
#[derive(Debug)]
pub(super) struct Paced {
    pub(super) inner: Arc<dyn Backend>,
    pub(super) pace: Pace,
}

#[async_trait]
impl Backend for Paced {
    fn inner(&self, _: &Call) -> Result<&dyn Backend, Error> {
        Ok(&*self.inner)
    }

    fn parts_in_flight(&self, wanted: usize) -> usize {
        let wanted = wanted.min(self.pace.allowed());
        self.inner.parts_in_flight(wanted)
    }

    async fn put_part(
        &self,
        call: &Call,
        session: &Session,
        number: usize,
        payload: Payload,
    ) -> Result<String, Error> {
        let part = self.inner.put_part(call, session, number, payload);
        self.pace.run(part).await
    }

    async fn copy_part(
        &self,
        call: &Call,
        session: &Session,
        number: usize,
        source: &CopySource,
        range: Range<u64>,
    ) -> Result<String, Error> {
        let part = self.inner.copy_part(call, session, number, source, range);
        self.pace.run(part).await
    }
}
