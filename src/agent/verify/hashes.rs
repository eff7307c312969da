//! The hashes of a tar that is read, for all that there is to compare with.

use aws_lc_rs::digest::{Context, SHA256};
use crc_fast::{CrcAlgorithm, Digest};

use crate::store::{Checksum, Stat};
use crate::units::hex;

/// SHA-256, and what the server has.
pub(super) struct Hashes {
    sha256: Context,
    held: Vec<Held>,
}

/// A checksum that the server has, and what it comes to here.
struct Held {
    checksum: Checksum,
    wanted: Vec<u8>,
    crc: Option<Digest>,
}

impl Hashes {
    pub(super) fn for_all_of(stat: &Stat) -> Self {
        let held = |(checksum, wanted): (Checksum, Vec<u8>)| {
            let crc = match checksum {
                Checksum::Sha256 => None,
                Checksum::Crc32c => Some(Digest::new(CrcAlgorithm::Crc32Iscsi)),
                Checksum::Crc64Nvme => Some(Digest::new(CrcAlgorithm::Crc64Nvme)),
            };
            Held {
                checksum,
                wanted,
                crc,
            }
        };
        Self {
            sha256: Context::new(&SHA256),
            held: stat.checksums.iter().cloned().map(held).collect(),
        }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.sha256.update(piece);
        for crc in self.held.iter_mut().filter_map(|held| held.crc.as_mut()) {
            crc.update(piece);
        }
    }

    /// The SHA-256, and the names of those that are not as they should be.
    pub(super) fn finish(self, recorded: Option<&str>) -> (String, Vec<&'static str>) {
        let sha256 = self.sha256.finish();
        let computed = hex(sha256);
        let mut differing = Vec::new();
        if recorded.is_some_and(|recorded| !recorded.eq_ignore_ascii_case(&computed)) {
            differing.push("SHA-256");
        }
        for Held {
            checksum,
            wanted,
            crc,
        } in self.held
        {
            let crc = crc.map(|crc| crc.finalize().to_be_bytes());
            let is_same = crc
                .as_ref()
                .map_or(sha256.as_ref(), |crc| &crc[8 - wanted.len()..])
                == wanted;
            if !is_same {
                differing.push(match checksum {
                    Checksum::Sha256 => "server's SHA-256",
                    Checksum::Crc32c => "server's CRC-32C",
                    Checksum::Crc64Nvme => "server's CRC-64",
                });
            }
        }
        (computed, differing)
    }
}
