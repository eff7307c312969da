//! An object written in parts, which becomes visible when the upload is completed.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::Store;
use super::backend::{
    Completion, Content, CopySource, HeldPart, Object, Part, Payload, Session, SessionId, path_of,
};
use super::digest::{Algorithm, PartDigest, bytes_of_hex};
use super::error::{Error, Outcome};
use super::key::Key;
use super::pages::Bounds;
use super::retry::{Call, Patience, Retry};
use crate::units::hex;

/// Parts of an upload. Source: "Multipart upload limits" in Amazon's user guide. Some servers list a hundred at a time.
const PARTS: Bounds = Bounds {
    what: "list of parts",
    pages: 1000,
    items: 10_000,
    // Four times the list of as many parts as there may be.
    weight: 20 * 1024 * 1024,
};

/// A multipart upload that was neither completed nor aborted.
#[derive(Debug, Clone)]
pub struct Multipart {
    store: Store,
    session: Session,
}

impl Multipart {
    /// Starts an upload of the tar `key`.
    ///
    /// # Errors
    /// What a request fails with.
    pub async fn start(store: &Store, key: &Key, patience: Patience) -> Result<Self, Error> {
        let patience = store.remote(patience);
        let action = store.action("start the upload of", key);
        let started = store.write_retry(patience).run(&action, |call| async move {
            store.backend.start(&call, key).await
        });
        Ok(Self {
            session: started.await?,
            store: store.clone(),
        })
    }

    /// Resumes an upload of an earlier process; a directory has none.
    #[must_use]
    pub fn resume(store: &Store, key: &Key, upload_id: &str) -> Option<Self> {
        store.s3.as_ref()?;
        path_of(key).ok()?;
        let session = Session {
            key: key.clone(),
            id: SessionId::Upload(upload_id.to_owned()),
        };
        Some(Self::of(store, session))
    }

    pub(super) fn of(store: &Store, session: Session) -> Self {
        Self {
            store: store.clone(),
            session,
        }
    }

    /// The same upload through another handle of its storage.
    #[must_use]
    pub fn in_store(&self, store: &Store) -> Self {
        Self::of(store, self.session.clone())
    }

    /// Id by which it can be resumed.
    #[must_use]
    pub fn upload_id(&self) -> Option<&str> {
        self.session.id.upload_id()
    }

    /// Lists the parts that the server holds.
    ///
    /// # Errors
    /// [`Outcome::NoSuchUpload`], and what else a request fails with.
    pub async fn stored_parts(&self, patience: Patience) -> Result<Vec<HeldPart>, Error> {
        let (store, session) = (&self.store, &self.session);
        let action = &store.action("resume the upload of", &session.key);
        let parts = store.pages(&PARTS, action, patience, |call, after| async move {
            store.backend.parts(&call, session, after).await
        });
        Ok(parts.await?.0)
    }

    /// Stores part `number`, counted from 0. `digest` is of `data`, from [`Store::part_digest`]; the provider verifies it.
    /// Parts may be stored concurrently; in a directory, only when the calls begin in order.
    ///
    /// # Errors
    /// What a write fails with; [`Outcome::Damaged`] when the provider received other bytes.
    pub async fn put_part(
        &self,
        number: usize,
        data: Bytes,
        digest: &PartDigest,
        patience: Patience,
    ) -> Result<Part, Error> {
        let content = Content::Payload(Payload {
            bytes: data,
            digest: Some(digest.clone()),
            ..Payload::default()
        });
        let patience = self.store.remote(patience).without_deadline();
        self.store_part("store", number, &content, patience).await
    }

    /// Copies a range of another object at the same endpoint into part `number`, inside the storage.
    ///
    /// # Errors
    /// What a copy fails with.
    pub async fn copy_part(
        &self,
        number: usize,
        source: &CopySource,
        range: Range<u64>,
        patience: Patience,
    ) -> Result<Part, Error> {
        let content = Content::Copy(source.clone(), Some(range));
        self.store_part("copy", number, &content, patience).await
    }

    async fn store_part(
        &self,
        verb: &str,
        number: usize,
        content: &Content,
        patience: Patience,
    ) -> Result<Part, Error> {
        let (store, session) = (&self.store, &self.session);
        let action = format!(
            "{verb} part {} of \"{}\" in {}",
            number + 1,
            session.key,
            store.description
        );
        let stored = store.write_retry(patience).run(action, |call| async move {
            store
                .backend
                .put_part(&call, session, number, content)
                .await
        });
        let e_tag = stored.await?;
        Ok(Part { number, e_tag })
    }

