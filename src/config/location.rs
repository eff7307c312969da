//! The settings of one location.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::Problem;
use super::reader::Reader;
use super::s3::{S3Settings, Wire};
use super::size::ByteSize;
use super::verify::Verify;
use crate::units::hex;

/// Parts are this large unless the location or a very large backup says otherwise.
pub const DEFAULT_PART_SIZE: u64 = 8 * MIB;
/// S3's own smallest part; the last one of an upload may be smaller.
/// Source: "Amazon S3 multipart upload limits" in Amazon's user guide.
pub const MIN_PART_SIZE: u64 = 5 * MIB;
/// Larger parts would only cost memory: 10,000 of these hold 5 TB, S3's largest object.
pub const MAX_PART_SIZE: u64 = 512 * MIB;
/// S3's own limit; a provider's row in the table may have a lower one.
const MAX_PARTS: u64 = 10_000;
/// `OpenStack` Swift's default. Source: `max_upload_part_num` in the documentation of its s3api middleware.
const MODEST_PARTS: u64 = 1000;
const LARGEST_MODEST_PART: u64 = 48 * MIB;
const MIB: u64 = 1024 * 1024;

/// Bytes a second that a part of its own is worth.
const WORTH_A_PART: u64 = 256 * 1024;
const DEFAULT_CONCURRENCY: usize = 4;
const DEFAULT_OUTAGE: Duration = Duration::from_mins(15);

/// Where a location is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In the agent's configuration.
    Configuration,
    /// In Home Assistant, which registers it whenever it connects.
    Registered,
    /// Nowhere: the directory that is there until somebody configures a bucket.
    Embedded,
}

/// A place for backups.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Whether its backups are verified on a schedule.
    pub verify: Option<Verify>,
    /// Where it is defined.
    pub origin: Origin,
}

/// What is behind a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// A bucket.
    S3(Box<S3Settings>),
    /// A directory or a mount.
    Directory(PathBuf),
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
            verify: None,
            origin: Origin::Embedded,
        }
    }

    pub(super) fn read(section: &mut Reader<'_>) -> Option<Self> {
        let id = section.text("id");
        let name = section.text("name");
        let prefix = read_prefix(section);
        let part_size = read_part_size(section);
        let concurrency = section
            .parsed("concurrency", "a number from 1 to 16")
            .unwrap_or(DEFAULT_CONCURRENCY);
        if !(1..=16).contains(&concurrency) {
            section.problem("concurrency", "must be a number from 1 to 16");
        }
        let outage = section
            .parsed("outage_seconds", "a number of seconds")
            .map_or(DEFAULT_OUTAGE, Duration::from_secs);
        let verify = Verify::read(section);
        let backend = read_backend(section)?;
        let provider = match &backend {
            Backend::Directory(_) => "directory".to_owned(),
            Backend::S3(s3) => s3.provider.id.clone(),
        };
        let id = id.unwrap_or_else(|| derived_id(&backend, &prefix));
        if !is_valid_id(&id) {
            section.problem(
                "id",
                "may hold lower-case letters, digits, \"-\" and \"_\" only, 64 at most",
            );
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
            verify,
            origin: if section.is_local() {
                Origin::Configuration
            } else {
                Origin::Registered
            },
        })
    }

    /// Reads settings that came over the protocol. They are taken as they are: no variables, no files of this machine.
    /// The second half of the answer is what was put right without asking.
    ///
    /// # Errors
    /// Every problem found.
    pub fn from_json(settings: &serde_json::Value) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let value: config::Value = serde_json::from_value(settings.clone())
            .map_err(|error| vec![Problem::new("settings", format!("cannot be read: {error}"))])?;
        let mut reader = Reader::remote(value);
        let location = Self::read(&mut reader);
        let (problems, notes) = reader.finish();
        match location {
            Some(location) if problems.is_empty() => Ok((location, notes)),
            _ => Err(problems),
        }
    }

    /// Parts that an upload of `size` bytes may have.
    ///
    /// Of a provider that nobody knows, no more are asked for than the most modest one takes, as long as parts stay small:
    /// where part 1,001 is refused, a thousand have travelled for nothing.
    #[must_use]
    pub fn max_parts(&self, size: u64) -> u64 {
        match &self.backend {
            Backend::S3(s3)
                if s3.provider.id == "other" && size < MODEST_PARTS * LARGEST_MODEST_PART =>
            {
                MODEST_PARTS
            }
            Backend::S3(s3) => s3.provider.max_parts,
            Backend::Directory(_) => MAX_PARTS,
        }
    }

    /// What tells how a tar is kept with these settings from how it is with others; none of it is secret.
    #[must_use]
    pub fn keeps(&self) -> String {
        match &self.backend {
            Backend::S3(s3) => s3.keeps(),
            Backend::Directory(_) => String::new(),
        }
    }

    /// Whether both are the same folder of the same bucket, however it is reached.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.place() == other.place()
    }

    /// Names the folder of the bucket, however it is reached.
    #[must_use]
    pub fn place(&self) -> String {
        place(&self.backend, &self.prefix)
    }

    /// Parts on their way up at the same time. Where a limit is low, many would only be slow together.
    #[must_use]
    pub fn parts_in_flight(&self) -> usize {
        self.in_flight(|wire| wire.upload_limit)
    }

    /// Ranges on their way down at the same time.
    #[must_use]
    pub fn ranges_in_flight(&self) -> usize {
        self.in_flight(|wire| wire.download_limit)
    }

    fn in_flight(&self, limit: impl Fn(&Wire) -> Option<u64>) -> usize {
        let limit = match &self.backend {
            Backend::S3(s3) => limit(&s3.wire),
            Backend::Directory(_) => None,
        };
        let worth = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit / WORTH_A_PART).unwrap_or(usize::MAX)
        });
        self.concurrency.min(worth).max(1)
    }
}

