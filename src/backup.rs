//! Home Assistant's `AgentBackup`, parsed as strictly as by HA's own `from_dict`.
//!
//! Source: `homeassistant/components/backup/models.py`. `from_dict` raises on an unknown add-on key,
//! an unknown folder or a missing key. One such object would break HA's whole list, so this module refuses it.

mod object;

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use object::{Damage, FORMAT, Read};

/// One add-on inside a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Addon)]
pub struct AddonInfo {
    /// Display name.
    #[serde(deserialize_with = "required")]
    pub name: Option<String>,
    /// The add-on's slug.
    pub slug: String,
    /// Version at the time of the backup.
    #[serde(deserialize_with = "required")]
    pub version: Option<String>,
}

/// A folder inside a backup. HA raises on any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Folder {
    /// `/share`
    #[serde(rename = "share")]
    Share,
    /// `/addons`
    #[serde(rename = "addons/local")]
    Addons,
    /// `/ssl`
    #[serde(rename = "ssl")]
    Ssl,
    /// `/media`
    #[serde(rename = "media")]
    Media,
}

/// A backup in the form of HA's backup manager, with fields in HA's own order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentBackup {
    /// Add-ons in the backup.
    pub addons: Vec<AddonInfo>,
    /// The backup's id: the `slug` in its manifest.
    #[schema(min_length = 1)]
    pub backup_id: String,
    /// Time of the backup, ISO 8601.
    pub date: String,
    /// Whether the backup holds HA's database.
    pub database_included: bool,
    /// HA's own additions, such as `instance_id`.
    #[schema(value_type = Object)]
    pub extra_metadata: Map<String, Value>,
    /// Folders in the backup.
    pub folders: Vec<Folder>,
    /// Whether the backup holds HA's configuration.
    pub homeassistant_included: bool,
    /// HA's version, when the backup holds HA's configuration.
    #[serde(deserialize_with = "required")]
    pub homeassistant_version: Option<String>,
    /// Display name.
    pub name: String,
    /// Whether the backup is encrypted.
    pub protected: bool,
    /// Size of the tar in bytes.
    pub size: u64,
}

/// Deserializes a key that may be null but not absent, as in HA.
fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

/// The agent's additions to a metadata object, under the key `s3_backup_agent`, which HA ignores. The digest at the
/// object's end is not among them: it describes the object and not the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentMetadata {
    /// Version of this format; the agent writes [`FORMAT`].
    #[schema(minimum = 1, maximum = 2)]
    pub format: u32,
    /// Size of the tar in bytes, as stored.
    pub size: u64,
    /// SHA-256 of the tar, 64 lower-case hex digits. `None` for an adopted tar, whose bytes the agent never read.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: Option<String>,
    /// CRC-32 of the tar, eight lower-case hex digits, which a downloader can compare cheaply. Format 1 lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9a-f]{8}$")]
    pub crc32: Option<String>,
    /// Size of the upload's parts in bytes; a smaller tar took one request. `None` when unknown.
    pub part_size: Option<u64>,
    /// Time of the upload's end, RFC 3339.
    #[schema(format = DateTime, pattern = "Z$")]
    pub uploaded_at: String,
    /// Duration of the upload since its announcement. Format 1 lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub duration_ms: Option<u64>,
    /// Version of the agent that uploaded the backup.
    pub agent_version: String,
}

/// A backup in a bucket: HA's fields and, when an agent wrote it, the agent's additions.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Backup)]
pub struct StoredBackup {
    /// HA's fields.
    #[serde(flatten)]
    pub backup: AgentBackup,
    /// The agent's additions.
    #[serde(rename = "s3_backup_agent", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<AgentMetadata>,
}

impl AgentBackup {
    /// Returns the file name that HA suggests, without `.tar`: name and date with white space folded to `_`.
    ///
    /// Source: `suggested_filename` in `homeassistant/components/backup/util.py`. Falls back to the
    /// backup id when the date is invalid; HA would raise.
    #[must_use]
    pub fn suggested_stem(&self) -> String {
        let Ok(date) = chrono::DateTime::parse_from_rfc3339(&self.date) else {
            return self.backup_id.clone();
        };
        let text = format!("{} {}", self.name, date.format("%Y-%m-%d %H.%M %S%6f"));
        text.split_whitespace().collect::<Vec<_>>().join("_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Value {
        json!({
            "addons": [{"name": "Mosquitto", "slug": "core_mosquitto", "version": "6.4"}],
            "backup_id": "abc123", "date": "2026-11-20T21:03:36.123456+01:00", "database_included": true,
            "extra_metadata": {"instance_id": "x", "with_automatic_settings": true}, "folders": ["media", "addons/local"],
            "homeassistant_included": true, "homeassistant_version": "2026.11.0", "name": "Nightly  backup",
            "protected": true, "size": 10240
        })
    }

    fn parse(value: &Value) -> Result<StoredBackup, serde_json::Error> {
        StoredBackup::parse(value.to_string().as_bytes())
    }

    #[test]
    fn backup_round_trips_in_field_order_of_home_assistant() {
        let stored = parse(&sample()).unwrap();
        assert_eq!(
            serde_json::to_string(&stored).unwrap(),
            sample().to_string()
        );
        assert_eq!(
            stored.backup.suggested_stem(),
            "Nightly_backup_2026-11-20_21.03_36123456"
        );
    }

    #[test]
    fn backup_that_home_assistant_refuses_is_refused() {
        for (key, value) in [
            ("folders", json!(["homeassistant"])),
            (
                "addons",
                json!([{"name": "a", "slug": "b", "version": "c", "icon": "d"}]),
            ),
            ("addons", json!([{"name": "a", "slug": "b"}])),
            ("size", json!("10240")),
            ("size", json!(-1)),
            ("extra_metadata", json!([])),
        ] {
            let mut broken = sample();
            broken[key] = value;
            assert!(parse(&broken).is_err(), "{broken}");
        }
        for key in sample().as_object().unwrap().keys() {
            let mut broken = sample();
            broken.as_object_mut().unwrap().remove(key);
            assert!(parse(&broken).is_err(), "without {key}");
        }
    }

    #[test]
    fn unknown_keys_of_other_tools_are_ignored() {
        let mut foreign = sample();
        foreign["made_by"] = json!("another tool");
        foreign["s3_backup_agent"] = json!("nonsense");
        let stored = parse(&foreign).unwrap();
        assert_eq!(stored.agent, None);
        assert_eq!(
            serde_json::to_string(&stored).unwrap(),
            sample().to_string()
        );
    }
}
