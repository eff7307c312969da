//! Keys of all objects that the agent reads or writes.
//!
//! `{prefix}/backups/{stem}.tar` and `{prefix}/backups/{stem}.metadata.json`. Keys are kept byte for byte as the bucket
//! has them. A tar's key is found from its metadata's key, never from the backup's name, so renamed files keep working.

use std::fmt;

const FOLDER: &str = "backups/";
const TAR: &str = ".tar";
const METADATA: &str = ".metadata.json";
/// Name of a probe: like a backup's, with characters that some proxies change, and without the dot at the start that
/// some refuse. Each folder has one, so that no number of checks leaves more than one object.
const PROBE: &str = "s3-backup-agent-check \u{e4}+(1)#.tar";

/// Name of a probe whose content is a part: an earlier one that cannot be deleted tells of parts only.
const PROBE_OF_PARTS: &str = "s3-backup-agent-check \u{e4}+(1)# part.tar";

/// Start of the name of a probe of agents of version 0.1.
const OLD_PROBE: &str = ".s3-backup-agent-check-";

/// Longest stem that the agent writes: S3 allows keys of 1,024 bytes, with the prefix and the ending. File systems allow
/// 255 bytes for one name.
const MAX_STEM_BYTES: usize = 200;

/// The key of one object, without a leading slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// Role of an object in a location's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A backup.
    Tar,
    /// A backup's metadata.
    Metadata,
    /// A foreign object, which the agent never touches.
    Foreign,
}

impl Key {
    /// Wraps a key as the bucket has it.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key as the bucket has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Role of the object, by its ending.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.is_probe() {
            Role::Foreign
        } else if self.0.ends_with(METADATA) {
            Role::Metadata
        } else if self.0.ends_with(TAR) {
            Role::Tar
        } else {
            Role::Foreign
        }
    }

    /// Whether this is a companion that macOS writes beside a file on foreign file systems: `._NAME`. It is never a backup.
    #[must_use]
    pub fn is_resource_fork(&self) -> bool {
        self.0[self.folder().len()..].starts_with("._")
    }

    /// Stem of a metadata object in this folder.
    #[must_use]
    pub fn stem_in(&self, folder: &str) -> Option<&str> {
        self.0.strip_prefix(folder)?.strip_suffix(METADATA)
    }

    /// Key of a probe in the same folder, in one request or in a part.
    pub(super) fn probe_beside(&self, is_part: bool) -> Self {
        let name = if is_part { PROBE_OF_PARTS } else { PROBE };
        Self(format!("{}{name}", self.folder()))
    }

    fn is_probe(&self) -> bool {
        let name = &self.0[self.folder().len()..];
        matches!(name, PROBE | PROBE_OF_PARTS) || name.starts_with(OLD_PROBE)
    }

    /// Its folder, with a slash at the end.
    pub(super) fn folder(&self) -> &str {
        self.0.rfind('/').map_or("", |slash| &self.0[..=slash])
    }

    /// Whether it is in the folder of another location below this one.
    #[must_use]
    pub fn is_in_location_below(&self, folder: &str) -> bool {
        let below = self.0.strip_prefix(folder).unwrap_or(&self.0);
        below.starts_with(FOLDER) || below.contains(&format!("/{FOLDER}"))
    }

    /// Metadata object of this tar: same stem, other ending.
    #[must_use]
    pub fn metadata_of_tar(&self) -> Option<Self> {
        self.0
            .strip_suffix(TAR)
            .map(|stem| Self(format!("{stem}{METADATA}")))
    }

    /// Tar of this metadata object: same stem, other ending.
    #[must_use]
    pub fn tar_of_metadata(&self) -> Option<Self> {
        self.0
            .strip_suffix(METADATA)
            .map(|stem| Self(format!("{stem}{TAR}")))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Folder of the flat layout, with the objects directly under the prefix.
#[must_use]
pub fn flat_folder(prefix: &str) -> String {
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() {
        String::new()
    } else {
        format!("{prefix}/")
    }
}

/// Keys of one location.
#[derive(Debug, Clone)]
pub struct Keys {
    folder: String,
}

impl Keys {
    /// Keys under `prefix`, which may be empty.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            folder: flat_folder(prefix) + FOLDER,
        }
    }

    /// Folder that every key of this location starts with.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Key of a backup's tar.
    #[must_use]
    pub fn tar(&self, stem: &Stem) -> Key {
        Key(format!("{}{}{TAR}", self.folder, stem.0))
    }

    /// Key of a backup's metadata object.
    #[must_use]
    pub fn metadata(&self, stem: &Stem) -> Key {
        Key(format!("{}{}{METADATA}", self.folder, stem.0))
    }

    /// Key of a check's probe.
    #[must_use]
    pub fn probe(&self) -> Key {
        Key(format!("{}{PROBE}", self.folder))
    }

    /// Whether an agent writes such a key for this location: neither foreign nor of a location below.
    #[must_use]
    pub fn may_be_ours(&self, key: &Key) -> bool {
        let Some(name) = key.0.strip_prefix(&self.folder) else {
            return false;
        };
        let is_probe = key.is_probe() && !name.contains('/');
        (is_probe || key.role() != Role::Foreign) && !key.is_in_location_below(&self.folder)
    }
}