/// Two locations with one id would be one to HA: the first one keeps it.
pub(super) fn remove_duplicates(locations: &mut Vec<Location>, reader: &mut Reader<'_>) {
    let mut ids = HashSet::new();
    locations.retain(|location| {
        let is_first = ids.insert(location.id.clone());
        if !is_first {
            let id = &location.id;
            let message = format!(
                "has two locations with the id \"{id}\": give each its own id, or its own prefix"
            );
            reader.problem("locations", message);
        }
        is_first
    });
}

fn read_prefix(section: &mut Reader<'_>) -> String {
    let prefix = section.text("prefix").unwrap_or_default();
    let prefix = prefix.trim_matches('/').to_owned();
    let bad =
        |segment: &str| matches!(segment, "" | "." | "..") || segment.chars().any(char::is_control);
    if !prefix.is_empty() && prefix.split('/').any(bad) {
        section.problem(
            "prefix",
            "must be names with single slashes between them, such as \"home/cellar\"",
        );
    }
    prefix
}

fn read_part_size(section: &mut Reader<'_>) -> u64 {
    let part_size = section
        .parsed("part_size", "a size such as \"16 MiB\"")
        .map_or(DEFAULT_PART_SIZE, |ByteSize(size)| size);
    if !(MIN_PART_SIZE..=MAX_PART_SIZE).contains(&part_size) {
        section.problem("part_size", "must be from 5 MiB to 512 MiB");
    }
    part_size
}

fn read_backend(section: &mut Reader<'_>) -> Option<Backend> {
    let endpoint = section.text("endpoint");
    let Some(path) = endpoint
        .as_deref()
        .and_then(|endpoint| endpoint.strip_prefix("file://"))
    else {
        return S3Settings::read(section, endpoint).map(|settings| Backend::S3(Box::new(settings)));
    };
    // A "provider" beside it says nothing.
    let _ = section.text("provider");
    if !path.starts_with('/') {
        section.problem(
            "endpoint",
            "must name a directory from the root, such as \"file:///mnt/backups\"",
        );
    } else if !section.is_local() {
        section.problem(
            "endpoint",
            "a directory can be set in the agent's own configuration only",
        );
    }
    Some(Backend::Directory(PathBuf::from(path)))
}

fn is_valid_id(id: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    // `check` is a path of the protocol.
    !id.is_empty() && id.len() <= 64 && id.bytes().all(allowed) && id != "check"
}

/// The same endpoint, bucket and prefix always give the same id, so that HA keeps its settings for the location.
fn derived_id(backend: &Backend, prefix: &str) -> String {
    let hash = digest(&SHA256, place(backend, prefix).as_bytes());
    format!("loc-{}", hex(&hash.as_ref()[..6]))
}

fn place(backend: &Backend, prefix: &str) -> String {
    match backend {
        Backend::S3(s3) => format!("{}\n{}\n{prefix}", s3.endpoint, s3.bucket),
        Backend::Directory(path) => format!("{}\n{prefix}", path.display()),
    }
}

fn default_name(backend: &Backend, prefix: &str) -> String {
    let place = match backend {
        Backend::S3(s3) => s3.bucket.clone(),
        Backend::Directory(path) => path.display().to_string(),
    };
    if prefix.is_empty() {
        place
    } else {
        format!("{place}/{prefix}")
    }
}
