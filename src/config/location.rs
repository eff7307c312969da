//! The settings of one location.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::reader::Reader;
use super::secret::Secret;

/// Parts are this large unless the location or a very large backup says otherwise.
pub const DEFAULT_PART_SIZE: u64 = 8 * MIB;
/// S3's own smallest part; the last one of an upload may be smaller.
/// Source: "Amazon S3 multipart upload limits" in Amazon's user guide.
pub const MIN_PART_SIZE: u64 = 5 * MIB;
/// Larger parts would only cost memory: 10,000 of these hold 5 TB, S3's largest object.
pub const MAX_PART_SIZE: u64 = 512 * MIB;
const MIB: u64 = 1024 * 1024;

const DEFAULT_CONCURRENCY: usize = 4;
const DEFAULT_OUTAGE: Duration = Duration::from_mins(15);

/// Where a location is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In the agent's configuration.
    Configuration,
    /// Nowhere: the directory that is there until somebody configures a bucket.
    Embedded,
}

/// A place for backups.
#[derive(Debug, Clone)]
pub struct Location {
    /// Stable, URL-safe, without dots: HA makes its agent id of it.
    pub id: String,
    /// Name shown to people.
    pub name: String,
    /// A provider's name, such as `garage`; `other` when it is not one of the known ones, `directory` for `file://`.
    pub provider: String,
    /// What is behind it.
    pub backend: Backend,
    /// Folder in the bucket, without slashes around it; may be empty.
    pub prefix: String,
    /// Size of a part in bytes, before it grows for a very large backup.
    pub part_size: u64,
    /// Parts, or ranges of a download, on their way at the same time.
    pub concurrency: usize,
    /// How long a transfer waits for storage that is away.
    pub outage: Duration,
    /// Where it is defined.
    pub origin: Origin,
}

/// What is behind a location.
#[derive(Debug, Clone)]
pub enum Backend {
    /// A bucket.
    S3(S3Settings),
    /// A directory or a mount.
    Directory(PathBuf),
}

/// How to reach a bucket.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// URL of the S3 API, without the bucket.
    pub endpoint: url::Url,
    /// Region that requests are signed for.
    pub region: String,
    /// The bucket's name.
    pub bucket: String,
    /// Access key ID.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Token of a temporary key.
    pub session_token: Option<Secret>,
    /// Where the bucket's name goes.
    pub addressing: Addressing,
    /// How the provider checks what arrives.
    pub checksum: Checksum,
}

/// How the provider checks that what arrives is what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// By the SHA-256 that is part of the signature. Every provider does it.
    Sha256,
    /// By a CRC-64/NVME in a signed header, over content that is not hashed for the signature: half the CPU of an upload.
    Crc64Nvme,
}

impl Checksum {
    fn read(section: &mut Reader<'_>, provider: &str) -> Self {
        match section.text("checksum").as_deref() {
            Some("sha256") => Self::Sha256,
            Some("crc64nvme") => Self::Crc64Nvme,
            None | Some("auto") => Self::known_of(provider),
            Some(_) => {
                section.problem("checksum", "must be one of auto, sha256, crc64nvme");
                Self::Sha256
            }
        }
    }

    /// Providers that check a CRC-64/NVME; others refuse the header, or take it and do not look at it.
    ///
    /// Sources: "Checking object integrity" in Amazon's user guide; for Garage the tests of this repository.
    fn known_of(provider: &str) -> Self {
        match provider {
            "aws" | "garage" => Self::Crc64Nvme,
            _ => Self::Sha256,
        }
    }
}

/// Where the bucket's name goes in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// Into the path: every provider understands it.
    #[default]
    Path,
    /// Before the host name.
    Virtual,
}

impl FromStr for Addressing {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" | "path" => Ok(Self::Path),
            "virtual" => Ok(Self::Virtual),
            _ => Err(()),
        }
    }
}

