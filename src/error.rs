//! The agent's one error type and the table of its codes.
//!
//! Lower modules have small errors of their own; they become an [`Error`] at the agent's edge. The table in
//! [`Kind::facts`] is the only place that ties a kind to its code, HTTP status and default hint.

mod reason;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

pub use reason::Reason;

/// What went wrong, as a closed set. `docs/protocol.md` lists the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No backup has this id.
    BackupNotFound,
    /// No location has this id.
    LocationNotFound,
    /// No upload has this id, or it has ended.
    UploadNotFound,
    /// The protocol has no such path.
    NotFound,
    /// The request cannot be read.
    InvalidRequest,
    /// Home Assistant would refuse this `AgentBackup`, or the tar is not the backup it claims to be.
    InvalidMetadata,
    /// Fewer bytes arrived than announced, or not as many as the sender counted.
    SizeMismatch,
    /// The bytes that arrived are not the bytes that were sent.
    ChecksumMismatch,
    /// The token is missing or wrong.
    Unauthorized,
    /// The token was missing or wrong too often.
    TooManyAttempts,
    /// The provider does not accept the key or its signature.
    StorageAuth,
    /// The key may not do this.
    StorageForbidden,
    /// The bucket does not exist.
    BucketNotFound,
    /// The bucket is in another region.
    WrongRegion,
    /// This machine's clock is off.
    ClockSkew,
    /// The provider's certificate is not accepted, or TLS does not come up at all.
    StorageCertificate,
    /// No connection to the provider.
    StorageUnreachable,
    /// The provider did not answer in time.
    StorageTimeout,
    /// The provider asks to slow down.
    StorageThrottled,
    /// No space or quota left.
    StorageFull,
    /// Retention or object lock forbids the change.
    ObjectLocked,
    /// Anything else that the provider refused.
    StorageError,
    /// The upload was cancelled.
    Cancelled,
    /// The agent is stopping.
    ShuttingDown,
    /// A bug in the agent.
    Internal,
}

/// One row of the table: what the protocol and the command line show for a [`Kind`].
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The code, stable across versions.
    pub code: &'static str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Whether the same call may succeed later without a change by a person.
    pub retryable: bool,
    /// What a person can do; empty where the detail says it all.
    pub hint: &'static str,
}

