//! Exact reasons of errors, where the reason changes what the user has to do.
//!
//! Programs act on the [`Kind`], users on the reason. `docs/troubleshooting.md` is generated from this table and from the
//! tests that reproduce each case.

use std::net::IpAddr;

use super::Kind;

/// Ends advice that has `HOST` in it, until [`Reason::hint_at`] fills that in.
macro_rules! host_means {
    () => {
        " HOST is the endpoint's host name; for an IP address, write IP:HOST instead of DNS:HOST."
    };
}

/// Defines [`Reason`] by its table: variant = code, kind, hint.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $code:literal, $kind:ident, $hint:expr;)*) => {
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

/// Advice that ends with how to make a right certificate.
macro_rules! with_new_certificate {
    ($what:literal) => {
        concat!(
            $what,
            " Create another: `openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -keyout new.key -out new.crt ",
            "-subj /CN=HOST -addext \"subjectAltName=DNS:HOST\"`. Give both files to the server, restart it, and set ",
            "ca_certificate to new.crt.",
            host_means!()
        )
    };
}

/// Advice that ends with how to trust a certificate as it is.
macro_rules! or_with_fingerprint {
    ($what:literal) => {
        concat!(
            $what,
            " Or set certificate_sha256 to the fingerprint, if the server's own certificate has the same: ",
            "`openssl x509 -in server.crt -noout -fingerprint -sha256`."
        )
    };
}

impl Reason {
    /// Advice for the user of the server at this host.
    #[must_use]
    pub fn hint_at(self, host: &str) -> String {
        let kind = match host.parse::<IpAddr>() {
            Ok(_) => "IP:",
            Err(_) => "DNS:",
        };
        let hint = self.hint().replace(host_means!(), "").replace("DNS:", kind);
        hint.replace("HOST", host)
    }
}

