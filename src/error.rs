//! The agent's one error type and the table of its codes.
//!
//! Lower modules have small errors of their own; they become an [`Error`] at the agent's edge. The table
//! `kinds!` is the only place that ties a kind to its code, HTTP status and default hint.

mod causes;
mod reason;

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

pub(crate) use causes::{causes, find, innermost};
pub use reason::Reason;

/// A row of the table: the properties of a [`Kind`] in the protocol and on the command line.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The code, stable across versions.
    pub code: &'static str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Whether the same call may succeed later without a change by the user.
    pub retryable: bool,
    /// Advice for the user; empty where the detail is enough.
    pub hint: &'static str,
}

/// Defines [`Kind`] by its table: variant = code, HTTP status, whether it is retryable, hint.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $code:literal, $status:literal, $retryable:literal, $hint:literal;)*) => {
        /// The category of an error, from a closed set. `docs/development/protocol.md` lists the codes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind, for tables and tests.
            pub const ALL: [Self; [$($code),*].len()] = [$(Self::$kind),*];

            /// The row of the table for this kind.
            #[must_use]
            pub const fn facts(self) -> Facts {
                match self {
                    $(Self::$kind => Facts { code: $code, status: $status, retryable: $retryable, hint: $hint },)*
                }
            }
        }
    };
}

kinds! {
    /// No backup has this id.
    BackupNotFound = "backup_not_found", 404, false, "Refresh the list of backups; another tool may have deleted it.";
    /// No location has this id.
    LocationNotFound = "location_not_found", 404, false, "Check the location's id in the agent's configuration.";
    /// No upload has this id, or it has ended.
    UploadNotFound = "upload_not_found", 404, false, "Start the upload again.";
    /// The protocol has no such path.
    NotFound = "not_found", 404, false, "Find the protocol's paths in /v1/openapi.json.";
    /// The request is malformed.
    InvalidRequest = "invalid_request", 400, false, "";
    /// The `AgentBackup` lacks what the agent needs, or the tar is not the announced backup.
    InvalidMetadata = "invalid_metadata", 422, false, "";
    /// The received size differs from the announced one, or from the sender's count.
    SizeMismatch = "size_mismatch", 409, true, "The agent discarded the backup. Create a new one.";
    /// The received bytes differ from the sent ones.
    ChecksumMismatch = "checksum_mismatch", 409, true, "The agent discarded the backup. Create a new one.";
    /// The token is missing or wrong.
    Unauthorized = "unauthorized", 401, false, "Use the token from the agent's token file.";
    /// Too many calls without the right token.
    TooManyAttempts = "too_many_attempts", 429, true, "Use the token from the agent's token file, and wait a minute.";
    /// The provider rejects the key or its signature.
    StorageAuth = "storage_auth", 502, false, "Check the access key ID and the secret access key: a character may be missing, or the two may be swapped. Or create a new key.";
    /// The key lacks a permission.
    StorageForbidden = "storage_forbidden", 502, false, "Give the key permission to list, read, write and delete objects in this bucket, and to abort multipart uploads.";
    /// The bucket does not exist.
    BucketNotFound = "bucket_not_found", 502, false, "Check the bucket's name, or create the bucket at the provider.";
    /// The bucket is in another region.
    WrongRegion = "wrong_region", 502, false, "Set the location's region to the bucket's region.";
    /// This machine's clock is off.
    ClockSkew = "clock_skew", 502, false, "Set this machine's clock: S3 rejects requests that are off by more than 15 minutes.";
    /// The provider's certificate is rejected, or the TLS handshake fails.
    StorageCertificate = "storage_certificate", 502, false, "Check the endpoint. If your own CA signed the server's certificate, set ca_certificate.";
    /// No connection to the provider.
    StorageUnreachable = "storage_unreachable", 503, true, "Check the endpoint and this machine's network.";
    /// The provider did not answer in time.
    StorageTimeout = "storage_timeout", 504, true, "The provider or the network is slow. Try again later.";
    /// The provider throttles requests.
    StorageThrottled = "storage_throttled", 503, true, "The provider asks to slow down. Try again later.";
    /// The agent's own limit of concurrent uploads.
    TooManyUploads = "too_many_uploads", 503, true, "Wait until another upload ends, then try again.";
    /// No space or quota left.
    StorageFull = "storage_full", 507, false, "Free space or raise the quota at the provider.";
    /// Retention or object lock forbids the change.
    ObjectLocked = "object_locked", 409, false, "Wait until the object's retention or lock expires, or change the rule at the provider.";
    /// Any other error of the provider.
    StorageError = "storage_error", 502, false, "";
    /// The upload was cancelled.
    Cancelled = "cancelled", 409, false, "";
    /// The agent is shutting down.
    ShuttingDown = "shutting_down", 503, true, "Try again when the agent runs again.";
    /// A bug in the agent.
    Internal = "internal", 500, false, "This is a bug in the agent. Report it with the diagnostics and the agent's log.";
}

