//! `ETag`s that are an MD5: the only evidence that content arrived where the provider verifies no digest (`checksum: off`).
//!
//! Many providers give the MD5, and none promises it. Source: `ETag` in Amazon's API reference of `Object`. So the agent
//! finds out: one `ETag` that agrees makes all later ones count, for as long as the agent runs. One that disagrees before
//! any agreed proves nothing, because a path that damages all content looks the same. Then a probe decides: only when its
//! bytes are read back intact, and its `ETag` is not their MD5, are this location's `ETag`s opaque. Objects and parts are
//! judged apart: some providers give the MD5 for one of them only.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::store::digest::{PartDigest, bytes_of_hex};

/// Kind of the `ETag`s of a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Md5,
    Opaque,
}

/// Kind of a location's `ETag`s, once it is known; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct ETags(Arc<OnceCell<Kind>>);

/// Evidence of an `ETag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The content arrived, as far as an `ETag` can tell.
    Fine,
    /// Other content arrived.
    Differs,
    /// Other content arrived, or the `ETag` is no MD5: a probe decides.
    Unclear,
}

/// The tag without the mark of a weak one, which a proxy adds when it compresses (RFC 9110, section 8.8.3).
pub(super) fn opaque(e_tag: &str) -> &str {
    e_tag.strip_prefix("W/").unwrap_or(e_tag)
}

/// Whether the tag promises no more than the same meaning.
pub(super) fn is_weak(e_tag: &str) -> bool {
    opaque(e_tag) != e_tag
}

impl ETags {
    /// Compares an `ETag` with the MD5 of the content.
    pub(super) fn judge(&self, e_tag: &str, md5: &PartDigest) -> Verdict {
        let known = self.0.get();
        // Another kind of hash, or an id, shows by its length.
        let digits =
            bytes_of_hex(opaque(e_tag).trim_matches('"')).filter(|digits| digits.len() == 16);
        let Some(digits) = digits.filter(|_| known != Some(&Kind::Opaque)) else {
            return Verdict::Fine;
        };
        if digits == md5.value() {
            // Fails when it is known already.
            drop(self.0.set(Kind::Md5));
            Verdict::Fine
        } else if known.is_some() {
            Verdict::Differs
        } else {
            Verdict::Unclear
        }
    }

    /// Whether one was the MD5 of its content.
    pub(super) fn are_md5(&self) -> bool {
        self.0.get() == Some(&Kind::Md5)
    }

    /// Finds out the kind by `probe`, once for all parts that ask; an error leaves it unknown.
    pub(super) async fn find_out<E>(
        &self,
        probe: impl Future<Output = Result<Kind, E>>,
    ) -> Result<Kind, E> {
        self.0.get_or_try_init(|| probe).await.copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::digest::Algorithm;

    /// By md5sum.
    const OF_A_PART: &str = "\"9db120e8880f33acf4ddeb40892c390c\"";

    fn md5(content: &[u8]) -> PartDigest {
        Algorithm::Md5.digest(content)
    }

    #[tokio::test]
    async fn one_matching_e_tag_makes_all_later_ones_count() {
        let e_tags = ETags::default();
        assert_eq!(e_tags.judge(OF_A_PART, &md5(b"damaged")), Verdict::Unclear);
        assert_eq!(e_tags.judge(OF_A_PART, &md5(b"a part")), Verdict::Fine);
        assert_eq!(e_tags.judge("\"an-id\"", &md5(b"another")), Verdict::Fine);
        let found = e_tags.find_out(async { Ok::<_, ()>(Kind::Opaque) }).await;
        assert_eq!(found, Ok(Kind::Md5), "it was known");
        assert_eq!(e_tags.judge(OF_A_PART, &md5(b"damaged")), Verdict::Differs);
    }

    #[tokio::test]
    async fn mismatch_counts_until_a_probe_decides() {
        let (e_tags, other) = (ETags::default(), "\"00000000000000000000000000000000\"");
        for _ in 0..3 {
            assert_eq!(e_tags.judge(other, &md5(b"a part")), Verdict::Unclear);
        }
        assert_eq!(e_tags.find_out(async { Err(()) }).await, Err(()));
        assert_eq!(e_tags.judge(other, &md5(b"a part")), Verdict::Unclear);
        let found = e_tags.find_out(async { Ok::<_, ()>(Kind::Opaque) }).await;
        assert_eq!(found, Ok(Kind::Opaque));
        assert_eq!(e_tags.judge(other, &md5(b"a part")), Verdict::Fine);
    }
}
