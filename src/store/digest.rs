//! Digests of content: one per part, which the provider verifies and by which a journal recognises the part.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use md5::{Digest as _, Md5};

use crate::units::hex;

/// Algorithm of a [`PartDigest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256, which signs the payload.
    Sha256,
    /// CRC-32C, in a header.
    Crc32c,
    /// CRC-64/NVME, in a header.
    Crc64Nvme,
    /// MD5, compared with the `ETag` where the provider verifies nothing.
    Md5,
}

/// Digest of a part's bytes, written as `algorithm:hex`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartDigest {
    algorithm: Algorithm,
    value: Vec<u8>,
}

/// Digest of bytes that arrive in pieces.
pub struct Hasher(State);

enum State {
    Sha256(Context),
    Crc(Box<crc_fast::Digest>, usize),
    Md5(Md5),
}

/// Text that is no digest of a known algorithm.
#[derive(Debug, thiserror::Error)]
#[error("not a digest: expected algorithm:hex")]
pub struct InvalidDigest;

impl Algorithm {
    const ALL: [Self; 4] = [Self::Sha256, Self::Crc32c, Self::Crc64Nvme, Self::Md5];

    /// Name in a journal and in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Md5 => "md5",
        }
    }

    /// Length of its value in bytes.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Md5 => 16,
        }
    }

    /// Starts a digest.
    #[must_use]
    pub fn hasher(self) -> Hasher {
        use crc_fast::{CrcAlgorithm, Digest};
        Hasher(match self {
            Self::Sha256 => State::Sha256(Context::new(&SHA256)),
            Self::Crc32c => State::Crc(
                Box::new(Digest::new(CrcAlgorithm::Crc32Iscsi)),
                self.length(),
            ),
            Self::Crc64Nvme => State::Crc(
                Box::new(Digest::new(CrcAlgorithm::Crc64Nvme)),
                self.length(),
            ),
            Self::Md5 => State::Md5(Md5::new()),
        })
    }

    /// Computes the digest of `bytes`.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> PartDigest {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        PartDigest {
            algorithm: self,
            value: hasher.finish(),
        }
    }
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(context) => context.update(bytes),
            State::Crc(digest, _) => digest.update(bytes),
            State::Md5(digest) => digest.update(bytes),
        }
    }

    /// Returns the value, big-endian.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            State::Sha256(context) => context.finish().as_ref().to_vec(),
            State::Crc(digest, length) => digest.finalize().to_be_bytes()[8 - length..].to_vec(),
            State::Md5(digest) => digest.finalize().to_vec(),
        }
    }
}

impl PartDigest {
    /// Its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its value, big-endian.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Whether these are the bytes, computed with this digest's own algorithm: a journal may hold another one than
    /// [`Store::part_digest`](super::Store::part_digest) computes now.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.algorithm.digest(bytes) == *self
    }
}

impl fmt::Display for PartDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), hex(&self.value))
    }
}

impl FromStr for PartDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let (name, digits) = text.split_once(':').ok_or(InvalidDigest)?;
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(InvalidDigest)?;
        let value = bytes_of_hex(digits).filter(|value| value.len() == algorithm.length());
        Ok(Self {
            algorithm,
            value: value.ok_or(InvalidDigest)?,
        })
    }
}

/// Decodes hex digits, as in an `ETag` or a journal.
pub(super) fn bytes_of_hex(digits: &str) -> Option<Vec<u8>> {
    let is_hex =
        digits.len().is_multiple_of(2) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pairs = (0..digits.len()).step_by(2);
    is_hex.then(|| {
        pairs
            .filter_map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_survives_the_journal() {
        // As sha256sum, md5sum and the CRC catalogue give them.
        for (algorithm, text) in [
            (
                Algorithm::Sha256,
                "sha256:15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ),
            (Algorithm::Md5, "md5:25f9e794323b453885f5181f1b624d0b"),
            (Algorithm::Crc32c, "crc32c:e3069283"),
            (Algorithm::Crc64Nvme, "crc64nvme:ae8b14860a799888"),
        ] {
            let digest = algorithm.digest(b"123456789");
            assert_eq!(digest.to_string(), text);
            let parsed: PartDigest = text.parse().unwrap();
            assert_eq!(parsed, digest);
            assert!(parsed.matches(b"123456789") && !parsed.matches(b"12345678"));
        }
    }

    #[test]
    fn other_text_is_no_digest() {
        for text in [
            "",
            "crc32c",
            "crc32c:",
            "crc32c:e306928",
            "crc32c:ée306928",
            "sha1:00",
            "copy:a/b",
        ] {
            assert!(text.parse::<PartDigest>().is_err(), "{text}");
        }
    }
}