impl Kind {
    /// The code alone.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.facts().code
    }
}

/// An error at the agent's edge, with all that the protocol, the log and the command line show.
#[derive(Debug, Clone)]
pub struct Error {
    kind: Kind,
    reason: Option<Reason>,
    detail: String,
    hint: Option<String>,
    provider_code: Option<String>,
    request_id: Option<Box<str>>,
    placeholders: Arc<Placeholders>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What an error is about, by name, for sentences in other languages: `said` is the provider's or the system's own words.
pub type Placeholders = BTreeMap<&'static str, String>;

/// A result with the agent's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error. `detail` says what failed, on which bucket and key, without secrets.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            reason: None,
            detail: detail.into(),
            hint: None,
            provider_code: None,
            request_id: None,
            placeholders: Arc::default(),
            source: None,
        }
    }

    /// Adds the exact reason, whose hint replaces the kind's.
    #[must_use]
    pub fn with_reason(mut self, reason: Option<Reason>) -> Self {
        self.reason = reason;
        self
    }

    /// Replaces the hint from the table.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the provider's error code and request ID.
    #[must_use]
    pub fn with_provider(mut self, code: Option<String>, request_id: Option<String>) -> Self {
        self.provider_code = code;
        self.request_id = request_id.map(String::into_boxed_str);
        self
    }

    /// Adds what it is about, for sentences in other languages.
    #[must_use]
    pub fn with_placeholders(mut self, placeholders: Placeholders) -> Self {
        self.placeholders = placeholders.into();
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// The category.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The code of the exact reason; the kind's code without one.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason.map_or(self.kind.code(), Reason::code)
    }

    /// What failed, as a sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Advice for the user; may be empty.
    #[must_use]
    pub fn hint(&self) -> &str {
        let general = self.reason.map_or(self.kind.facts().hint, Reason::hint);
        self.hint.as_deref().unwrap_or(general)
    }

    /// The provider's error code.
    #[must_use]
    pub fn provider_code(&self) -> Option<&str> {
        self.provider_code.as_deref()
    }

    /// The provider's ID of the failed request, for its support.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// What it is about, by name.
    #[must_use]
    pub fn placeholders(&self) -> &Placeholders {
        &self.placeholders
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        if let Some(code) = &self.provider_code {
            write!(f, " ({code})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_protocol_with_its_status() {
        let (_, protocol) = include_str!("../docs/development/protocol.md")
            .split_once("## Errors")
            .unwrap();
        for kind in Kind::ALL {
            let Facts { code, status, .. } = kind.facts();
            let row = protocol
                .lines()
                .find(|line| line.starts_with("| `") && line.contains(&format!("`{code}`")));
            let row =
                row.unwrap_or_else(|| panic!("{code} is missing in docs/development/protocol.md"));
            assert!(row.contains(&format!("| {status} |")), "{code}: {row}");
        }
    }
}
