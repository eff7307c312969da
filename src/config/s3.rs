//! How to reach a bucket.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use url::Url;

use super::endpoint;
use super::pem;
use super::reader::Reader;
use super::secret::Secret;
use super::size::ByteSize;
use crate::error::Reason;
use crate::provider::{self, Addressing, Checksum, Provider};
use crate::units::sha256;

/// A setting that a person made, or one that the provider's answers may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<T> {
    /// The value, to begin with.
    pub value: T,
    /// Whether a person chose it; then it stays.
    pub is_given: bool,
}

/// How to reach a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The provider's row in the table.
    pub provider: &'static Provider,
    /// URL of the S3 API, without the bucket.
    pub endpoint: Url,
    /// Region that requests are signed for.
    pub region: Choice<String>,
    /// The bucket's name.
    pub bucket: String,
    /// Access key ID.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Token of a temporary key.
    pub session_token: Option<Secret>,
    /// Where the bucket's name goes.
    pub addressing: Choice<Addressing>,
    /// How the provider checks what arrives.
    pub checksum: Choice<Checksum>,
    /// Storage class of the tars; metadata stays in the provider's default, because every list reads it.
    pub storage_class: Option<String>,
    /// Who encrypts the objects, and with which key.
    pub encryption: Encryption,
    /// The way to the endpoint.
    pub wire: Wire,
}

/// Encryption at the provider, beside the one that Home Assistant does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket's own settings say.
    None,
    /// With the provider's keys (SSE-S3).
    Aes256,
    /// With a key of the key service, or the account's default one (SSE-KMS).
    Kms(Option<String>),
    /// With a key that only this location has (SSE-C): 32 bytes in Base64. Without it the backups cannot be read.
    Customer(Secret),
}

/// The way to the endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wire {
    /// PEM of the authorities to trust beside the system's.
    pub ca_certificate: Option<String>,
    /// URL of an HTTP proxy; it may hold a password.
    pub proxy: Option<Secret>,
    /// Bytes a second on the way up, for the location as a whole.
    pub upload_limit: Option<u64>,
    /// Bytes a second on the way down.
    pub download_limit: Option<u64>,
    /// How long the storage may be silent in the middle of a request; none is the usual time.
    pub idle: Option<Duration>,
}

impl S3Settings {
    pub(super) fn read(section: &mut Reader<'_>, endpoint: Option<String>) -> Option<Self> {
        let provider = read_provider(section)?;
        let bucket = needed(section, "bucket").filter(|bucket| is_bucket_name(section, bucket));
        let region = section
            .text("region")
            .filter(|region| is_header_safe(section, "region", region));
        let key = Key::read(section);
        let addressing =
            section.parsed::<AddressingChoice>("addressing", "one of auto, path, virtual");
        let checksum = section
            .parsed::<ChecksumChoice>("checksum", "one of auto, sha256, crc32c, crc64nvme, off");
        let (storage_class, encryption, wire) = (
            read_storage_class(section, provider),
            Encryption::read(section),
            Wire::read(section),
        );
        let endpoint = endpoint::read(
            section,
            endpoint,
            provider,
            region.as_deref(),
            bucket.as_deref(),
        )?;
        // What somebody calls "other" may be a provider that the table knows.
        let provider = if provider.id == "other" {
            provider::of_endpoint(&endpoint).unwrap_or(provider)
        } else {
            provider
        };
        if matches!(
            addressing,
            Some(AddressingChoice(Some(Addressing::Virtual)))
        ) && endpoint.domain().is_none()
        {
            section.problem(
                "addressing",
                "cannot be \"virtual\": no bucket name goes before an IP address",
            );
        }
        let (bucket, key, encryption) = (bucket?, key?, encryption?);
        Some(Self {
            region: Choice::of(region, || {
                provider
                    .region_in(&endpoint)
                    .unwrap_or_else(|| provider.region.clone())
            }),
            addressing: Choice::of(addressing.and_then(|choice| choice.0), || {
                usual_addressing(provider, &endpoint, &bucket)
            }),
            checksum: Choice::of(checksum.and_then(|choice| choice.0), || provider.checksum),
            provider,
            endpoint,
            bucket,
            access_key_id: key.id,
            secret_access_key: key.secret,
            session_token: key.token,
            storage_class,
            encryption,
            wire,
        })
    }

