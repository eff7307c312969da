//! A list as people read it.

use chrono::DateTime;
use serde::Deserialize;

use super::Listing;

/// A backup in a line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Row {
    /// Its id.
    pub backup_id: String,
    /// When it was made, ISO 8601, as Home Assistant wrote it.
    pub date: String,
    /// Its name.
    pub name: String,
    /// Size of its tar.
    #[serde(rename = "size")]
    pub size_bytes: u64,
}

impl Listing {
    /// The backups, the newest first.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row = |entry: &super::Entry| {
            let row: Row = serde_json::from_str(entry.metadata.json.get()).ok()?;
            Some(Row {
                size_bytes: entry.tar.size,
                ..row
            })
        };
        let mut rows: Vec<Row> = self.entries.iter().filter_map(row).collect();
        rows.sort_by_cached_key(|row| {
            std::cmp::Reverse((
                DateTime::parse_from_rfc3339(&row.date).ok(),
                row.date.clone(),
            ))
        });
        rows
    }
}
