//! Whether an `ETag` is the MD5 of what was sent, and what it says then.
//!
//! Many providers give the MD5, and nobody promises it: not for objects that are encrypted with a key of the key service
//! or of the customer, and some never do. Source: `ETag` in Amazon's API reference of `Object`. So what it is here is
//! found out. One that agrees makes all that follow count, for as long as the agent runs. One that does not, before any
//! did, says nothing: a path that damages all that it carries looks the same. A [probe](Store::probe) tells, which
//! is read back: only bytes that are there as they were sent show that it is the `ETag` that is something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use md5::{Digest, Md5};
use tokio::sync::{Mutex, MutexGuard};
use tracing::{debug, info, warn};

use super::error::{Error, Outcome};
use super::retry::Patience;
use super::{ContentType, Key, Store, StoreBackend};
use crate::config::Encryption;
use crate::provider;

const UNKNOWN: u8 = 0;
const MD5: u8 = 1;
const OPAQUE: u8 = 2;

/// What the `ETag`s of one location are; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct ETags(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kind: AtomicU8,
    /// One probe is enough for all parts that ask for it.
    probing: Mutex<()>,
}

/// What an `ETag` says of the bytes that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They arrived, as far as it can tell.
    Fine,
    /// Others arrived.
    Differs,
    /// Others arrived, or it is no MD5: a probe tells.
    Unclear,
}

impl ETags {
    fn is(&self, kind: u8) -> bool {
        self.0.kind.load(Ordering::Relaxed) == kind
    }

    /// Compares.
    pub(super) fn judge(&self, e_tag: &str, data: &[u8]) -> Verdict {
        // Servers that have another hash, or one of their own, show it by its length.
        let Some(said) = digits(e_tag).filter(|_| !self.is(OPAQUE)) else {
            return Verdict::Fine;
        };
        if said == Md5::digest(data)[..] {
            self.0.kind.store(MD5, Ordering::Relaxed);
            return Verdict::Fine;
        }
        if self.is(MD5) {
            Verdict::Differs
        } else {
            Verdict::Unclear
        }
    }

    /// The turn to find out what they are; nothing when that is known.
    pub(super) async fn to_be_found_out(&self) -> Option<MutexGuard<'_, ()>> {
        let turn = self.0.probing.lock().await;
        self.is(UNKNOWN).then_some(turn)
    }

    /// Bytes came back as they were sent, and the `ETag` was another: it is no MD5. One that agreed meanwhile says more.
    pub(super) fn are_opaque(&self) -> bool {
        self.0
            .kind
            .compare_exchange(UNKNOWN, OPAQUE, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl Store {
    /// Compares an `ETag` with the MD5 of what was sent, where nothing else makes sure that it arrived as it was: a
    /// checksum in a header is compared by the provider.
    pub(super) async fn compare(
        &self,
        key: &Key,
        e_tag: &str,
        data: &Bytes,
        action: &str,
    ) -> Result<(), Error> {
        let StoreBackend::S3(s3) = &*self.backend else {
            return Ok(());
        };
        let is_checked = matches!(
            s3.dialect().checksum,
            provider::Checksum::Crc32c | provider::Checksum::Crc64Nvme
        );
        let is_opaque = matches!(
            s3.encryption(),
            Encryption::Kms(_) | Encryption::Customer(_)
        );
        if is_checked || is_opaque {
            return Ok(());
        }
        let mut verdict = s3.e_tags().judge(e_tag, data);
        if verdict == Verdict::Unclear {
            let (store, e_tags, key) = (self.clone(), s3.e_tags().clone(), key.clone());
            // A task of its own: an upload that ends meanwhile does not leave the probe there.
            let finding_out =
                tokio::spawn(async move { store.find_out_e_tags(&e_tags, &key).await });
            drop(finding_out.await);
            verdict = s3.e_tags().judge(e_tag, data);
        }
        match verdict {
            Verdict::Fine => Ok(()),
            Verdict::Differs | Verdict::Unclear => {
                let message = format!(
                    "Could not {action}: what arrived there has another MD5 than what was sent"
                );
                Err(Error::new(Outcome::Damaged, message))
            }
        }
    }

    /// Finds out what the `ETag`s are, with an object beside `key`. Where that cannot be done, it stays unknown.
    async fn find_out_e_tags(&self, e_tags: &ETags, key: &Key) {
        let Some(_turn) = e_tags.to_be_found_out().await else {
            return;
        };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let probe = key.probe_beside(&id);
        match self.probe(e_tags, &probe, id.into()).await {
            Ok(true) => info!(
                "the ETags of {} are not the MD5 of what is sent, and are not compared",
                self.place
            ),
            Ok(false) => {}
            Err(error) => debug!(
                "what the ETags of {} are cannot be found out: {error}",
                self.place
            ),
        }
        if let Err(error) = self.delete(&probe, Patience::INTERACTIVE).await {
            warn!("\"{probe}\" is left behind: {error}");
        }
    }

    /// Writes a few bytes and reads them back; says whether they are there as they were sent, and their `ETag` is none of
    /// their MD5.
    async fn probe(&self, e_tags: &ETags, probe: &Key, data: Bytes) -> Result<bool, Error> {
        let e_tag = self
            .put(
                probe,
                data.clone(),
                ContentType::Text,
                &self.action("write", probe),
            )
            .await?;
        let differs = e_tags.judge(&e_tag, &data) == Verdict::Unclear;
        Ok(differs
            && self
                .read(probe, data.len() as u64, Patience::INTERACTIVE)
                .await?
                == data
            && e_tags.are_opaque())
    }
}

/// The sixteen bytes of an MD5 in hex digits.
fn digits(e_tag: &str) -> Option<Vec<u8>> {
    let text = e_tag.trim_matches('"');
    let is_md5 = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_md5.then(|| {
        (0..32)
            .step_by(2)
            .filter_map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As md5sum says it.
    const OF_A_PART: &str = "\"9db120e8880f33acf4ddeb40892c390c\"";

    #[tokio::test]
    async fn one_that_agrees_makes_all_others_count() {
        let e_tags = ETags::default();
        assert_eq!(e_tags.judge(OF_A_PART, b"damaged"), Verdict::Unclear);
        assert_eq!(e_tags.judge(OF_A_PART, b"a part"), Verdict::Fine);
        assert_eq!(e_tags.judge("\"an-id\"", b"another part"), Verdict::Fine);
        assert!(!e_tags.are_opaque());
        assert_eq!(
            e_tags.judge(OF_A_PART, b"damaged"),
            Verdict::Differs,
            "it is never forgotten"
        );
        assert!(e_tags.to_be_found_out().await.is_none());
    }

    #[tokio::test]
    async fn what_never_agrees_counts_until_a_probe_tells() {
        let (e_tags, other) = (ETags::default(), "\"00000000000000000000000000000000\"");
        for _ in 0..3 {
            assert_eq!(e_tags.judge(other, b"a part"), Verdict::Unclear);
        }
        assert!(e_tags.to_be_found_out().await.is_some());
        assert!(e_tags.are_opaque());
        assert_eq!(e_tags.judge(other, b"a part"), Verdict::Fine);
        assert!(e_tags.to_be_found_out().await.is_none());
    }
}