    /// What tells how a tar is kept with these settings from how it is with others; none of it is secret.
    pub(super) fn keeps(&self) -> String {
        sha256(format!("{} {:?}", self.encryption.fingerprint(), self.storage_class).as_bytes())
    }

    /// Whether a person chose something that a provider could tell.
    #[must_use]
    pub fn has_given(&self) -> bool {
        self.region.is_given || self.addressing.is_given || self.checksum.is_given
    }

    /// The same settings with all that a provider can tell open to change, to find out what it would tell.
    #[must_use]
    pub fn open_to_change(&self) -> Self {
        let mut open = self.clone();
        (
            open.region.is_given,
            open.addressing.is_given,
            open.checksum.is_given,
        ) = (false, false, false);
        // Virtual can be learned, but not unlearned: a host that does not exist tells nothing.
        open.addressing.value = usual_addressing(self.provider, &self.endpoint, &self.bucket);
        open
    }
}

impl Encryption {
    /// What tells it from another one, without the key itself.
    fn fingerprint(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Aes256 => "AES256".to_owned(),
            Self::Kms(key) => format!("KMS {key:?}"),
            Self::Customer(key) => format!("SSE-C {}", sha256(key.expose().as_bytes())),
        }
    }
}

impl<T> Choice<T> {
    fn of(given: Option<T>, otherwise: impl FnOnce() -> T) -> Self {
        let is_given = given.is_some();
        Self {
            value: given.unwrap_or_else(otherwise),
            is_given,
        }
    }
}

/// `auto` is no choice.
struct AddressingChoice(Option<Addressing>);
struct ChecksumChoice(Option<Checksum>);

impl std::str::FromStr for AddressingChoice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(Self(match text {
            "auto" => None,
            "path" => Some(Addressing::Path),
            "virtual" => Some(Addressing::Virtual),
            _ => return Err(()),
        }))
    }
}

impl std::str::FromStr for ChecksumChoice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(Self(match text {
            "auto" => None,
            "sha256" => Some(Checksum::Sha256),
            "crc32c" => Some(Checksum::Crc32c),
            "crc64nvme" => Some(Checksum::Crc64Nvme),
            "off" => Some(Checksum::Off),
            _ => return Err(()),
        }))
    }
}

/// The provider's, unless a certificate for `*.host` would not cover a bucket with a dot in its name. Source: "Virtual
/// hosting of buckets" in Amazon's user guide.
fn usual_addressing(provider: &Provider, endpoint: &Url, bucket: &str) -> Addressing {
    let is_covered = endpoint.scheme() == "http" || !bucket.contains('.');
    if is_covered && endpoint.domain().is_some() {
        provider.addressing
    } else {
        Addressing::Path
    }
}

