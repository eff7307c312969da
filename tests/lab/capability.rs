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
    /// Answers with this provider code, and a message that does not name encryption.
    RefusedWithoutReason(&'static str),
}

/// Answers of a server that follows Amazon's documentation in everything.
const AMAZON: Capabilities = Capabilities {
    checks_region: true,
    keys: Keys::HavePermissions,
    keeps_backslashes: true,
    aes256: Encryption::Applied,
    sse_c: Encryption::Applied,
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
                aes256: Encryption::RefusedWithoutReason("InvalidArgument"),
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
                ..AMAZON
            },
            Self::JuiceFs => Capabilities {
                checks_region: false,
                keys: Keys::OwnerOnly,
                aes256: Encryption::RefusedWithoutReason("NotImplemented"),
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
