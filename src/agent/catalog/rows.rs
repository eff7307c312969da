//! A list as a table.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::entry::Entry;
use crate::backup::{Damage, Inventory, parse_date};

/// A backup as one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Id of the backup.
    pub backup_id: String,
    /// Creation time, ISO 8601, as Home Assistant wrote it.
    pub date: String,
    /// Name of the backup.
    pub name: String,
    /// Size of the tar in bytes.
    pub size_bytes: u64,
    /// Version of Home Assistant whose configuration it holds.
    pub homeassistant_version: Option<String>,
    /// Whether Home Assistant created it by its automatic settings, if it says so.
    pub is_automatic: Option<bool>,
    /// Whether Home Assistant encrypted it, if it says so.
    pub is_protected: Option<bool>,
    /// Whether its metadata was changed or damaged.
    pub is_changed: bool,
    /// Version of the tar.
    pub version: String,
    /// When an agent had uploaded it, RFC 3339.
    pub uploaded_at: Option<String>,
    /// What the backup lacks, if it lacks anything.
    pub faults: Option<Inventory>,
}

/// Fields of a backup; those that another tool may write in another form are values.
#[derive(Deserialize)]
struct Fields {
    backup_id: String,
    date: String,
    name: String,
    #[serde(default)]
    homeassistant_version: Value,
    #[serde(default)]
    extra_metadata: Value,
    #[serde(default)]
    protected: Value,
}

impl Row {
    fn of(entry: &Entry) -> Option<Self> {
        let metadata = &entry.metadata;
        let fields: Fields = serde_json::from_str(metadata.json.get()).ok()?;
        let version = fields.homeassistant_version.as_str();
        Some(Self {
            size_bytes: entry.tar.size,
            homeassistant_version: version.map(str::to_owned),
            is_automatic: fields.extra_metadata["with_automatic_settings"].as_bool(),
            is_protected: fields.protected.as_bool(),
            is_changed: metadata.damage.as_ref().is_some_and(Damage::is_change),
            version: entry.tar.version.clone(),
            uploaded_at: metadata
                .stored
                .as_ref()
                .map(|stored| stored.uploaded_at.clone()),
            faults: metadata.faults().cloned(),
            backup_id: fields.backup_id,
            date: fields.date,
            name: fields.name,
        })
    }
}

/// The backups, newest first.
pub(super) fn rows(entries: &[Entry]) -> Arc<[Row]> {
    let mut rows: Vec<Row> = entries.iter().filter_map(Row::of).collect();
    rows.sort_by_cached_key(|row| std::cmp::Reverse((parse_date(&row.date), row.date.clone())));
    rows.into()
}

#[cfg(test)]
pub(super) fn entry(backup: &Value) -> Entry {
    use super::entry::Metadata;
    use crate::store::{Key, Object};

    let metadata = Metadata::parse(backup.to_string().as_bytes(), "v1").unwrap();
    let tar = Object {
        key: Key::new("backups/a.tar"),
        size: 7,
        version: "v2".into(),
        modified: None,
    };
    Entry {
        key: Key::new("backups/a.metadata.json"),
        metadata: metadata.into(),
        tar,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_show_what_home_assistant_wrote_and_ignore_other_forms() {
        let rows = rows(&[
            entry(
                &json!({"backup_id": "b", "date": "2026-11-19", "name": "Manual", "size": 7,
                "homeassistant_version": {"core": "2027.1.0"}, "extra_metadata": [1], "protected": "aes256"}),
            ),
            entry(
                &json!({"backup_id": "a", "date": "2026-11-20T03:00:00+01:00", "name": "Nightly", "size": 7,
                "homeassistant_version": "2026.11.0", "extra_metadata": {"with_automatic_settings": true},
                "protected": true}),
            ),
        ]);
        let shown = |row: &Row| {
            let version = row.homeassistant_version.clone();
            (
                row.name.clone(),
                version,
                row.is_automatic,
                row.is_protected,
            )
        };
        assert_eq!(
            shown(&rows[0]),
            (
                "Nightly".into(),
                Some("2026.11.0".into()),
                Some(true),
                Some(true)
            )
        );
        assert_eq!(shown(&rows[1]), ("Manual".into(), None, None, None));
    }
}
