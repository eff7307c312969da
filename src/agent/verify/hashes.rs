//! Hashes of a tar that is read, and those it is compared with.

use aws_lc_rs::digest::{Context, SHA256};
use crc_fast::{CrcAlgorithm, Digest};

use crate::store::{Checksum, Stat};
use crate::units::hex;

/// SHA-256, and the checksums that the server stores.
pub(super) struct Hashes {
    sha256: Context,
    stored: Vec<StoredChecksum>,
}

/// A checksum that the server stores. A stored SHA-256 is compared with the one computed in any case.
struct StoredChecksum {
    checksum: Checksum,
    expected: Vec<u8>,
    crc: Option<Digest>,
}

impl Hashes {
    pub(super) fn new(stat: &Stat) -> Self {
        let stored = stat.checksums.iter().map(|(checksum, expected)| {
            let algorithm = match checksum {
                Checksum::Sha256 => None,
                Checksum::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
                Checksum::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            };
            StoredChecksum {
                checksum: *checksum,
                expected: expected.clone(),
                crc: algorithm.map(Digest::new),
            }
        });
        Self {
            sha256: Context::new(&SHA256),
            stored: stored.collect(),
        }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.sha256.update(piece);
        for crc in self
            .stored
            .iter_mut()
            .filter_map(|stored| stored.crc.as_mut())
        {
            crc.update(piece);
        }
    }

    /// Returns the SHA-256, and the names of the hashes that do not match.
    pub(super) fn finish(self, recorded: Option<&str>) -> (String, Vec<&'static str>) {
        let sha256 = self.sha256.finish();
        let computed = hex(sha256);
        let mut mismatches = Vec::new();
        if recorded.is_some_and(|recorded| !recorded.eq_ignore_ascii_case(&computed)) {
            mismatches.push("SHA-256");
        }
        for stored in self.stored {
            let crc = stored.crc.map(|crc| crc.finalize().to_be_bytes());
            let actual = match &crc {
                Some(crc) => &crc[8 - stored.expected.len()..],
                None => sha256.as_ref(),
            };
            if actual != stored.expected {
                mismatches.push(match stored.checksum {
                    Checksum::Sha256 => "server's SHA-256",
                    Checksum::Crc32c => "server's CRC-32C",
                    Checksum::Crc64Nvme => "server's CRC-64",
                });
            }
        }
        (computed, mismatches)
    }
}