/// A number of bytes, written as `8388608` or `8 MiB`.
struct Bytes(u64);

impl FromStr for Bytes {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(drop)?;
        let unit = match text[digits..].trim_start() {
            "" => 1,
            "KiB" => 1024,
            "MiB" => MIB,
            "GiB" => 1024 * MIB,
            _ => return Err(()),
        };
        number.checked_mul(unit).map(Self).ok_or(())
    }
}

impl Location {
    /// The directory that `serve` keeps backups in when nothing is configured.
    pub(super) fn embedded(state_dir: &Path) -> Self {
        Self {
            id: "local".into(),
            name: "Local directory".into(),
            provider: "directory".into(),
            backend: Backend::Directory(state_dir.join("local")),
            prefix: String::new(),
            part_size: DEFAULT_PART_SIZE,
            concurrency: DEFAULT_CONCURRENCY,
            outage: DEFAULT_OUTAGE,
            origin: Origin::Embedded,
        }
    }

    pub(super) fn read(section: &mut Reader<'_>) -> Option<Self> {
        let id = section.text("id");
        let name = section.text("name");
        let provider = section.text("provider").unwrap_or_else(|| "other".into());
        let prefix = read_prefix(section);
        let part_size = read_part_size(section);
        let concurrency = section.parsed("concurrency", "a number from 1 to 16").unwrap_or(DEFAULT_CONCURRENCY);
        if !(1..=16).contains(&concurrency) {
            section.problem("concurrency", "must be a number from 1 to 16");
        }
        let outage =
            section.parsed("outage_seconds", "a number of seconds").map_or(DEFAULT_OUTAGE, Duration::from_secs);
        let (backend, provider) = match read_backend(section, &provider)? {
            backend @ Backend::Directory(_) => (backend, "directory".to_owned()),
            backend @ Backend::S3(_) => (backend, provider),
        };
        let id = id.unwrap_or_else(|| derived_id(&backend, &prefix));
        if !is_valid_id(&id) {
            section.problem("id", "may hold lower-case letters, digits, \"-\" and \"_\" only, 64 at most");
        }
        let name = name.unwrap_or_else(|| default_name(&backend, &prefix));
        Some(Self {
            id,
            name,
            provider,
            backend,
            prefix,
            part_size,
            concurrency,
            outage,
            origin: Origin::Configuration,
        })
    }
}

/// Two locations with one id would be one to HA.
pub(super) fn note_duplicates(locations: &[Location], reader: &mut Reader<'_>) {
    for (index, location) in locations.iter().enumerate() {
        if locations[..index].iter().any(|other| other.id == location.id) {
            let message =
                format!("has two locations with the id \"{}\": give each its own id, or its own prefix", location.id);
            reader.problem("locations", message);
        }
    }
}

fn read_prefix(section: &mut Reader<'_>) -> String {
    let prefix = section.text("prefix").unwrap_or_default();
    let prefix = prefix.trim_matches('/').to_owned();
    let bad = |segment: &str| matches!(segment, "" | "." | "..") || segment.chars().any(char::is_control);
    if !prefix.is_empty() && prefix.split('/').any(bad) {
        section.problem("prefix", "must be names with single slashes between them, such as \"home/cellar\"");
    }
    prefix
}

fn read_part_size(section: &mut Reader<'_>) -> u64 {
    let part_size =
        section.parsed("part_size", "a size such as \"16 MiB\"").map_or(DEFAULT_PART_SIZE, |Bytes(size)| size);
    if !(MIN_PART_SIZE..=MAX_PART_SIZE).contains(&part_size) {
        section.problem("part_size", "must be from 5 MiB to 512 MiB");
    }
    part_size
}

