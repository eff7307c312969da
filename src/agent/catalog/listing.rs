//! Result of one scan.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use super::entry::{Entry, Metadata};
use super::rows::{self, Row};
use crate::agent::model::{Numbers, SkipCode, SkipCounts, Skipped};
use crate::backup::Damage;
use crate::error::Error;
use crate::store::{Key, Object};

/// Limit for incomplete backups that a location's status names: it is sent at each change.
const MAX_INCOMPLETE: usize = 100;

/// A list as it was scanned.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The backups, one per id.
    pub entries: Vec<Entry>,
    /// Objects that are not listed.
    pub skipped: Vec<Skipped>,
    /// Skipped duplicates of listed backups.
    pub copies: Vec<Entry>,
    /// Tars without metadata, including those of uploads in progress.
    pub orphans: Vec<Object>,
    /// Why some metadata could not be read: backups may be missing from the list.
    pub unread: Option<Error>,
    /// When the scan started.
    pub taken: Instant,
    pub(super) rows: OnceLock<Arc<[Row]>>,
}

/// A list as it is served.
#[derive(Debug)]
pub struct View {
    /// The list.
    pub listing: Arc<Listing>,
    /// Why the list is stale.
    pub error: Option<Error>,
}

impl Listing {
    pub(super) fn new(skipped: Vec<Skipped>, taken: Instant) -> Self {
        Self {
            entries: Vec::new(),
            skipped,
            copies: Vec::new(),
            orphans: Vec::new(),
            unread: None,
            taken,
            rows: OnceLock::new(),
        }
    }

