//! Identity of a folder: the endpoint, bucket and prefix that several locations may share.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use super::location::{Backend, Location};

/// Identity of one `prefix/backups/` in one bucket or directory. Journals and verification records are stored under it.
///
/// Canonical: credentials, addressing, a default port, the host's case and slashes at the end make no difference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FolderId {
    #[serde(flatten)]
    storage: Storage,
    prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Storage {
    Bucket { endpoint: String, bucket: String },
    Directory { directory: PathBuf },
}

impl FolderId {
    fn new(storage: Storage, prefix: &str) -> Self {
        Self {
            storage,
            prefix: prefix.trim_matches('/').to_owned(),
        }
    }

    /// Whether both are in the same bucket or directory.
    #[must_use]
    pub fn is_same_storage(&self, other: &Self) -> bool {
        self.storage == other.storage
    }

    /// Reads the identity in a journal of version 0.1: the storage's name in messages, and the key of a tar.
    ///
    /// A stem has no segment `backups` (`Stem::from_filename`), so the last one in the key ends the prefix.
    #[must_use]
    pub fn from_journal_of_0_1(place: &str, key: &str) -> Option<Self> {
        let storage = if let Some(bucket) = place.strip_prefix("bucket \"") {
            let (bucket, endpoint) = bucket.split_once("\" at ")?;
            Storage::bucket(&Url::parse(endpoint).ok()?, bucket)
        } else {
            let path = place.strip_prefix("directory \"")?.strip_suffix('"')?;
            Storage::directory(Path::new(path))
        };
        let prefix = match key.rsplit_once("/backups/") {
            Some((prefix, _)) => prefix,
            None => key.strip_prefix("backups/").map(|_| "")?,
        };
        Some(Self::new(storage, prefix))
    }

    /// Reads the identity in a verification record of version 0.1: endpoint, bucket and prefix, or path and prefix, each
    /// on a line of its own.
    #[must_use]
    pub fn from_record_of_0_1(place: &str) -> Option<Self> {
        let (storage, prefix) = place.rsplit_once('\n')?;
        let storage = match storage.split_once('\n') {
            Some((endpoint, bucket)) => Storage::bucket(&Url::parse(endpoint).ok()?, bucket),
            None => Storage::directory(Path::new(storage)),
        };
        Some(Self::new(storage, prefix))
    }
}

impl Storage {
    fn bucket(endpoint: &Url, bucket: &str) -> Self {
        let origin = endpoint.origin().ascii_serialization();
        Self::Bucket {
            endpoint: origin + endpoint.path().trim_end_matches('/'),
            bucket: bucket.to_owned(),
        }
    }

    fn directory(path: &Path) -> Self {
        Self::Directory {
            directory: path.components().collect(),
        }
    }
}

impl From<&Location> for FolderId {
    fn from(location: &Location) -> Self {
        let storage = match &location.backend {
            Backend::S3(s3) => Storage::bucket(&s3.endpoint, &s3.bucket),
            Backend::Directory(path) => Storage::directory(path),
        };
        Self::new(storage, &location.prefix)
    }
}

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.storage {
            Storage::Bucket { endpoint, bucket } => write!(f, "{endpoint}/{bucket}/")?,
            Storage::Directory { directory } => write!(f, "{}/", directory.display())?,
        }
        if !self.prefix.is_empty() {
            write!(f, "{}/", self.prefix)?;
        }
        f.write_str("backups/")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A location on a bucket.
    pub(crate) fn bucket(endpoint: &str, prefix: &str) -> Location {
        let settings = json!({"endpoint": endpoint, "bucket": "ha-backups", "prefix": prefix,
            "access_key_id": "key", "secret_access_key": "secret"});
        Location::from_json(&settings).unwrap().0
    }

    /// A location in a directory.
    pub(crate) fn directory(path: &str, prefix: &str) -> Location {
        Location {
            backend: Backend::Directory(path.into()),
            ..bucket("https://s3.example.com", prefix)
        }
    }

    #[test]
    fn spelling_of_endpoint_and_prefix_makes_no_difference() {
        let id = FolderId::from(&bucket("https://s3.example.com", "home"));
        for (endpoint, prefix) in [
            ("https://s3.example.com/", "home/"),
            ("HTTPS://S3.Example.COM:443", "/home"),
        ] {
            assert_eq!(FolderId::from(&bucket(endpoint, prefix)), id, "{endpoint}");
        }
        let below = FolderId::from(&bucket("https://s3.example.com/s3/a@b", ""));
        let spelt = FolderId::from(&bucket("https://s3.example.com:443/s3/a%40b/", ""));
        assert_eq!(spelt, below);
        let path = FolderId::from(&directory("/mnt/usb", ""));
        assert_eq!(FolderId::from(&directory("/mnt/./usb//", "/")), path);
    }

    #[test]
    fn other_scheme_port_bucket_or_prefix_is_another_folder() {
        let ids = [
            bucket("https://s3.example.com", "home"),
            bucket("http://s3.example.com", "home"),
            bucket("https://s3.example.com:8443", "home"),
            bucket("https://s3.example.com/s3", "home"),
            bucket("https://s3.example.com", ""),
            directory("/mnt/usb", "home"),
            directory("/mnt/usb/home", ""),
        ]
        .map(|location| FolderId::from(&location));
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn json_and_text_are_stable() {
        for (location, json, text) in [
            (
                bucket("https://s3.example.com", "home/cellar"),
                json!({"endpoint": "https://s3.example.com", "bucket": "ha-backups", "prefix": "home/cellar"}),
                "https://s3.example.com/ha-backups/home/cellar/backups/",
            ),
            (
                directory("/mnt/usb/", ""),
                json!({"directory": "/mnt/usb", "prefix": ""}),
                "/mnt/usb/backups/",
            ),
        ] {
            let id = FolderId::from(&location);
            assert_eq!(serde_json::to_value(&id).unwrap(), json);
            assert_eq!(serde_json::from_value::<FolderId>(json).unwrap(), id);
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn record_of_0_1_is_recognised() {
        for (text, location) in [
            (
                "https://s3.example.com/\nha-backups\nhome",
                bucket("https://s3.example.com", "home"),
            ),
            (
                "http://127.0.0.1:3900/\nha-backups\n",
                bucket("http://127.0.0.1:3900", ""),
            ),
            ("/mnt/usb\n", directory("/mnt/usb", "")),
            ("/mnt/usb\nhome", directory("/mnt/usb", "home")),
        ] {
            let read = FolderId::from_record_of_0_1(text);
            assert_eq!(read, Some(FolderId::from(&location)), "{text}");
        }
        for text in ["", "here", "not a URL\nha-backups\n"] {
            assert_eq!(FolderId::from_record_of_0_1(text), None, "{text}");
        }
    }
}