fn read_backend(section: &mut Reader<'_>, provider: &str) -> Option<Backend> {
    let endpoint = section.text("endpoint");
    if let Some(path) = endpoint.as_deref().and_then(|endpoint| endpoint.strip_prefix("file://")) {
        if !path.starts_with('/') {
            section.problem("endpoint", "must name a directory from the root, such as \"file:///mnt/backups\"");
        }
        return Some(Backend::Directory(PathBuf::from(path)));
    }
    let bucket = needed(section, "bucket").filter(|bucket| is_bucket_name(section, bucket));
    let region = section.text("region").unwrap_or_else(|| "us-east-1".into());
    is_header_safe(section, "region", &region);
    let access_key_id = needed(section, "access_key_id");
    let secret_access_key = needed(section, "secret_access_key").map(Secret::new);
    let session_token = section.text("session_token").filter(|text| is_header_safe(section, "session_token", text));
    let addressing = section.parsed("addressing", "one of auto, path, virtual").unwrap_or_default();
    let checksum = Checksum::read(section, provider);
    let endpoint = read_endpoint(section, endpoint, provider, &region);
    Some(Backend::S3(S3Settings {
        endpoint: endpoint?,
        region,
        bucket: bucket?,
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        session_token: session_token.map(Secret::new),
        addressing,
        checksum,
    }))
}

fn needed(section: &mut Reader<'_>, key: &str) -> Option<String> {
    let text = section.text(key);
    if text.is_none() {
        section.problem(key, "is missing");
    }
    text.filter(|text| is_header_safe(section, key, text))
}

/// These values travel in request headers and URLs, where nothing else is allowed.
fn is_header_safe(section: &mut Reader<'_>, key: &str, text: &str) -> bool {
    let safe = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !safe {
        section.problem(key, "holds a space or a character that is not ASCII: copy it from the provider once more");
    }
    safe
}

/// Source: "Bucket naming rules" in Amazon's user guide, and the capitals and underscores that older buckets have.
fn is_bucket_name(section: &mut Reader<'_>, bucket: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let valid = (3..=255).contains(&bucket.len()) && bucket.bytes().all(allowed);
    if !valid {
        section
            .problem("bucket", format!("is the name alone, letters, digits, \".\", \"-\" and \"_\", not \"{bucket}\""));
    }
    valid
}

fn read_endpoint(section: &mut Reader<'_>, endpoint: Option<String>, provider: &str, region: &str) -> Option<url::Url> {
    let Some(text) = endpoint.or_else(|| (provider == "aws").then(|| format!("https://s3.{region}.amazonaws.com")))
    else {
        section.problem("endpoint", "is missing: the URL of the provider's S3 API, such as \"https://s3.example.com\"");
        return None;
    };
    let url = url::Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        section.problem(
            "endpoint",
            format!("must be a URL that starts with https:// or http://, not \"{}\"", redact(&text)),
        );
        return None;
    };
    if url.path() != "/" || url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
        section.problem(
            "endpoint",
            "must be scheme, host and port only; the bucket and the folder go into bucket and prefix",
        );
        return None;
    }
    Some(url)
}

/// A URL may hold a password; what is before an `@` is never repeated.
fn redact(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

fn is_valid_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    !id.is_empty() && id.len() <= 64 && id.bytes().all(allowed)
}

/// The same endpoint, bucket and prefix always give the same id, so that HA keeps its settings for the location.
fn derived_id(backend: &Backend, prefix: &str) -> String {
    let place = match backend {
        Backend::S3(s3) => format!("{}\n{}\n{prefix}", s3.endpoint, s3.bucket),
        Backend::Directory(path) => format!("{}\n{prefix}", path.display()),
    };
    let hash = digest(&SHA256, place.as_bytes());
    hash.as_ref().iter().take(6).fold("loc-".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

fn default_name(backend: &Backend, prefix: &str) -> String {
    let place = match backend {
        Backend::S3(s3) => s3.bucket.clone(),
        Backend::Directory(path) => path.display().to_string(),
    };
    if prefix.is_empty() { place } else { format!("{place}/{prefix}") }
}