    /// Whether the folder has no backup, neither a listed nor an unusable one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.skipped.is_empty() && self.unread.is_none()
    }

    /// The backups as rows, newest first. Parsed once per list.
    #[must_use]
    pub fn rows(&self) -> Arc<[Row]> {
        Arc::clone(self.rows.get_or_init(|| rows::rows(&self.entries)))
    }

    /// The backup with this id.
    #[must_use]
    pub fn find(&self, backup_id: &str) -> Option<Entry> {
        self.entries
            .iter()
            .find(|entry| entry.metadata.backup_id == backup_id)
            .cloned()
    }

    /// The backup with this id, and earlier uploads of it that were not removed when the last one completed.
    pub(in crate::agent) fn find_all(&self, backup_id: &str) -> Option<(Entry, Vec<Entry>)> {
        // The id in damaged metadata may be another backup's.
        let is_copy = |entry: &&Entry| {
            let metadata = &entry.metadata;
            metadata.backup_id == backup_id
                && metadata.sha256().is_some()
                && !metadata.damage.as_ref().is_some_and(Damage::is_change)
        };
        let copies = self.copies.iter().filter(is_copy).cloned().collect();
        Some((self.find(backup_id)?, copies))
    }

    /// Key of the skipped metadata object beside this tar.
    #[must_use]
    pub fn metadata_of(&self, tar: &str) -> Option<&str> {
        let metadata = Key::new(tar).metadata_of_tar()?;
        self.skipped
            .iter()
            .map(|skipped| &*skipped.key)
            .find(|key| *key == metadata.as_str())
    }

    /// Its figures.
    pub(in crate::agent) fn numbers(&self) -> Numbers {
        let uploads = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry.metadata.uploaded_at()?, entry)));
        Numbers {
            backups: Some(self.entries.len()),
            size_bytes: Some(self.entries.iter().map(|entry| entry.tar.size).sum()),
            last_upload: uploads
                .max_by_key(|(at, _)| *at)
                .and_then(|(_, entry)| entry.as_last_upload()),
            skipped: Some(SkipCounts::of(&self.skipped)),
            incomplete: Some(self.incomplete()),
        }
    }

    fn incomplete(&self) -> Vec<String> {
        let incomplete = self.entries.iter().map(|entry| &entry.metadata);
        let mut incomplete: Vec<_> = incomplete
            .filter(|metadata| metadata.faults().is_some())
            .collect();
        incomplete.sort_by_cached_key(|metadata| {
            Reverse((metadata.uploaded_at(), metadata.backup_id.clone()))
        });
        let ids = incomplete.into_iter().take(MAX_INCOMPLETE);
        ids.map(|metadata| metadata.backup_id.clone()).collect()
    }

    /// All entries, including duplicates.
    pub(super) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().chain(&self.copies)
    }

    /// The same list without this backup.
    pub(super) fn without(&self, backup_id: &str) -> Self {
        let mut others = self.clone();
        let is_other = |entry: &Entry| entry.metadata.backup_id != backup_id;
        others.entries.retain(is_other);
        others.copies.retain(is_other);
        others.rows = OnceLock::new();
        others
    }

    pub(super) fn add(&mut self, key: Key, tar: Object, metadata: Result<Arc<Metadata>, String>) {
        let reason = match metadata {
            Ok(metadata) => match &metadata.stored {
                Some(stored) if stored.size != tar.size => format!(
                    "its tar has {} bytes, not the {} that were uploaded",
                    tar.size, stored.size
                ),
                _ => return self.entries.push(Entry { key, metadata, tar }),
            },
            Err(reason) => reason,
        };
        self.skip(&key, SkipCode::InvalidMetadata, reason);
    }

    pub(super) fn skip(&mut self, key: &Key, code: SkipCode, reason: impl Into<String>) {
        self.skipped.push(Skipped::new(key.as_str(), code, reason));
    }

    /// Keeps one entry per id, because HA identifies a backup by its id alone: the agent's last upload wins, then the
    /// last by name.
    pub(super) fn skip_duplicates(&mut self) {
        let mut best: HashMap<&str, usize> = HashMap::new();
        let uploaded_at = |entry: &Entry| {
            let stored = entry.metadata.stored.as_ref();
            stored.map(|stored| stored.uploaded_at.clone())
        };
        let rank = |entry: &Entry| (uploaded_at(entry), entry.key.clone());
        for (index, entry) in self.entries.iter().enumerate() {
            let held = best.entry(&entry.metadata.backup_id).or_insert(index);
            if rank(entry) > rank(&self.entries[*held]) {
                *held = index;
            }
        }
        if best.len() == self.entries.len() {
            return;
        }
        let kept: HashSet<usize> = best.into_values().collect();
        for (index, entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if kept.contains(&index) {
                self.entries.push(entry);
                continue;
            }
            let reason = format!(
                "another object has the same backup id, \"{}\"",
                entry.metadata.backup_id
            );
            self.skip(&entry.key, SkipCode::Duplicate, reason);
            self.copies.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn last_uploaded_incomplete_backups_are_named() {
        let mut listing = Listing::new(Vec::new(), Instant::now());
        for number in 0..=MAX_INCOMPLETE {
            let complete = number == MAX_INCOMPLETE - 1;
            let inventory = json!({"complete": complete, "missing": ["share"], "empty": [],
                "not_encrypted": [], "encrypted": []});
            let at = format!("2026-11-20T04:{:02}:{:02}Z", number / 60, number % 60);
            let backup = json!({"backup_id": number.to_string(), "date": "2026-11-20", "name": "Nightly", "size": 7,
                "s3_backup_agent": {"format": 1, "size": 7, "sha256": null, "part_size": null, "uploaded_at": at,
                "agent_version": "0.2.0", "inventory": inventory}});
            listing.entries.push(rows::entry(&backup));
        }
        let named = listing.numbers().incomplete.unwrap();
        let expected = (0..=MAX_INCOMPLETE)
            .rev()
            .filter(|it| *it != MAX_INCOMPLETE - 1);
        assert_eq!(named, expected.map(|it| it.to_string()).collect::<Vec<_>>());
        assert_eq!(
            listing.without("100").numbers().incomplete.unwrap()[0],
            "98"
        );
    }

    #[test]
    fn rows_follow_a_deletion() {
        let mut listing = Listing::new(Vec::new(), Instant::now());
        for id in ["a", "b"] {
            let backup = json!({"backup_id": id, "date": "2026-11-20", "name": id, "size": 7});
            listing.entries.push(rows::entry(&backup));
        }
        assert_eq!(listing.rows().len(), 2);
        let left = listing.without("a").rows();
        assert_eq!(left.iter().map(|row| &*row.name).collect::<Vec<_>>(), ["b"]);
    }
}
