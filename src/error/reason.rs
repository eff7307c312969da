//! What exactly went wrong, where that changes what a person has to do.
//!
//! A [`Kind`] is what programs act on; a reason is what people read. `docs/troubleshooting.md` is made from this table
//! and from the tests that produce each case.

use super::Kind;

/// One cause among those that share a [`Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The provider does not know the access key ID.
    UnknownKey,
    /// The secret does not belong to the access key ID.
    WrongSecret,
    /// The session token of a temporary key is no longer good.
    ExpiredToken,
    /// The session token is none that the provider knows.
    InvalidToken,
    /// The key may not do this one thing.
    ActionDenied,
    /// The endpoint's host has no address.
    HostUnknown,
    /// Nothing listens at the endpoint's port.
    ConnectionRefused,
    /// The certificate's issuer is not trusted here.
    CertificateUnknown,
    /// The certificate is too old, or not good yet.
    CertificateExpired,
    /// The certificate is for another host name.
    CertificateOtherName,
    /// `https://` was asked of a port that speaks plain HTTP.
    NoTls,
    /// `http://` was asked of a server that wants TLS.
    TlsNeeded,
    /// What answers is no S3 server.
    NotS3,
    /// The provider does not encrypt as it is asked to.
    NoEncryption,
    /// The object is encrypted with a key that was not given.
    EncryptionKeyNeeded,
    /// Something before the server takes no request of this size.
    BodyTooLarge,
    /// The proxy does not answer, or does not let this machine through.
    ProxyFailed,
    /// The provider does not know this storage class.
    UnknownStorageClass,
    /// The tar is in an archive class and must be restored at the provider before it can be read.
    Archived,
    /// The endpoint starts with no `http://` or `https://`.
    EndpointWithoutScheme,
    /// The endpoint holds the bucket's name.
    EndpointWithBucket,
    /// The endpoint has a path.
    EndpointWithPath,
    /// A pasted value had spaces or line ends around it.
    SpacesRemoved,
    /// A value has a character inside that no key or name has.
    StrangeCharacter,
}

impl Reason {
    /// Every reason, for tables and tests.
    pub const ALL: [Self; 24] = [
        Self::UnknownKey,
        Self::WrongSecret,
        Self::ExpiredToken,
        Self::InvalidToken,
        Self::ActionDenied,
        Self::HostUnknown,
        Self::ConnectionRefused,
        Self::CertificateUnknown,
        Self::CertificateExpired,
        Self::CertificateOtherName,
        Self::NoTls,
        Self::TlsNeeded,
        Self::NotS3,
        Self::NoEncryption,
        Self::EncryptionKeyNeeded,
        Self::BodyTooLarge,
        Self::ProxyFailed,
        Self::UnknownStorageClass,
        Self::Archived,
        Self::EndpointWithoutScheme,
        Self::EndpointWithBucket,
        Self::EndpointWithPath,
        Self::SpacesRemoved,
        Self::StrangeCharacter,
    ];

    /// Its code, its kind and what to do.
    #[must_use]
    #[rustfmt::skip] // one row a line, so that it reads as the table it is
    pub const fn facts(self) -> (&'static str, Kind, &'static str) {
        match self {
            Self::UnknownKey => ("unknown_key", Kind::StorageAuth, "Check the access key ID: is a character missing, is it from another provider, or are ID and secret swapped? Or make a new key."),
            Self::WrongSecret => ("wrong_secret", Kind::StorageAuth, "Check the secret access key, and that it belongs to this access key ID: copy both once more, or make a new key."),
            Self::ExpiredToken => ("expired_token", Kind::StorageAuth, "The session token has expired. Use a lasting access key, or a new token with its key and secret."),
            Self::InvalidToken => ("invalid_token", Kind::StorageAuth, "The session token is not right: leave session_token empty unless the key came with one."),
            Self::ActionDenied => ("action_denied", Kind::StorageForbidden, "Give the key permission to list, read, write and delete in this bucket."),
            Self::HostUnknown => ("host_unknown", Kind::StorageUnreachable, "Check the endpoint's spelling, and this machine's DNS."),
            Self::ConnectionRefused => ("connection_refused", Kind::StorageUnreachable, "Check the endpoint's port, and that the server runs."),
            Self::CertificateUnknown => ("certificate_unknown", Kind::StorageCertificate, "Set ca_certificate to the certificate of the authority that signed the server's."),
            Self::CertificateExpired => ("certificate_expired", Kind::StorageCertificate, "Renew the server's certificate, or set this machine's clock."),
            Self::CertificateOtherName => ("certificate_other_name", Kind::StorageCertificate, "Use the host name that the certificate is for in the endpoint."),
            Self::NoTls => ("no_tls", Kind::StorageCertificate, "The port speaks no TLS. Write http:// instead of https://, or use the server's TLS port."),
            Self::TlsNeeded => ("tls_needed", Kind::StorageError, "The server wants TLS, or SSE-C does. Write https:// instead of http://."),
            Self::NotS3 => ("not_s3", Kind::StorageError, "Check the endpoint: what answers there is not an S3 server. It may be the provider's web page."),
            Self::NoEncryption => ("no_encryption", Kind::StorageError, "Remove encryption from the location: this provider does not do it. Home Assistant can encrypt the backup itself."),
            Self::EncryptionKeyNeeded => ("encryption_key_needed", Kind::StorageError, "Set encryption and encryption_key as they were when the backup was uploaded."),
            Self::BodyTooLarge => ("body_too_large", Kind::StorageError, "A proxy before the server limits the size of requests: raise its limit, nginx calls it client_max_body_size, above part_size."),
            Self::ProxyFailed => ("proxy_failed", Kind::StorageUnreachable, "Check proxy: its address, and the user and password in it if it wants them."),
            Self::UnknownStorageClass => ("unknown_storage_class", Kind::StorageError, "Remove storage_class, or set one that the provider has."),
            Self::Archived => ("archived", Kind::StorageError, "Restore the object at the provider first; that takes hours. Use a storage class that can be read at once."),
            Self::EndpointWithoutScheme => ("endpoint_without_scheme", Kind::InvalidRequest, "Write https:// before the endpoint's host, or http:// for a server without TLS."),
            Self::EndpointWithBucket => ("endpoint_with_bucket", Kind::InvalidRequest, "Take the bucket out of the endpoint; it has a field of its own."),
            Self::EndpointWithPath => ("endpoint_with_path", Kind::InvalidRequest, "Cut the endpoint after the host and port."),
            Self::SpacesRemoved => ("spaces_removed", Kind::InvalidRequest, "Nothing to do: spaces around a pasted value are left out."),
            Self::StrangeCharacter => ("strange_character", Kind::InvalidRequest, "Copy the value from the provider once more; it holds a space or a character that cannot be right."),
        }
    }

    /// The code alone.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.facts().0
    }

    /// The kind that it belongs to.
    #[must_use]
    pub const fn kind(self) -> Kind {
        self.facts().1
    }

    /// What a person can do.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        self.facts().2
    }
}
