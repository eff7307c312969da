//! A list as a table.

use serde::Deserialize;

use super::entry::Entry;
use super::listing::Listing;
use crate::backup::parse_date;

/// A backup as one row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Row {
    /// Id of the backup.
    pub backup_id: String,
    /// Creation time, ISO 8601, as Home Assistant wrote it.
    pub date: String,
    /// Name of the backup.
    pub name: String,
    /// Size of the tar in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
}

impl Listing {
    /// The backups, newest first.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row = |entry: &Entry| {
            let row: Row = serde_json::from_str(entry.metadata.json.get()).ok()?;
            Some(Row {
                size_bytes: entry.tar.size,
                ..row
            })
        };
        let mut rows: Vec<Row> = self.entries.iter().filter_map(row).collect();
        rows.sort_by_cached_key(|row| std::cmp::Reverse((parse_date(&row.date), row.date.clone())));
        rows
    }
}
