//! Digests of a tar while it is read, one for each digest to compare with.

use crate::store::{Algorithm, Hasher};
use crate::units::hex;

/// SHA-256, and each checksum that the server has.
pub(super) struct Hashes {
    sha256: Hasher,
    held: Vec<Held>,
}

/// The SHA-256 of a tar, and the digests that it does not have.
pub(super) struct Compared {
    pub(super) sha256: String,
    /// Names of those that prove damage.
    pub(super) differing: Vec<&'static str>,
    /// Names of the server's that are wrong, although the tar is that of the upload.
    pub(super) wrong: Vec<&'static str>,
}

/// A checksum that the server has, and the digest of the bytes read so far.
struct Held {
    algorithm: Algorithm,
    wanted: Vec<u8>,
    /// None for SHA-256, which is computed anyway.
    hasher: Option<Hasher>,
}

impl Hashes {
    pub(super) fn for_all_of(checksums: &[(Algorithm, Vec<u8>)]) -> Self {
        let held = |(algorithm, wanted): (Algorithm, Vec<u8>)| Held {
            algorithm,
            wanted,
            hasher: (algorithm != Algorithm::Sha256).then(|| algorithm.hasher()),
        };
        Self {
            sha256: Algorithm::Sha256.hasher(),
            held: checksums.iter().cloned().map(held).collect(),
        }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.sha256.update(piece);
        for hasher in self.held.iter_mut().filter_map(|held| held.hasher.as_mut()) {
            hasher.update(piece);
        }
    }

    /// Compares the digests with the recorded SHA-256 and with those that the server has.
    pub(super) fn finish(self, recorded: Option<&str>) -> Compared {
        let sha256 = self.sha256.finish();
        let computed = hex(&sha256);
        let is_recorded = recorded.map(|recorded| recorded.eq_ignore_ascii_case(&computed));
        let of_server = self.held.into_iter().filter_map(|held| {
            let found = held.hasher.map(Hasher::finish);
            let is_equal = found.as_ref().unwrap_or(&sha256) == &held.wanted;
            (!is_equal).then_some(match held.algorithm {
                Algorithm::Sha256 => "server's SHA-256",
                Algorithm::Crc32c => "server's CRC-32C",
                Algorithm::Crc64Nvme => "server's CRC-64",
                Algorithm::Md5 => "server's MD5",
            })
        });
        let of_server = of_server.collect();
        let (differing, wrong) = match is_recorded {
            // The bytes are those of the upload: it is the server that errs.
            Some(true) => (Vec::new(), of_server),
            Some(false) => (
                ["SHA-256"].into_iter().chain(of_server).collect(),
                Vec::new(),
            ),
            None => (of_server, Vec::new()),
        };
        Compared {
            sha256: computed,
            differing,
            wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_sha256_decides_who_errs() {
        let right = hex(Algorithm::Sha256.digest(b"tar").value());
        let crc = Algorithm::Crc32c.digest(b"tar").value().to_vec();
        let names = |recorded: Option<&str>, crc: &[u8]| {
            let checksums = [(Algorithm::Crc32c, crc.to_vec())];
            let mut hashes = Hashes::for_all_of(&checksums);
            hashes.update(b"tar");
            let compared = hashes.finish(recorded);
            assert_eq!(compared.sha256, right);
            (compared.differing, compared.wrong)
        };
        let server = vec!["server's CRC-32C"];
        assert_eq!(names(Some(&right), &crc), (vec![], vec![]));
        assert_eq!(
            names(Some(&right.to_uppercase()), b"else"),
            (vec![], server.clone())
        );
        assert_eq!(names(Some("else"), &crc), (vec!["SHA-256"], vec![]));
        assert_eq!(
            names(Some("else"), b"else"),
            (vec!["SHA-256", "server's CRC-32C"], vec![])
        );
        assert_eq!(names(None, b"else"), (server, vec![]));
    }
}
