//! The journals as a bug report shows them. Nothing is locked or changed: uploads go on meanwhile.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use tokio::task::spawn_blocking;

use super::{Journals, Parsed, file, parse};

/// One journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::agent) struct JournalStatus {
    /// The bucket and its endpoint, or the directory.
    pub(in crate::agent) place: String,
    /// The tar's key.
    pub(in crate::agent) key: String,
    /// The backup.
    pub(in crate::agent) backup_id: String,
    /// Size of its parts in bytes.
    pub(in crate::agent) part_size: u64,
    /// Parts that are stored.
    pub(in crate::agent) parts: usize,
    /// Bytes of them.
    pub(in crate::agent) stored_bytes: u64,
    /// How long ago something was added.
    pub(in crate::agent) age_seconds: u64,
}

impl Journals {
    /// Whether there is a journal of an upload of this key, under way or left for the next attempt.
    pub(in crate::agent) async fn know(&self, place: &str, key: &str) -> bool {
        self.overview().await.iter().any(|status| status.place == place && status.key == key)
    }

    /// All journals that can be read, those of uploads under way included.
    pub(in crate::agent) async fn overview(&self) -> Vec<JournalStatus> {
        let folder = self.folder.clone();
        spawn_blocking(move || statuses(&folder)).await.unwrap_or_default()
    }
}

fn statuses(folder: &Path) -> Vec<JournalStatus> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| file::is_journal(path));
    let mut statuses: Vec<_> = paths.filter_map(|path| status(&path).ok().flatten()).collect();
    statuses.sort_by(|one, other| (&one.place, &one.key).cmp(&(&other.place, &other.key)));
    statuses
}

fn status(path: &Path) -> io::Result<Option<JournalStatus>> {
    let file = fs::File::open(path)?;
    let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    let mut text = Vec::new();
    file.take(file::MAX_BYTES).read_to_end(&mut text)?;
    Ok(parse(&text).map(|Parsed { header, parts, .. }| JournalStatus {
        place: header.place,
        key: header.key,
        backup_id: header.backup_id,
        part_size: header.part_size,
        parts: parts.len(),
        stored_bytes: parts.values().map(|part| part.size).sum(),
        age_seconds: age.as_secs(),
    }))
}
