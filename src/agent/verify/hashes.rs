//! Digests of a tar while it is read, one for each digest to compare with.

use crate::store::{Algorithm, Hasher, Stat};
use crate::units::hex;

/// SHA-256, and each checksum that the server has.
pub(super) struct Hashes {
    sha256: Hasher,
    held: Vec<Held>,
}

/// A checksum that the server has, and the digest of the bytes read so far.
struct Held {
    algorithm: Algorithm,
    wanted: Vec<u8>,
    /// None for SHA-256, which is computed anyway.
    hasher: Option<Hasher>,
}

impl Hashes {
    pub(super) fn for_all_of(stat: &Stat) -> Self {
        let held = |(algorithm, wanted): (Algorithm, Vec<u8>)| Held {
            algorithm,
            wanted,
            hasher: (algorithm != Algorithm::Sha256).then(|| algorithm.hasher()),
        };
        Self {
            sha256: Algorithm::Sha256.hasher(),
            held: stat.checksums.iter().cloned().map(held).collect(),
        }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.sha256.update(piece);
        for hasher in self.held.iter_mut().filter_map(|held| held.hasher.as_mut()) {
            hasher.update(piece);
        }
    }

    /// Returns the SHA-256, and the names of the digests that differ.
    pub(super) fn finish(self, recorded: Option<&str>) -> (String, Vec<&'static str>) {
        let sha256 = self.sha256.finish();
        let computed = hex(&sha256);
        let mut differing = Vec::new();
        if recorded.is_some_and(|recorded| !recorded.eq_ignore_ascii_case(&computed)) {
            differing.push("SHA-256");
        }
        for held in self.held {
            let found = held.hasher.map(Hasher::finish);
            if found.as_ref().unwrap_or(&sha256) != &held.wanted {
                differing.push(match held.algorithm {
                    Algorithm::Sha256 => "server's SHA-256",
                    Algorithm::Crc32c => "server's CRC-32C",
                    Algorithm::Crc64Nvme => "server's CRC-64",
                    Algorithm::Md5 => "server's MD5",
                });
            }
        }
        (computed, differing)
    }
}
