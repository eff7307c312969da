//! The settings of one location.

use std::path::PathBuf;
use std::time::Duration;

use super::problem::Problem;
use super::reader::Reader;
use super::s3::S3Settings;
use super::verify::Verify;
use super::wire::Wire;
use crate::units::{MIB, sha256};

/// S3's own limit; a provider's row in the table may have a lower one.
const MAX_PARTS: u64 = 10_000;
/// `OpenStack` Swift's default. Source: `max_upload_part_num` in the documentation of its s3api middleware.
const MODEST_PARTS: u64 = 1000;
const LARGEST_MODEST_PART: u64 = 48 * MIB;

/// Bytes per second that justify a part in flight.
const WORTH_A_PART: u64 = 256 * 1024;

/// Where a location is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In the agent's configuration.
    Configuration,
    /// In Home Assistant, which registers it whenever it connects.
    Registered,
    /// The built-in directory: until there is another location, and as long as it holds backups from before.
    Embedded,
}

/// A location for backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Stable, URL-safe, without dots: Home Assistant builds its agent id from it.
    pub id: String,
    /// Whether the id is derived from the folder, because none is set.
    pub has_derived_id: bool,
    /// Name to show.
    pub name: String,
    /// A provider's id, such as `garage`; `other` if the table has no row for it, `directory` for `file://`.
    pub provider: String,
    /// The storage.
    pub backend: Backend,
    /// Folder in the bucket, without slashes around it; may be empty.
    pub prefix: String,
    /// Size of a part in bytes; it grows for a very large backup.
    pub part_size: u64,
    /// Parts of an upload, or ranges of a download, in flight.
    pub concurrency: usize,
    /// How long a transfer retries while the storage is unreachable.
    pub outage: Duration,
    /// Scheduled verification.
    pub verify: Option<Verify>,
    /// Where it is defined.
    pub origin: Origin,
}

/// The storage of a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// A bucket.
    S3(Box<S3Settings>),
    /// A directory or a mount.
    Directory(PathBuf),
}

impl Location {
    pub(super) fn read(section: &mut Reader<'_>) -> Option<Self> {
        Self::read_with(section, read_backend)
    }

    pub(super) fn read_with(
        section: &mut Reader<'_>,
        backend: impl FnOnce(&mut Reader<'_>) -> Option<Backend>,
    ) -> Option<Self> {
        let id = section.text("id");
        let name = section.text("name");
        let prefix = read_prefix(section);
        let part_size = section.number("part_size");
        let concurrency = section.count("concurrency");
        let outage = section.duration("outage_seconds");
        let verify = Verify::read(section);
        let backend = backend(section)?;
        let id = id.filter(|id| {
            let is_valid = is_valid_id(id);
            if !is_valid {
                section
                    .problem(
                        "id",
                        "may hold lower-case letters, digits, \"-\" and \"_\" only, 64 at most",
                    )
                    .of_kind("bad_id", []);
            }
            is_valid
        });
        let has_derived_id = id.is_none();
        let id = id.unwrap_or_else(|| derived_id(&backend, &prefix));
        Some(Self {
            id,
            has_derived_id,
            name: name.unwrap_or_else(|| default_name(&backend, &prefix)),
            provider: match &backend {
                Backend::Directory(_) => "directory".to_owned(),
                Backend::S3(s3) => s3.provider.id.clone(),
            },
            backend,
            prefix,
            part_size: part_size?,
            concurrency: concurrency?,
            outage: outage?,
            verify,
            origin: if section.is_local() {
                Origin::Configuration
            } else {
                Origin::Registered
            },
        })
    }

    /// Reads settings that arrive over the protocol: variables are not expanded, and files of this machine not read.
    /// Returns notes on corrected values as well.
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
    /// For an unknown provider, the lowest known limit applies as long as parts stay small: if the provider refused part
    /// 1,001, a thousand parts would be wasted.
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

    /// Identifies how these settings store a tar, without secrets. Uploads resume only if it is unchanged.
    #[must_use]
    pub fn keeps(&self) -> String {
        match &self.backend {
            Backend::S3(s3) => s3.keeps(),
            Backend::Directory(_) => String::new(),
        }
    }

    /// Parts of an upload in flight. Under a low limit, many parts would only be slow together.
    #[must_use]
    pub fn parts_in_flight(&self) -> usize {
        self.in_flight(|wire| wire.upload_limit)
    }

    /// Ranges of a download in flight.
    #[must_use]
    pub fn ranges_in_flight(&self) -> usize {
        self.in_flight(|wire| wire.download_limit)
    }

    /// The id of a location without an id of its own.
    #[must_use]
    pub fn derived_id(&self) -> String {
        derived_id(&self.backend, &self.prefix)
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

fn read_prefix(section: &mut Reader<'_>) -> String {
    let prefix = section.text("prefix").unwrap_or_default();
    let prefix = prefix.trim_matches('/').to_owned();
    let bad =
        |segment: &str| matches!(segment, "" | "." | "..") || segment.chars().any(char::is_control);
    if !prefix.is_empty() && prefix.split('/').any(bad) {
        section
            .problem(
                "prefix",
                "must be names with single slashes between them, such as \"home/cellar\"",
            )
            .of_kind("bad_folder", []);
    }
    prefix
}

fn read_backend(section: &mut Reader<'_>) -> Option<Backend> {
    let endpoint = section.text("endpoint");
    let Some(path) = endpoint
        .as_deref()
        .and_then(|endpoint| endpoint.strip_prefix("file://"))
    else {
        return S3Settings::read(section, endpoint).map(|settings| Backend::S3(Box::new(settings)));
    };
    // A directory has no provider.
    let _ = section.text("provider");
    if !path.starts_with('/') {
        section
            .problem(
                "endpoint",
                "must name a directory from the root, such as \"file:///mnt/backups\"",
            )
            .of_kind("no_directory", []);
    } else if !section.is_local() {
        section
            .problem(
                "endpoint",
                "a directory can be set in the agent's own configuration only",
            )
            .of_kind("no_directory", []);
    }
    Some(Backend::Directory(PathBuf::from(path)))
}

fn is_valid_id(id: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    // The protocol has the path `/v1/locations/check`.
    !id.is_empty() && id.len() <= 64 && id.bytes().all(allowed) && id != "check"
}

/// The same endpoint, bucket and prefix always give the same id, so that Home Assistant keeps its settings for it.
fn derived_id(backend: &Backend, prefix: &str) -> String {
    let folder = match backend {
        Backend::S3(s3) => format!("{}\n{}\n{prefix}", s3.endpoint, s3.bucket),
        Backend::Directory(path) => format!("{}\n{prefix}", path.display()),
    };
    format!("loc-{}", &sha256(folder.as_bytes())[..12])
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