impl Kind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 25] = [
        Self::BackupNotFound,
        Self::LocationNotFound,
        Self::UploadNotFound,
        Self::NotFound,
        Self::InvalidRequest,
        Self::InvalidMetadata,
        Self::SizeMismatch,
        Self::ChecksumMismatch,
        Self::Unauthorized,
        Self::TooManyAttempts,
        Self::StorageAuth,
        Self::StorageForbidden,
        Self::BucketNotFound,
        Self::WrongRegion,
        Self::ClockSkew,
        Self::StorageCertificate,
        Self::StorageUnreachable,
        Self::StorageTimeout,
        Self::StorageThrottled,
        Self::StorageFull,
        Self::ObjectLocked,
        Self::StorageError,
        Self::Cancelled,
        Self::ShuttingDown,
        Self::Internal,
    ];

    /// The row of the table for this kind.
    #[must_use]
    #[rustfmt::skip] // one row a line, so that it reads as the table it is
    pub const fn facts(self) -> Facts {
        let (code, status, retryable, hint) = match self {
            Self::BackupNotFound => ("backup_not_found", 404, false, "Refresh the list of backups; another tool may have deleted it."),
            Self::LocationNotFound => ("location_not_found", 404, false, "Check the location's id in the agent's configuration."),
            Self::UploadNotFound => ("upload_not_found", 404, false, "Start the upload again."),
            Self::NotFound => ("not_found", 404, false, "The protocol's paths are in /v1/openapi.json."),
            Self::InvalidRequest => ("invalid_request", 400, false, ""),
            Self::InvalidMetadata => ("invalid_metadata", 422, false, ""),
            Self::SizeMismatch => ("size_mismatch", 409, true, "Nothing was kept. Make the backup again."),
            Self::ChecksumMismatch => ("checksum_mismatch", 409, true, "Nothing was kept. Make the backup again."),
            Self::Unauthorized => ("unauthorized", 401, false, "Use the token from the agent's token file."),
            Self::TooManyAttempts => ("too_many_attempts", 429, true, "Use the token from the agent's token file, and wait a minute."),
            Self::StorageAuth => ("storage_auth", 502, false, "Check the access key ID and the secret access key: is a character missing, or are the two swapped? Or make a new key."),
            Self::StorageForbidden => ("storage_forbidden", 502, false, "Give the key permission to list, read, write and delete in this bucket."),
            Self::BucketNotFound => ("bucket_not_found", 502, false, "Check the bucket's name, or create the bucket at the provider."),
            Self::WrongRegion => ("wrong_region", 502, false, "Set the location's region to the one the bucket is in."),
            Self::ClockSkew => ("clock_skew", 502, false, "Set this machine's clock; S3 refuses requests that are more than 15 minutes off."),
            Self::StorageCertificate => ("storage_certificate", 502, false, "Check the endpoint, and set ca_certificate when the server's certificate is signed by an authority of your own."),
            Self::StorageUnreachable => ("storage_unreachable", 503, true, "Check the endpoint and this machine's network."),
            Self::StorageTimeout => ("storage_timeout", 504, true, "The provider or the network is slow. Try again later."),
            Self::StorageThrottled => ("storage_throttled", 503, true, "The provider asks to slow down. Try again later."),
            Self::StorageFull => ("storage_full", 507, false, "Free space or raise the quota at the provider."),
            Self::ObjectLocked => ("object_locked", 409, false, "Retention or object lock forbids it until it expires."),
            Self::StorageError => ("storage_error", 502, false, ""),
            Self::Cancelled => ("cancelled", 409, false, ""),
            Self::ShuttingDown => ("shutting_down", 503, true, "Try again when the agent is back."),
            Self::Internal => ("internal", 500, false, "This is a bug in the agent. Its log has more."),
        };
        Facts { code, status, retryable, hint }
    }

    /// The code alone.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.facts().code
    }
}

/// An error at the agent's edge: everything that the protocol, the log and the command line show.
#[derive(Debug, Clone)]
pub struct Error {
    kind: Kind,
    reason: Option<Reason>,
    detail: String,
    hint: Option<String>,
    provider_code: Option<String>,
    request_id: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// A result with the agent's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `detail` says what happened, to which bucket and key, and holds no secret.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            reason: None,
            detail: detail.into(),
            hint: None,
            provider_code: None,
            request_id: None,
            source: None,
        }
    }

    /// Says what exactly went wrong; the reason's hint takes the place of the kind's.
    #[must_use]
    pub fn with_reason(mut self, reason: Option<Reason>) -> Self {
        self.reason = reason;
        self
    }

    /// Replaces the hint that the table has for this kind.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the provider's own code and request id.
    #[must_use]
    pub fn with_provider(mut self, code: Option<String>, request_id: Option<String>) -> Self {
        self.provider_code = code;
        self.request_id = request_id;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The code of what exactly went wrong; the kind's own where there is nothing finer.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason.map_or(self.kind.code(), Reason::code)
    }

    /// What happened, in a sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What to change; empty where there is nothing to say.
    #[must_use]
    pub fn hint(&self) -> &str {
        let general = self.reason.map_or(self.kind.facts().hint, Reason::hint);
        self.hint.as_deref().unwrap_or(general)
    }

    /// The provider's own error code.
    #[must_use]
    pub fn provider_code(&self) -> Option<&str> {
        self.provider_code.as_deref()
    }

    /// The provider's id of the failed request, for its support.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
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
        let (_, protocol) = include_str!("../docs/protocol.md")
            .split_once("## Errors")
            .unwrap();
        for kind in Kind::ALL {
            let Facts { code, status, .. } = kind.facts();
            let row = protocol
                .lines()
                .find(|line| line.starts_with("| `") && line.contains(&format!("`{code}`")));
            let row = row.unwrap_or_else(|| panic!("{code} is missing in docs/protocol.md"));
            assert!(row.contains(&format!("| {status} |")), "{code}: {row}");
        }
    }
}