fn read_provider(section: &mut Reader<'_>) -> Option<&'static Provider> {
    let Some(id) = section.text("provider") else {
        return provider::other();
    };
    provider::find(&id).or_else(|| {
        let nearest = provider::nearest(&id).map(|provider| provider.id.clone());
        let ask = nearest
            .as_ref()
            .map(|id| format!("did you mean \"{id}\"? "))
            .unwrap_or_default();
        let message =
            format!("\"{id}\" is not a known provider: {ask}\"other\" works with any endpoint");
        section.problem_with("provider", None, message, nearest);
        provider::other()
    })
}

/// An access key.
struct Key {
    id: String,
    secret: Secret,
    token: Option<Secret>,
}

impl Key {
    fn read(section: &mut Reader<'_>) -> Option<Self> {
        let token = section
            .text("session_token")
            .filter(|text| is_header_safe(section, "session_token", text));
        match section.text("credentials").as_deref() {
            None | Some("key") => {}
            Some("environment") => return Self::from_environment(section),
            Some(_) => section.problem("credentials", "must be \"key\" or \"environment\""),
        }
        let id = needed(section, "access_key_id");
        let secret = needed(section, "secret_access_key");
        Some(Self {
            id: id?,
            secret: Secret::new(secret?),
            token: token.map(Secret::new),
        })
    }

    /// The variables that Amazon's own tools read. Source: "Environment variables" in the AWS CLI's user guide.
    fn from_environment(section: &mut Reader<'_>) -> Option<Self> {
        if section.text("access_key_id").is_some() || section.text("secret_access_key").is_some() {
            section.problem(
                "credentials",
                "is \"environment\", so access_key_id and secret_access_key must go",
            );
        }
        let id = section.variable("credentials", "AWS_ACCESS_KEY_ID");
        let secret = section.variable("credentials", "AWS_SECRET_ACCESS_KEY");
        let token = section.optional_variable("AWS_SESSION_TOKEN");
        let id = id.filter(|id| is_safe_variable(section, "AWS_ACCESS_KEY_ID", id));
        let secret =
            secret.filter(|secret| is_safe_variable(section, "AWS_SECRET_ACCESS_KEY", secret));
        let token = token
            .filter(|token| is_safe_variable(section, "AWS_SESSION_TOKEN", token))
            .map(Secret::new);
        Some(Self {
            id: id?,
            secret: Secret::new(secret?),
            token,
        })
    }
}

impl Encryption {
    fn read(section: &mut Reader<'_>) -> Option<Self> {
        let key = section
            .text("encryption_key")
            .filter(|key| is_header_safe(section, "encryption_key", key));
        let encryption = match section.text("encryption").as_deref() {
            None | Some("none") => Self::None,
            Some("AES256") => Self::Aes256,
            Some("aws:kms") => return Some(Self::Kms(key)),
            Some("SSE-C") => return Self::customer(section, key),
            Some(_) => {
                section.problem("encryption", "must be one of none, AES256, aws:kms, SSE-C");
                return None;
            }
        };
        if key.is_some() {
            section.problem(
                "encryption_key",
                "is for encryption = \"aws:kms\" or \"SSE-C\" only",
            );
        }
        Some(encryption)
    }

    /// Source: "Using server-side encryption with customer-provided keys" in Amazon's user guide: 256 bits, Base64.
    fn customer(section: &mut Reader<'_>, key: Option<String>) -> Option<Self> {
        let key = key.filter(|key| BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 32));
        if key.is_none() {
            section.problem(
                "encryption_key",
                "must be 32 bytes in Base64: make one with `openssl rand -base64 32` and keep a copy, \
                 without it the backups cannot be read",
            );
        }
        Some(Self::Customer(Secret::new(key?)))
    }
}

impl Wire {
    fn read(section: &mut Reader<'_>) -> Self {
        let rate = "bytes a second, such as \"2 MiB\"";
        Self {
            ca_certificate: read_certificate(section),
            proxy: read_proxy(section),
            upload_limit: read_limit(section, "upload_limit", rate),
            download_limit: read_limit(section, "download_limit", rate),
            idle: read_idle(section),
        }
    }
}

/// The least that a limit can be; less would take a day for a gigabyte.
const MIN_LIMIT: u64 = 16 * 1024;

fn read_limit(section: &mut Reader<'_>, key: &str, wanted: &str) -> Option<u64> {
    let limit = section.parsed::<ByteSize>(key, wanted)?.0;
    if limit != 0 && limit < MIN_LIMIT {
        section.problem(
            key,
            "must be \"16 KiB\" a second or more, or 0 for no limit",
        );
    }
    Some(limit).filter(|limit| *limit > 0)
}