    /// Completes the object from its parts, which must be all, in order. `size` is what the object must then have, and
    /// `before` the version that it must not have: when the answer to an earlier attempt was lost, the upload no longer
    /// exists because that attempt succeeded. An upload that no longer exists is told by the provider, or by its list of
    /// parts when the provider only reports an error of its own.
    ///
    /// # Errors
    /// What a request fails with.
    pub async fn complete(
        &self,
        parts: &[Part],
        size: u64,
        before: Option<&str>,
        patience: Patience,
    ) -> Result<(), Error> {
        let (store, session) = (&self.store, &self.session);
        let action = store.action("complete the upload of", &session.key);
        let (was_unanswered, is_disowned) = (&AtomicBool::new(false), &AtomicBool::new(false));
        let patience = store.remote(patience);
        let completed = store.write_retry(patience).run(&action, |call| async move {
            let error = match store.backend.complete(&call, session, parts).await {
                Err(error) => error,
                completed => return completed,
            };
            if call.is_repeated
                && error.outcome == Outcome::ServerError
                && let Some(error) = self.no_such_upload(&call).await
            {
                is_disowned.store(!was_unanswered.load(Ordering::Relaxed), Ordering::Relaxed);
                return Err(error);
            }
            if matches!(error.outcome, Outcome::Timeout | Outcome::Unreachable) {
                was_unanswered.store(true, Ordering::Relaxed);
            }
            Err(error)
        });
        let is_new = |found: &Object| before != Some(&found.version);
        match completed.await {
            Ok(Completion::Confirmed) => Ok(()),
            Ok(Completion::Unclear) => {
                let why = "the answer is not that of a completed upload";
                let error = Error::refused(&action, why);
                self.confirm_completed(size, is_new, error).await
            }
            // The provider answered each time, and never that it completed the upload.
            Err(error) if is_disowned.load(Ordering::Relaxed) => {
                let is_ours = |found: &Object| is_made_of(&found.version, parts);
                self.confirm_completed(size, is_ours, error).await
            }
            // Without a lost answer, another party ended the upload, and the object is not of these parts.
            Err(error) if error.outcome == Outcome::NoSuchUpload && error.may_have_succeeded => {
                self.confirm_completed(size, is_new, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// Asks whether the upload still exists: Ceph 20 answers 500 to the completion of one that was aborted.
    async fn no_such_upload(&self, call: &Call) -> Option<Error> {
        let listed = self.store.backend.parts(call, &self.session, None).await;
        listed
            .err()
            .filter(|error| error.outcome == Outcome::NoSuchUpload)
    }

    async fn confirm_completed(
        &self,
        size: u64,
        is_ours: impl Fn(&Object) -> bool,
        error: Error,
    ) -> Result<(), Error> {
        let found = self
            .store
            .object_or_listed(&self.session.key, Patience::INTERACTIVE)
            .await;
        match found {
            Ok(stored) if stored.size == size && is_ours(&stored) => Ok(()),
            Err(unclear) if unclear.outcome.is_transient() => Err(unclear),
            _ => Err(Error {
                may_have_succeeded: error.outcome != Outcome::NoSuchUpload,
                ..error
            }),
        }
    }

    /// Aborts the upload and discards its parts. Idempotent: an upload that no longer exists counts as aborted.
    ///
    /// # Errors
    /// What a request fails with.
    pub async fn abort(&self, patience: Patience) -> Result<(), Error> {
        let (store, session) = (&self.store, &self.session);
        let action = store.action("abort the upload of", &session.key);
        let aborted = Retry::with(patience).run(&action, |call| async move {
            store.backend.abort(&call, session).await
        });
        match aborted.await {
            Err(error) if matches!(error.outcome, Outcome::NoSuchUpload | Outcome::NotFound) => {
                Ok(())
            }
            aborted => aborted,
        }
    }
}

/// Whether an object's `ETag` is that of these parts: the MD5 of theirs, and their number.
///
/// Source: "Checking object integrity in Amazon S3" in Amazon's user guide. Other providers do the same; where one does not,
/// nothing is proven.
fn is_made_of(e_tag: &str, parts: &[Part]) -> bool {
    let md5 = |part: &Part| bytes_of_hex(part.e_tag.trim_matches('"'));
    let Some(of_parts) = parts.iter().map(md5).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let digest = Algorithm::Md5.digest(&of_parts.concat());
    e_tag.trim_matches('"') == format!("{}-{}", hex(digest.value()), parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By md5sum, of the parts "a" and "b", and of their digests.
    #[test]
    fn e_tag_of_an_object_proves_its_parts() {
        let part = |number, e_tag: &str| Part {
            number,
            e_tag: e_tag.to_owned(),
        };
        let parts = [
            part(0, "\"0cc175b9c0f1b6a831c399e269772661\""),
            part(1, "92eb5ffee6ae2fec3ad71c777531578f"),
        ];
        let whole = "96e024ba2074fe77e8e965ba43a704be-2";
        for e_tag in [whole, &format!("\"{whole}\"")] {
            assert!(is_made_of(e_tag, &parts));
            assert!(!is_made_of(e_tag, &parts[..1]));
        }
        assert!(!is_made_of("187ef4436122d1cc2f40dc2b92f0eba0", &parts));
        assert!(!is_made_of(whole, &[part(0, "opaque")]));
    }
}