reasons! {
    /// The provider does not know the access key ID.
    UnknownKey = "unknown_key", StorageAuth, "Check the access key ID: a character may be missing, it may belong to another provider, or ID and secret may be swapped. Or create a new key.";
    /// The secret does not belong to the access key ID.
    WrongSecret = "wrong_secret", StorageAuth, "Check the secret access key, and that it belongs to this access key ID: copy both again, or create a new key. If both are right, a proxy in front of the server changes the Host header or the path: let it pass them unchanged; with nginx, write proxy_set_header Host $http_host.";
    /// The ID and the secret of the access key are in the place of each other.
    KeysSwapped = "keys_swapped", StorageAuth, "The access key ID and the secret access key are swapped. Enter each in the place of the other: then everything works.";
    /// The session token of a temporary key has expired.
    ExpiredToken = "expired_token", StorageAuth, "The session token has expired. Use a permanent access key, or a new token with its key and secret.";
    /// The provider does not know the session token.
    InvalidToken = "invalid_token", StorageAuth, "The session token is invalid. Leave session_token empty unless the key came with one.";
    /// The key lacks the permission for one action.
    ActionDenied = "action_denied", StorageForbidden, "Give the key permission to list, read, write and delete objects in this bucket, and to abort multipart uploads.";
    /// A policy with a `Deny` overrules every permission.
    PolicyDenied = "policy_denied", StorageForbidden, "A policy denies this explicitly, whatever else allows it: look for Deny in the policies of the bucket, the user and your organisation. If it demands encryption, set encryption to AES256.";
    /// The key lacks the permission to use the key of the key service.
    KmsDenied = "kms_denied", StorageForbidden, "Give the access key the permissions kms:GenerateDataKey and kms:Decrypt for the key in encryption_key, or set encryption to AES256.";
    /// The object has another encryption key, or the access key may not read.
    EncryptionKeyOrPermission = "encryption_key_or_permission", StorageForbidden, "Set encryption_key to the key with which the backup was uploaded. If it is that key, give the access key permission to read objects (Amazon calls it s3:GetObject).";
    /// The provider has suspended the user, the account or the bucket.
    AccountSuspended = "account_suspended", StorageForbidden, "The provider has suspended this user, account or bucket. Look for its message in the provider's console, or ask its support.";
    /// The region may be wrong, or the key: the provider's answer is the same.
    RegionOrKey = "region_or_key", WrongRegion, "Set region to the one in the endpoint's host name. If it's there already, check the access key: the provider answers the same to an unknown key, and for the first minute to a new one.";
    /// The server had an internal error, again and again.
    ServerFailed = "server_failed", StorageUnreachable, "The server answers, but reports an internal error. Look at its log or the provider's status page, and try again later.";
    /// The server had an internal error with each request that asks for encryption.
    EncryptionFailed = "encryption_failed", StorageUnreachable, "The server reports an internal error, maybe because of the encryption. Set up its encryption keys, or set encryption to none; Home Assistant can still encrypt the backup.";
    /// A proxy answers in the place of the server.
    GatewayFailed = "gateway_failed", StorageUnreachable, "A proxy answers, but the S3 server behind it doesn't. Check that the server is running, and that the proxy reaches it.";
    /// The endpoint's host name does not resolve.
    HostUnknown = "host_unknown", StorageUnreachable, "Check the endpoint's spelling, and this machine's DNS.";
    /// Nothing listens on the endpoint's port.
    ConnectionRefused = "connection_refused", StorageUnreachable, "Check the endpoint's port, and that the server is running.";
    /// The certificate's issuer is not trusted.
    CertificateUnknown = "certificate_unknown", StorageCertificate, or_with_fingerprint!("Set ca_certificate to the certificate of the CA that signed the server's certificate, or to the server's own if it is self-signed.");
    /// The certificate has expired, or is not valid yet.
    CertificateExpired = "certificate_expired", StorageCertificate, "Renew the server's certificate, or set this machine's clock.";
    /// The certificate is for another host name.
    CertificateOtherName = "certificate_other_name", StorageCertificate, or_with_fingerprint!("In the endpoint, use a host name that the certificate covers.");
    /// Another authority signed the certificate than the settings name.
    CertificateOtherIssuer = "certificate_other_issuer", StorageCertificate, "The certificate in ca_certificate didn't sign the server's certificate. Use the CA's that did, or the server's own, which `openssl s_client -connect HOST:PORT` shows.";
    /// The certificate has another fingerprint than the settings name.
    CertificateOtherFingerprint = "certificate_other_fingerprint", StorageCertificate, "The server shows another certificate than certificate_sha256 names. If you renewed it, set certificate_sha256 to the new fingerprint, which the server shows with `openssl x509 -in server.crt -noout -fingerprint -sha256`. If not, something between the agent and the server intercepts the connection.";
    /// The certificate has version 1.
    CertificateVersion1 = "certificate_version_1", StorageCertificate, with_new_certificate!("The server's certificate is of version 1, which clients reject.");
    /// The certificate has no names that clients read.
    CertificateWithoutNames = "certificate_without_names", StorageCertificate, with_new_certificate!("The server's certificate names the host in its common name only, which clients ignore.");
    /// The certificate is for another purpose.
    CertificateNotForServers = "certificate_not_for_servers", StorageCertificate, with_new_certificate!("The server's certificate is not for servers: its extended key usage lacks serverAuth.");
    /// The RSA key of the certificate is too short.
    CertificateWeakKey = "certificate_weak_key", StorageCertificate, with_new_certificate!("The server's certificate has an RSA key of fewer than 2048 bits, which clients reject.");
    /// The endpoint is `https://`, and the port speaks plain HTTP.
    NoTls = "no_tls", StorageCertificate, "The port doesn't use TLS. Write http:// instead of https://, or use the server's TLS port.";
    /// The endpoint is `http://`, and the server requires TLS.
    TlsNeeded = "tls_needed", StorageError, "The server, or the encryption SSE-C, requires TLS. Write https:// instead of http://.";
    /// The server at the endpoint is not an S3 server.
    NotS3 = "not_s3", StorageError, "Check the endpoint: the server there is not an S3 server. It may be the provider's web page.";
    /// The provider does not support the requested encryption.
    NoEncryption = "no_encryption", StorageError, "This provider doesn't support this encryption. Set the location's encryption to none; Home Assistant can still encrypt the backup.";
    /// The key of the key service is missing or unknown.
    KmsKeyNeeded = "kms_key_needed", StorageError, "Set encryption_key to the ID of a key in the provider's key service, or set encryption to AES256.";
    /// The object is encrypted with a key that the settings lack.
    EncryptionKeyNeeded = "encryption_key_needed", StorageError, "The provider encrypts this backup with a key of your own. Set encryption to SSE-C, and encryption_key to the key with which it was uploaded. That is not Home Assistant's encryption key.";
    /// A proxy before the server rewrites or refuses the paths of some keys.
    NameChanged = "name_changed", StorageError, "A proxy in front of the server changes this name, so that the signature doesn't match, or refuses it. Let the proxy pass every path unchanged; with nginx, write proxy_pass without a path.";
    /// A proxy before the server rejects requests of this size.
    BodyTooLarge = "body_too_large", StorageError, "A proxy in front of the server limits the size of requests. Remove its limit, in nginx with \"client_max_body_size 0;\": a part of a backup has 8 MiB (part_size), and more when the backup is very large.";
    /// The proxy does not answer, or rejects the agent.
    ProxyFailed = "proxy_failed", StorageUnreachable, "Check the proxy URL: its scheme and address, and the user and password if the proxy requires them.";
    /// The proxy speaks SOCKS4.
    ProxyWithSocks4 = "proxy_with_socks4", InvalidRequest, "The agent speaks SOCKS5 and HTTP with proxies, not SOCKS4. If your proxy has version 5, write socks5h://, or socks5:// to look up names yourself.";
    /// The provider does not know this storage class.
    UnknownStorageClass = "unknown_storage_class", StorageError, "Remove storage_class, or set one that the provider offers.";
    /// The provider does not know the checksum.
    ChecksumUnsupported = "checksum_unsupported", StorageError, "This provider doesn't support this checksum. Set checksum to auto.";
    /// The tar is in an archive class and must be restored at the provider before it can be read.
    Archived = "archived", StorageError, "Restore the object at the provider first, which takes hours. For new backups, use a storage class that needs no restore.";
    /// The endpoint lacks `http://` or `https://`.
    EndpointWithoutScheme = "endpoint_without_scheme", InvalidRequest, "Write https:// before the endpoint's host, or http:// for a server without TLS.";
    /// The endpoint contains the bucket's name.
    EndpointWithBucket = "endpoint_with_bucket", InvalidRequest, "Remove the bucket from the endpoint, and enter it as the bucket.";
    /// The endpoint has a path, and S3 does not answer below it.
    EndpointWithPath = "endpoint_with_path", InvalidRequest, "Remove everything after the host and port from the endpoint. If your server's S3 API is below a path, check that path and the bucket's name.";
    /// The bucket holds more than a bucket's name.
    BucketWithMore = "bucket_with_more", InvalidRequest, "Enter the bucket's name alone. A folder goes into prefix, and the server's URL into endpoint.";
    /// Another location has the same folder.
    FolderInUse = "folder_in_use", InvalidRequest, "Use the location that has this folder, or set another prefix: a folder can belong to one location only.";
    /// A pasted value had spaces or line breaks around it.
    SpacesRemoved = "spaces_removed", InvalidRequest, "Nothing to do: the agent removed the spaces around the pasted value.";
    /// A value contains a character that keys and names cannot have.
    StrangeCharacter = "strange_character", InvalidRequest, "Copy the value from the provider again: it contains a space or an invalid character.";
}
