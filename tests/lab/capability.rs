//! What the real servers support: the only table of their differences.

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
};

impl Server {
    pub(crate) fn capabilities(self) -> Capabilities {
        match self {
            Self::Garage => Capabilities {
                aes256: Encryption::Refused,
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
                ..AMAZON
            },
            Self::Rclone => Capabilities {
                checks_region: false,
                keys: Keys::OwnerOnly,
                aes256: Encryption::Refused,
                sse_c: Encryption::Refused,
                no_uploads: NoUploads::NotFound,
                ..AMAZON
            },
            Self::JuiceFs => Capabilities {
                checks_region: false,
                keys: Keys::OwnerOnly,
                aes256: Encryption::Refused,
                sse_c: Encryption::Refused,
                ..AMAZON
            },
            Self::Moto => Capabilities {
                checks_region: false,
                keys: Keys::Unchecked,
                sse_c: Encryption::Refused,
                ..AMAZON
            },
        }
    }
}
