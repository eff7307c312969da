//! What the real servers support: the only table of their differences.
//!
//! `contract/servers` asserts each cell, and `docs/development/servers.md` shows it.

use super::Server;

/// A server's answers to what S3 servers differ in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capabilities {
    /// Refuses a signature for another region.
    pub(crate) checks_region: bool,
    /// What access keys are for.
    pub(crate) keys: Keys,
    /// Stores a key with a backslash under that name, not under one with a slash.
    pub(crate) keeps_backslashes: bool,
    /// Encryption with the server's own key (`AES256`).
    pub(crate) aes256: Encryption,
    /// Encryption with the user's key (SSE-C), over plain HTTP.
    pub(crate) sse_c: Encryption,
    /// The answer to a list of unfinished uploads where none was ever begun.
    pub(crate) no_uploads: NoUploads,
    /// Compares the SHA-256 in a signature with the content.
    pub(crate) verifies_signature: bool,
    /// Checksum headers that it verifies, among [`CHECKSUMS`].
    pub(crate) verifies: &'static [&'static str],
    /// What it makes of the other checksum headers.
    pub(crate) unverified: Unverified,
    /// `If-None-Match: *` on a write.
    pub(crate) if_none_match: Condition,
    /// Status of an answer with a range.
    pub(crate) range_status: u16,
}

/// Names of the checksums that the agent can send in a header.
pub(crate) const CHECKSUMS: [&str; 3] = ["sha256", "crc32c", "crc64nvme"];

/// What a server makes of a checksum that it does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// Ignores it.
    Dropped,
    /// Repeats it in the answer, as if it had verified it.
    Repeated,
}

/// What a server makes of a condition on a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Does not write over an object.
    Honoured,
    /// Writes over it.
    Ignored,
}

/// What a server makes of access keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Each has its own permissions.
    HavePermissions,
    /// There is only the owner's; a guest's is unknown.
    OwnerOnly,
    /// Every request is accepted.
    Unchecked,
}

/// What a server makes of a request for encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Encrypts, and confirms it.
    Applied,
    /// Answers with an error, or stores plain bytes without a confirmation: the agent refuses.
    Refused,
}

/// What a server answers to a list of unfinished uploads where none was ever begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoUploads {
    /// An empty list.
    Empty,
    /// 404 `NoSuchUpload`.
    NotFound,
}

/// Answers of a server that follows Amazon's documentation in everything.
const AMAZON: Capabilities = Capabilities {
    checks_region: true,
    keys: Keys::HavePermissions,
    keeps_backslashes: true,
    aes256: Encryption::Applied,
    sse_c: Encryption::Applied,
    no_uploads: NoUploads::Empty,
    verifies_signature: true,
    verifies: &CHECKSUMS,
    unverified: Unverified::Dropped,
    if_none_match: Condition::Honoured,
    range_status: 206,
};

impl Capabilities {
    /// What `checksum = "auto"` becomes without a preset: the first of these that the server verifies.
    pub(crate) fn automatic(&self) -> &'static str {
        let is_verified = |name: &str| match name {
            "sha256" => self.verifies_signature,
            _ => self.verifies.contains(&name),
        };
        let mut names = ["sha256", "crc64nvme", "crc32c"].into_iter();
        names.find(|name| is_verified(name)).unwrap_or("off")
    }
}

impl Server {
    pub(crate) fn capabilities(self) -> Capabilities {
        match self {
            Self::Garage => Capabilities {
                aes256: Encryption::Refused,
                if_none_match: Condition::Ignored,
                ..AMAZON
            },
            Self::Swift => Capabilities {
                aes256: Encryption::Refused,
                sse_c: Encryption::Refused,
                ..AMAZON
            },
            Self::Ceph => Capabilities {
                checks_region: false,
                // Possible with a key in the gateway's configuration.
                aes256: Encryption::Refused,
                ..AMAZON
            },
            Self::SeaweedFs => Capabilities {
                checks_region: false,
                keeps_backslashes: false,
                verifies_signature: false,
                ..AMAZON
            },
            Self::Rclone => Capabilities {
                checks_region: false,
                keys: Keys::OwnerOnly,
                aes256: Encryption::Refused,
                sse_c: Encryption::Refused,
                no_uploads: NoUploads::NotFound,
                verifies_signature: false,
                verifies: &[],
                if_none_match: Condition::Ignored,
                range_status: 200,
                ..AMAZON
            },
            Self::JuiceFs => Capabilities {
                checks_region: false,
                keys: Keys::OwnerOnly,
                aes256: Encryption::Refused,
                sse_c: Encryption::Refused,
                verifies: &[],
                if_none_match: Condition::Ignored,
                ..AMAZON
            },
            Self::Moto => Capabilities {
                checks_region: false,
                keys: Keys::Unchecked,
                sse_c: Encryption::Refused,
                verifies_signature: false,
                verifies: &[],
                unverified: Unverified::Repeated,
                ..AMAZON
            },
        }
    }
}
