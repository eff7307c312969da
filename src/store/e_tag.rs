//! Whether a part's `ETag` is the MD5 of its bytes, and what it says then.
//!
//! Many providers give the MD5, and nobody promises it: not for objects that are encrypted with a key of the key service
//! or of the customer, and some never do. Source: `ETag` in Amazon's API reference of `Object`. So what it is here is
//! found out: once one agrees, one that does not is that of a part which was damaged on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use md5::{Digest, Md5};

const UNKNOWN: u8 = 0;
const MD5: u8 = 1;
const OPAQUE: u8 = 2;

/// What the `ETag`s of one location are; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct ETags(Arc<AtomicU8>);

/// What an `ETag` says of the bytes that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They arrived, as far as it can tell.
    Fine,
    /// Others arrived, or it is no MD5: sent once more, the part tells.
    Differs,
}

impl ETags {
    /// Whether there is something to compare.
    pub(super) fn may_be_md5(&self) -> bool {
        self.0.load(Ordering::Relaxed) != OPAQUE
    }

    /// Compares; `is_again` says that it is not the first time for this part.
    pub(super) fn judge(&self, e_tag: &str, data: &[u8], is_again: bool) -> Verdict {
        // Servers that have another hash, or one of their own, show it by its length.
        let Some(said) = digits(e_tag).filter(|_| self.may_be_md5()) else { return Verdict::Fine };
        if said == Md5::digest(data)[..] {
            self.0.store(MD5, Ordering::Relaxed);
            return Verdict::Fine;
        }
        // Twice in a row, and never otherwise: it only looks like one.
        if is_again && self.0.compare_exchange(UNKNOWN, OPAQUE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Verdict::Fine;
        }
        Verdict::Differs
    }

    /// Forgets what it knew: the bucket may encrypt by now what it did not before.
    pub(super) fn forget(&self) {
        self.0.store(UNKNOWN, Ordering::Relaxed);
    }
}

/// The sixteen bytes of an MD5 in hex digits.
fn digits(e_tag: &str) -> Option<Vec<u8>> {
    let text = e_tag.trim_matches('"');
    let is_md5 = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_md5.then(|| (0..32).step_by(2).filter_map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As md5sum says it.
    const OF_A_PART: &str = "\"9db120e8880f33acf4ddeb40892c390c\"";

    #[test]
    fn one_that_agrees_makes_the_next_one_count() {
        let e_tags = ETags::default();
        assert_eq!(e_tags.judge(OF_A_PART, b"a part", false), Verdict::Fine);
        for is_again in [false, true] {
            assert_eq!(e_tags.judge(OF_A_PART, b"another part", is_again), Verdict::Differs);
        }
        assert_eq!(e_tags.judge("\"an-id\"", b"another part", false), Verdict::Fine);
    }

    #[test]
    fn what_never_agrees_is_none() {
        let e_tags = ETags::default();
        let other = "\"00000000000000000000000000000000\"";
        assert_eq!(e_tags.judge(other, b"a part", false), Verdict::Differs);
        assert_eq!(e_tags.judge(other, b"a part", true), Verdict::Fine);
        assert!(!e_tags.may_be_md5());
        assert_eq!(e_tags.judge(other, b"the next", false), Verdict::Fine, "nothing is sent twice for it");
    }

    #[test]
    fn the_first_part_is_no_exception() {
        let e_tags = ETags::default();
        assert_eq!(e_tags.judge(OF_A_PART, b"damaged", false), Verdict::Differs);
        assert_eq!(e_tags.judge(OF_A_PART, b"a part", true), Verdict::Fine);
        assert_eq!(e_tags.judge(OF_A_PART, b"damaged", true), Verdict::Differs);
    }
}