/// Part of a key between the folder and the ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stem(String);

impl Stem {
    /// Stem for a suggested file name, with or without `.tar`.
    ///
    /// A slash stays: other writers of this layout keep it, and find the tar by the backup's name. Control
    /// characters and segments that no client can address (empty, `.`, `..`) become `_`. A segment named like a location's
    /// folder gets a `_`: objects below it would belong to another location.
    #[must_use]
    pub fn from_filename(filename: &str) -> Self {
        let name = filename.strip_suffix(TAR).unwrap_or(filename);
        let segments: Vec<String> = name.split('/').map(clean_segment).collect();
        Self(truncate(segments.join("/")))
    }

    /// Stem for this attempt, after the earlier ones were taken: itself, then with the backup's id, then with a number as
    /// well.
    #[must_use]
    pub fn attempt(&self, attempt: usize, backup_id: &str) -> Self {
        let id = truncate(clean_segment(backup_id));
        match attempt {
            0 => self.clone(),
            1 => Self(format!("{}_{id}", self.0)),
            more => Self(format!("{}_{id}_{more}", self.0)),
        }
    }
}

fn clean_segment(segment: &str) -> String {
    match segment {
        "" | "." | ".." => return "_".repeat(segment.len().max(1)),
        "backups" => return "backups_".to_owned(),
        _ => {}
    }
    segment
        .chars()
        .map(|c| if c.is_control() || c == '/' { '_' } else { c })
        .collect()
}

fn truncate(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_STEM_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_may_be_empty_and_is_trimmed_of_slashes() {
        let stem = Stem::from_filename("Nightly_2026.tar");
        assert_eq!(
            Keys::new("").tar(&stem).as_str(),
            "backups/Nightly_2026.tar"
        );
        assert_eq!(
            Keys::new("/a/b/").metadata(&stem).as_str(),
            "a/b/backups/Nightly_2026.metadata.json"
        );
    }

    #[test]
    fn foreign_keys_are_not_ours() {
        let keys = Keys::new("home");
        for ours in [
            "home/backups/a.tar",
            "home/backups/a/b.metadata.json",
            "home/backups/.s3-backup-agent-check-1",
            keys.probe().as_str(),
        ] {
            assert!(keys.may_be_ours(&Key::new(ours)), "{ours}");
        }
        for other in [
            "backups/a.tar",
            "home2/backups/a.tar",
            "home/a.tar",
            "home/backups/a.zip",
            "home/backups/in/backups/a.tar",
        ] {
            assert!(!keys.may_be_ours(&Key::new(other)), "{other}");
        }
    }

    #[test]
    fn addressable_names_are_kept_byte_for_byte() {
        for name in [
            "a/b_#1",
            "50%+[x]\"'ä😀",
            "x.y",
            "a..b",
            " lead",
            "~^`{}<>|\\",
        ] {
            assert_eq!(Stem::from_filename(&format!("{name}.tar")).0, name);
        }
        for (name, stem) in [
            ("a\u{7}b", "a_b"),
            ("../x", "__/x"),
            ("/x", "_/x"),
            ("a//b", "a/_/b"),
            (".", "_"),
            ("", "_"),
            ("my/backups/x", "my/backups_/x"),
        ] {
            assert_eq!(Stem::from_filename(name).0, stem, "{name:?}");
        }
    }

    #[test]
    fn long_name_is_cut_between_characters() {
        let stem = Stem::from_filename(&"ä".repeat(300));
        assert_eq!(stem.0, "ä".repeat(100));
    }

    #[test]
    fn tar_key_follows_from_metadata_key() {
        let key = Key::new("p/backups/renamed by hand.metadata.json");
        assert_eq!(key.role(), Role::Metadata);
        assert_eq!(
            key.tar_of_metadata(),
            Some(Key::new("p/backups/renamed by hand.tar"))
        );
        assert_eq!(key.tar_of_metadata().unwrap().metadata_of_tar(), Some(key));
        assert_eq!(Key::new("p/backups/x.tar").tar_of_metadata(), None);
    }

    /// A probe that is left behind is no backup without its description.
    #[test]
    fn probe_is_named_like_a_backup_and_is_none() {
        let probe = Keys::new("p").probe();
        assert!(probe.as_str().starts_with("p/backups/s3-"));
        assert!(probe.as_str().strip_suffix(TAR).is_some());
        let beside = |is_part| Key::new("p/backups/a.tar").probe_beside(is_part);
        let old = Key::new("p/backups/.s3-backup-agent-check-1");
        for probe in [
            probe,
            beside(false),
            beside(true),
            old,
            Keys::new("").probe(),
        ] {
            assert_eq!(probe.role(), Role::Foreign, "{probe}");
        }
        assert_eq!(Key::new("p/backups/a #.tar").role(), Role::Tar);
    }
}
