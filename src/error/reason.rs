//! Exact reasons of errors, where the reason changes what the user has to do.
//!
//! Programs act on the [`Kind`], users on the reason. `docs/troubleshooting.md` is generated from this table and from the
//! tests that reproduce each case.

use super::Kind;

/// Defines [`Reason`] by its table: variant = code, kind, hint.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $code:literal, $kind:ident, $hint:literal;)*) => {
        /// One of the causes that share a [`Kind`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $reason,)*
        }

        impl Reason {
            /// Every reason, for tables and tests.
            pub const ALL: [Self; [$($code),*].len()] = [$(Self::$reason),*];

            /// The code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$reason => $code,)* }
            }

            /// The kind that it refines.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$reason => Kind::$kind,)* }
            }

            /// Advice for the user.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$reason => $hint,)* }
            }
        }
    };
}

reasons! {
    /// The provider does not know the access key ID.
    UnknownKey = "unknown_key", StorageAuth, "Check the access key ID: a character may be missing, it may belong to another provider, or ID and secret may be swapped. Or create a new key.";
    /// The secret does not belong to the access key ID.
    WrongSecret = "wrong_secret", StorageAuth, "Check the secret access key, and that it belongs to this access key ID: copy both again, or create a new key.";
    /// The session token of a temporary key has expired.
    ExpiredToken = "expired_token", StorageAuth, "The session token has expired. Use a permanent access key, or a new token with its key and secret.";
    /// The provider does not know the session token.
    InvalidToken = "invalid_token", StorageAuth, "The session token is invalid. Leave session_token empty unless the key came with one.";
    /// The key lacks the permission for one action.
    ActionDenied = "action_denied", StorageForbidden, "Give the key permission to list, read, write and delete objects in this bucket, and to abort multipart uploads.";
    /// The endpoint's host name does not resolve.
    HostUnknown = "host_unknown", StorageUnreachable, "Check the endpoint's spelling, and this machine's DNS.";
    /// Nothing listens on the endpoint's port.
    ConnectionRefused = "connection_refused", StorageUnreachable, "Check the endpoint's port, and that the server is running.";
    /// The certificate's issuer is not trusted.
    CertificateUnknown = "certificate_unknown", StorageCertificate, "Set ca_certificate to the certificate of the CA that signed the server's certificate.";
    /// The certificate has expired, or is not valid yet.
    CertificateExpired = "certificate_expired", StorageCertificate, "Renew the server's certificate, or set this machine's clock.";
    /// The certificate is for another host name.
    CertificateOtherName = "certificate_other_name", StorageCertificate, "In the endpoint, use a host name that the certificate covers.";
    /// The endpoint is `https://`, and the port speaks plain HTTP.
    NoTls = "no_tls", StorageCertificate, "The port doesn't use TLS. Write http:// instead of https://, or use the server's TLS port.";
    /// The endpoint is `http://`, and the server requires TLS.
    TlsNeeded = "tls_needed", StorageError, "The server, or the encryption SSE-C, requires TLS. Write https:// instead of http://.";
    /// The server at the endpoint is not an S3 server.
    NotS3 = "not_s3", StorageError, "Check the endpoint: the server there is not an S3 server. It may be the provider's web page.";
    /// The provider does not support the requested encryption.
    NoEncryption = "no_encryption", StorageError, "This provider doesn't support this encryption. Set the location's encryption to none; Home Assistant can still encrypt the backup.";
    /// The object is encrypted with a key that the settings lack.
    EncryptionKeyNeeded = "encryption_key_needed", StorageError, "Set encryption and encryption_key to the values with which the backup was uploaded.";
    /// A proxy before the server rewrites the paths of some keys.
    NameChanged = "name_changed", StorageError, "A proxy in front of the server changes this name, so the signature doesn't match. Let the proxy pass paths unchanged; with nginx, write proxy_pass without a path.";
    /// A proxy before the server rejects requests of this size.
    BodyTooLarge = "body_too_large", StorageError, "A proxy in front of the server limits the size of requests. Raise its limit above part_size; nginx calls it client_max_body_size.";
    /// The proxy does not answer, or rejects the agent.
    ProxyFailed = "proxy_failed", StorageUnreachable, "Check the proxy URL: its address, and the user and password if the proxy requires them.";
    /// The provider does not know this storage class.
    UnknownStorageClass = "unknown_storage_class", StorageError, "Remove storage_class, or set one that the provider offers.";
    /// The tar is in an archive class and must be restored at the provider before it can be read.
    Archived = "archived", StorageError, "Restore the object at the provider first, which takes hours. For new backups, use a storage class that needs no restore.";
    /// The endpoint lacks `http://` or `https://`.
    EndpointWithoutScheme = "endpoint_without_scheme", InvalidRequest, "Write https:// before the endpoint's host, or http:// for a server without TLS.";
    /// The endpoint contains the bucket's name.
    EndpointWithBucket = "endpoint_with_bucket", InvalidRequest, "Remove the bucket from the endpoint, and enter it as the bucket.";
    /// The endpoint has a path.
    EndpointWithPath = "endpoint_with_path", InvalidRequest, "Remove everything after the host and port from the endpoint.";
    /// A pasted value had spaces or line breaks around it.
    SpacesRemoved = "spaces_removed", InvalidRequest, "Nothing to do: the agent removed the spaces around the pasted value.";
    /// A value contains a character that keys and names cannot have.
    StrangeCharacter = "strange_character", InvalidRequest, "Copy the value from the provider again: it contains a space or an invalid character.";
}