fn read_idle(section: &mut Reader<'_>) -> Option<Duration> {
    let seconds = section.parsed("idle_seconds", "a number of seconds")?;
    if !(1..=3600).contains(&seconds) {
        section.problem("idle_seconds", "must be a number from 1 to 3600");
    }
    Some(Duration::from_secs(seconds))
}

/// The largest file with certificates that is read.
const MAX_PEM_BYTES: u64 = 2 * 1024 * 1024;

/// A path or the PEM itself.
fn read_certificate(section: &mut Reader<'_>) -> Option<String> {
    let text = section.text("ca_certificate")?;
    let pem = if text.contains("-----BEGIN") {
        pem::with_lines(&text)
    } else if section.is_local() {
        match read_small(&text) {
            Ok(pem) => pem,
            Err(error) => {
                section.problem(
                    "ca_certificate",
                    format!("\"{text}\" cannot be read: {error}"),
                );
                return None;
            }
        }
    } else {
        section.problem(
            "ca_certificate",
            "must be the certificate itself, from -----BEGIN to -----END",
        );
        return None;
    };
    let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
    if certificates.is_ok_and(|certificates| !certificates.is_empty()) {
        return Some(pem);
    }
    section.problem("ca_certificate", "holds no certificate in PEM form");
    None
}

/// All authorities of a system have some 250 KiB.
fn read_small(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(MAX_PEM_BYTES + 1);
    file.read_to_string(&mut text)?;
    if text.len() as u64 <= MAX_PEM_BYTES {
        Ok(text)
    } else {
        Err(io::Error::other("it is too large"))
    }
}

fn read_proxy(section: &mut Reader<'_>) -> Option<Secret> {
    let text = section.text("proxy")?;
    let url = Url::parse(&text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if url.is_none() {
        section.problem(
            "proxy",
            "must be a URL such as \"http://proxy.example.com:3128\"",
        );
    }
    url.map(|url| Secret::new(url.as_str()))
}

fn read_storage_class(section: &mut Reader<'_>, provider: &Provider) -> Option<String> {
    let class = section
        .text("storage_class")
        .filter(|class| is_header_safe(section, "storage_class", class))?;
    let is_archive = matches!(class.as_str(), "GLACIER" | "DEEP_ARCHIVE")
        && !provider.storage_classes.contains(&class);
    if is_archive || provider.archive_classes.contains(&class) {
        let message = format!(
            "\"{class}\" must be restored at the provider for hours before a backup can be read"
        );
        section.problem_with("storage_class", Some(Reason::Archived), message, None);
    }
    Some(class)
}

fn needed(section: &mut Reader<'_>, key: &str) -> Option<String> {
    let text = section.text(key);
    if text.is_none() && !section.has_problem(key) {
        section.problem(key, "is missing");
    }
    text.filter(|text| is_header_safe(section, key, text))
}

/// These values travel in request headers and URLs, where nothing else is allowed.
fn is_safe(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_header_safe(section: &mut Reader<'_>, key: &str, text: &str) -> bool {
    let safe = is_safe(text);
    if !safe {
        let message =
            "holds a space or a character that is not ASCII: copy it from the provider once more";
        section.problem_with(key, Some(Reason::StrangeCharacter), message, None);
    }
    safe
}

fn is_safe_variable(section: &mut Reader<'_>, name: &str, text: &str) -> bool {
    let safe = is_safe(text);
    if !safe {
        let message = format!(
            "is \"environment\", and {name} holds a space or a character that is not printable ASCII"
        );
        section.problem_with("credentials", Some(Reason::StrangeCharacter), message, None);
    }
    safe
}

/// Source: "Bucket naming rules" in Amazon's user guide, and the capitals and underscores that older buckets have.
fn is_bucket_name(section: &mut Reader<'_>, bucket: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let valid = (3..=255).contains(&bucket.len()) && bucket.bytes().all(allowed);
    if !valid {
        section.problem(
            "bucket",
            format!("is the name alone: 3 or more letters, digits, \".\", \"-\" and \"_\", not \"{bucket}\""),
        );
    }
    valid
}
