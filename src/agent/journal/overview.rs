//! Journals as diagnostics show them. Reading locks and changes nothing, so it is safe beside active uploads.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use super::{Header, Journals, Parsed, file, migrate, parse};
use crate::agent::folder::FolderId;

/// One journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::agent) struct JournalStatus {
    /// The folder.
    pub(in crate::agent) place: String,
    /// The tar's key.
    pub(in crate::agent) key: String,
    /// Id of the backup.
    pub(in crate::agent) backup_id: String,
    /// Size of its parts in bytes.
    pub(in crate::agent) part_size: u64,
    /// Number of stored parts.
    pub(in crate::agent) parts: usize,
    /// Bytes in these parts.
    pub(in crate::agent) stored_bytes: u64,
    /// Seconds since the last line.
    pub(in crate::agent) age_seconds: u64,
}

impl Journals {
    /// Headers of all uploads of this key, active or interrupted.
    pub(in crate::agent) async fn of_key(&self, folder: &FolderId, key: &str) -> Vec<Header> {
        let mut headers: Vec<_> = self
            .read_all()
            .await
            .map(|(parsed, _)| parsed.header)
            .collect();
        headers.retain(|header| header.folder == *folder && header.key == key);
        headers
    }

    /// All readable journals, those of active uploads included.
    pub(in crate::agent) async fn overview(&self) -> Vec<JournalStatus> {
        let all = self.read_all().await;
        let mut statuses: Vec<_> = all.map(JournalStatus::from).collect();
        statuses.sort_by(|one, other| (&one.place, &one.key).cmp(&(&other.place, &other.key)));
        statuses
    }

    /// All readable journals with the time since their last line.
    async fn read_all(&self) -> impl Iterator<Item = (Parsed, Duration)> + use<> {
        let folder = self.folder.clone();
        let read = spawn_blocking(move || {
            file::journals(&folder)
                .into_iter()
                .filter_map(|path| read(&path).ok().flatten())
                .collect::<Vec<_>>()
        });
        read.await.unwrap_or_default().into_iter()
    }
}

impl From<(Parsed, Duration)> for JournalStatus {
    fn from((Parsed { header, parts, .. }, age): (Parsed, Duration)) -> Self {
        Self {
            place: header.folder.to_string(),
            key: header.key,
            backup_id: header.backup_id,
            part_size: header.part_size,
            parts: parts.len(),
            stored_bytes: parts.values().map(|part| part.size).sum(),
            age_seconds: age.as_secs(),
        }
    }
}

fn read(path: &Path) -> io::Result<Option<(Parsed, Duration)>> {
    let file = fs::File::open(path)?;
    let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    let mut text = Vec::new();
    file.take(file::MAX_BYTES).read_to_end(&mut text)?;
    let text = migrate::upgraded(&text).unwrap_or(text);
    Ok(parse(&text).map(|parsed| (parsed, age)))
}
