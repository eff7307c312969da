//! A bucket.
//!
//! Requests are this module's own: `object_store` fails a whole listing over one key that it cannot address, and hashes
//! content itself, which has its digest already. Its signature (`AwsAuthorizer`) is used.

mod answer;
mod client;
mod copy;
mod dialect;
mod e_tag;
mod encryption;
mod failure;
mod multipart;
mod object;
mod pages;
mod probe;
mod request;
mod resolve;
mod sign;
mod traffic;
mod transport;
mod watch;
mod xml;

#[cfg(any(feature = "fuzzing", test))]
pub(super) mod fuzzing {
    pub(in crate::store) use super::answer::{Answer, plain};
    pub(in crate::store) use super::request::encode_key;
    pub(in crate::store) use super::xml::{List, Objects, Parts, Uploads, decode};
}

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::backend::{
    Backend, Body, ContentType, CopySource, HeldPart, Leftover, Listed, Object, Part, Payload,
    Session, Stat,
};
use super::digest::Algorithm;
use super::error::Error;
use super::key::Key;
use super::pages::{Cursor, Page};
use super::retry::Call;
use crate::config::{Encryption, S3Settings};
use crate::provider::Checksum;
use client::Client;
pub use dialect::Dialect;
pub use probe::Route;
pub use traffic::Traffic;

/// A bucket; clones share the client.
#[derive(Debug, Clone)]
pub(super) struct S3(Arc<Client>);

impl S3 {
    /// Opens a bucket for the location `id`. `previous` is the same bucket before its settings changed: running transfers
    /// have the new credential, and the dialect stays while the settings that it depends on do.
    pub(super) fn open(
        settings: &S3Settings,
        id: &str,
        previous: Option<&Self>,
    ) -> Result<Self, Error> {
        let previous = previous.map(|previous| &*previous.0);
        Ok(Self(Arc::new(Client::open(settings, id, previous)?)))
    }

    /// The dialect as far as it is known.
    pub(super) fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    /// Counters of its requests.
    pub(super) fn traffic(&self) -> Traffic {
        self.0.traffic()
    }

    /// Algorithm of the digest that proves the arrival of content.
    pub(super) fn algorithm(&self) -> Algorithm {
        match self.dialect().checksum {
            Checksum::Sha256 => Algorithm::Sha256,
            Checksum::Crc32c => Algorithm::Crc32c,
            Checksum::Crc64Nvme => Algorithm::Crc64Nvme,
            // With a key of the key service or of the customer, no ETag is an MD5: nothing is compared.
            Checksum::Off => match self.0.encryption {
                Encryption::Kms(_) | Encryption::Customer(_) => Algorithm::Crc64Nvme,
                Encryption::None | Encryption::Aes256 => Algorithm::Md5,
            },
        }
    }

    /// Whether objects can be copied to another bucket inside the storage.
    pub(super) fn can_copy_to(&self, to: &Self) -> bool {
        self.0.can_copy_to(&to.0)
    }

    /// An object of this bucket as the source of copies.
    pub(super) fn copy_source(&self, object: &Object) -> CopySource {
        self.0.copy_source(object)
    }
}

#[async_trait]
impl Backend for S3 {
    async fn list(
        &self,
        call: &Call,
        folder: &str,
        after: Option<&Cursor>,
        max_keys: Option<u32>,
    ) -> Result<Page<Listed>, Error> {
        self.0.list(call, folder, after, max_keys).await
    }

    async fn head(&self, call: &Call, key: &Key, with_checksums: bool) -> Result<Stat, Error> {
        self.0.head(call, key, with_checksums).await
    }

    async fn get_range(
        &self,
        call: &Call,
        key: &Key,
        range: Option<Range<u64>>,
        e_tag: Option<&str>,
    ) -> Result<Body, Error> {
        self.0.get(call, key, range, e_tag).await
    }

    async fn put(
        &self,
        call: &Call,
        key: &Key,
        payload: Payload,
        kind: ContentType,
    ) -> Result<(), Error> {
        self.0.put(call, key, payload, kind).await
    }

    async fn copy(&self, call: &Call, source: &CopySource, key: &Key) -> Result<(), Error> {
        self.0.copy(call, source, key).await
    }

    async fn delete(&self, call: &Call, key: &Key) -> Result<(), Error> {
        self.0.delete(call, key).await
    }

    async fn start(&self, call: &Call, key: &Key) -> Result<Session, Error> {
        self.0.start(call, key).await
    }

    async fn put_part(
        &self,
        call: &Call,
        session: &Session,
        number: usize,
        payload: Payload,
    ) -> Result<String, Error> {
        self.0.put_part(call, session, number, payload).await
    }

    async fn copy_part(
        &self,
        call: &Call,
        session: &Session,
        number: usize,
        source: &CopySource,
        range: Range<u64>,
    ) -> Result<String, Error> {
        self.0.copy_part(call, session, number, source, range).await
    }

    async fn complete(&self, call: &Call, session: &Session, parts: &[Part]) -> Result<(), Error> {
        self.0.complete(call, session, parts).await
    }

    async fn abort(&self, call: &Call, session: &Session) -> Result<(), Error> {
        self.0.abort(call, session).await
    }

    async fn parts(
        &self,
        call: &Call,
        session: &Session,
        after: Option<&Cursor>,
    ) -> Result<Page<HeldPart>, Error> {
        self.0.parts(call, session, after).await
    }

    async fn unfinished(
        &self,
        call: &Call,
        folder: &str,
        after: Option<&Cursor>,
    ) -> Result<Page<Leftover>, Error> {
        self.0.unfinished(call, folder, after).await
    }
}
