//! The archives in a tar, as the walker meets them, compared with the manifest.
//!
//! Home Assistant leaves an archive out when it encrypts or decrypts a backup and expects another name for it, without
//! an error: `_encrypt_backup` in `homeassistant/components/backup/util.py` expects `addons/local`, and Supervisor writes
//! `addons_local.tar.gz`. So what is missing is known only from the tar itself.

use std::collections::{BTreeMap, BTreeSet};

use super::header::BLOCK;
use super::securetar::is_tar;
use super::{Error, Manifest};
use crate::backup::Inventory;

/// Bytes at an archive's start that tell whether it is encrypted.
pub(super) const HEAD_BYTES: u64 = BLOCK as u64;

/// Limit for archives in a tar, beyond which no inventory is made. A backup has one per add-on and folder.
const MAX_ARCHIVES: usize = 1024;

/// Limit for the names of these archives in bytes, all together.
const MAX_NAME_BYTES: usize = 64 * 1024;

/// Limit for the names in each list of an inventory: it becomes part of the metadata.
const MAX_LISTED: usize = 100;

/// Limit for a name in an inventory in characters.
const MAX_LISTED_CHARS: usize = 100;

/// The archives in a tar; its memory is bounded for any input.
#[derive(Debug, Default)]
pub(super) struct Archives {
    /// In the order of the tar.
    found: Vec<Archive>,
    name_bytes: usize,
    is_over_limit: bool,
}

/// An archive in a backup's tar.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Without its ending.
    pub name: String,
    /// The byte of the tar where it begins.
    pub start: u64,
    /// In bytes.
    pub size: u64,
    content: Content,
}

impl Archive {
    /// Whether it is encrypted; `None` where its first bytes are neither SecureTar nor a tar.
    #[must_use]
    pub fn is_encrypted(&self) -> Option<bool> {
        match self.content {
            Content::Plain => Some(false),
            Content::Encrypted => Some(true),
            Content::Unknown => None,
        }
    }

    /// Whether it has content that is not plain.
    #[must_use]
    pub fn may_be_locked(&self) -> bool {
        self.size > 0 && self.is_encrypted() != Some(false)
    }
}

/// The archives in a tar, up to where it was read.
#[derive(Debug)]
pub struct FoundArchives {
    /// In the order of the tar.
    pub all: Vec<Archive>,
    /// Whether the tar was read to its end-of-archive mark.
    pub is_complete: bool,
}

impl FoundArchives {
    /// Returns the archive that tells whether a key is right: the first one that is not plain. `None` when all are.
    ///
    /// # Errors
    /// [`Error::Truncated`] and [`Error::NoArchive`].
    pub fn locked(&self) -> Result<Option<&Archive>, Error> {
        let locked = self.all.iter().find(|archive| archive.may_be_locked());
        match locked {
            None if !self.is_complete => Err(Error::Truncated),
            None if self.all.iter().all(|archive| archive.size == 0) => Err(Error::NoArchive),
            locked => Ok(locked),
        }
    }
}

/// What an archive's first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// A tar, compressed or not.
    Plain,
    /// An encrypted tar.
    Encrypted,
    /// An encrypted tar of the first format, which has no mark, or something else.
    Unknown,
}

impl Content {
    fn of(head: &[u8]) -> Self {
        if head.starts_with(b"SecureTar") {
            Self::Encrypted
        } else if is_tar(head) {
            Self::Plain
        } else {
            Self::Unknown
        }
    }
}

/// Returns the name of an archive without its ending, from an entry's name; `None` for other entries.
#[must_use]
pub fn archive_name(name: &[u8]) -> Option<&[u8]> {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    [&b".tar"[..], b".tar.gz", b".tgz"]
        .iter()
        .find_map(|ending| name.strip_suffix(*ending))
        .filter(|stem| !stem.is_empty())
}

impl Archives {
    /// Returns all archives, unless there are more than a backup has.
    pub(super) fn all(&self) -> Result<&[Archive], Error> {
        if self.is_over_limit {
            return Err(Error::TooManyFiles(MAX_ARCHIVES as u64));
        }
        Ok(&self.found)
    }

    /// Adds an archive of `size` bytes from byte `start` on, which begins with `head`.
    pub(super) fn add(&mut self, name: &[u8], start: u64, size: u64, head: &[u8]) {
        self.name_bytes = self.name_bytes.saturating_add(name.len());
        self.is_over_limit |= self.found.len() == MAX_ARCHIVES || self.name_bytes > MAX_NAME_BYTES;
        if !self.is_over_limit {
            self.found.push(Archive {
                name: String::from_utf8_lossy(name).into_owned(),
                start,
                size,
                content: Content::of(head),
            });
        }
    }

    /// Compares the archives with the manifest; `None` where there are more archives than a backup has.
    pub(super) fn inventory(&self, manifest: &Manifest) -> Option<Box<Inventory>> {
        if self.is_over_limit {
            return None;
        }
        let expected: BTreeSet<String> = manifest.archives().collect();
        let mut inventory = Inventory::default();
        let mut found = BTreeMap::new();
        for archive in &self.found {
            let is_again = found.insert(&*archive.name, archive).is_some();
            // Supervisor's own settings, which no manifest names.
            let is_known = expected.contains(&archive.name) || archive.name == "supervisor";
            if is_again || !is_known {
                inventory.unexpected.push(archive.name.clone());
            }
        }
        let is_there = |name: &String| found.contains_key(name.as_str());
        inventory
            .missing
            .extend(expected.iter().filter(|name| !is_there(name)).cloned());
        for (&name, archive) in &found {
            let list = match (archive.size, archive.content, manifest.is_protected()) {
                (0, ..) => &mut inventory.empty,
                (_, Content::Plain, true) => &mut inventory.not_encrypted,
                (_, Content::Encrypted, false) => &mut inventory.encrypted,
                _ => continue,
            };
            list.push(name.to_owned());
        }
        let faults = [
            &mut inventory.missing,
            &mut inventory.empty,
            &mut inventory.not_encrypted,
            &mut inventory.encrypted,
        ];
        inventory.complete = faults.iter().all(|names| names.is_empty());
        faults.into_iter().for_each(shorten);
        shorten(&mut inventory.unexpected);
        Some(inventory.into())
    }
}

/// Bounds a list of names; an ellipsis stands for what is left out.
fn shorten(names: &mut Vec<String>) {
    if names.len() > MAX_LISTED {
        names.truncate(MAX_LISTED - 1);
        names.push("…".to_owned());
    }
    for name in names {
        if let Some((end, _)) = name.char_indices().nth(MAX_LISTED_CHARS) {
            name.truncate(end);
            name.push('…');
        }
    }
}

#[cfg(test)]
mod tests;
