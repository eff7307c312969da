//! Home Assistant's `AgentBackup`: what the agent needs is checked, and everything else is kept as it came.
//!
//! Source of the fields: `homeassistant/components/backup/models.py`. A later Home Assistant may add fields, add-on keys
//! and folders. A backup that has them is still a backup, so this module keeps them for the Home Assistant that knows them.

mod date;
mod inventory;
mod object;
mod shape;

use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use date::parse_date;
pub use inventory::Inventory;
pub use object::{Damage, FORMAT, Read};

/// The key of the agent's additions, which is never one of HA's fields.
const ADDITIONS: &str = "s3_backup_agent";

/// A backup in the form of HA's backup manager.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentBackup {
    /// The backup's id: the `slug` in its manifest. Never empty.
    pub backup_id: String,
    /// Time of the backup, ISO 8601; see [`parse_date`].
    pub date: String,
    /// Display name.
    pub name: String,
    /// Size of the tar in bytes.
    pub size: u64,
    /// All fields in the order they came. The four above have their place here, with the value null.
    pub(crate) fields: Map<String, Value>,
}

impl AgentBackup {
    /// Whether the backup is encrypted, if it says so.
    #[must_use]
    pub fn is_protected(&self) -> Option<bool> {
        self.fields.get("protected")?.as_bool()
    }

    /// Whether the backup holds the configuration of this version of HA, or of none, if it says so.
    #[must_use]
    pub fn is_of_version(&self, version: Option<&str>) -> Option<bool> {
        match self.fields.get("homeassistant_version")? {
            Value::Null => Some(version.is_none()),
            Value::String(own) => Some(version == Some(own)),
            _ => None,
        }
    }

    /// Returns the file name that HA suggests, without `.tar`: name and date with white space folded to `_`.
    ///
    /// Source: `suggested_filename` in `homeassistant/components/backup/util.py`. Falls back to the
    /// backup id when the date is invalid; HA would raise.
    #[must_use]
    pub fn suggested_stem(&self) -> String {
        let Some(date) = parse_date(&self.date) else {
            return self.backup_id.clone();
        };
        let text = format!("{} {}", self.name, date.format("%Y-%m-%d %H.%M %S%6f"));
        text.split_whitespace().collect::<Vec<_>>().join("_")
    }
}

impl TryFrom<Map<String, Value>> for AgentBackup {
    type Error = serde_json::Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, Self::Error> {
        #[derive(Deserialize)]
        struct Required {
            backup_id: String,
            date: String,
            name: String,
            size: u64,
        }
        fields.shift_remove(ADDITIONS);
        let required = Required::deserialize(&fields)?;
        if required.backup_id.is_empty() {
            return Err(Self::Error::custom("`backup_id` is empty"));
        }
        for key in ["backup_id", "date", "name", "size"] {
            fields.insert(key.to_owned(), Value::Null);
        }
        Ok(Self {
            backup_id: required.backup_id,
            date: required.date,
            name: required.name,
            size: required.size,
            fields,
        })
    }
}

impl<'de> Deserialize<'de> for AgentBackup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for AgentBackup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (key, value) in &self.fields {
            match key.as_str() {
                "backup_id" => map.serialize_entry(key, &self.backup_id)?,
                "date" => map.serialize_entry(key, &self.date)?,
                "name" => map.serialize_entry(key, &self.name)?,
                "size" => map.serialize_entry(key, &self.size)?,
                _ => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
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
    /// What the backup lacks. Earlier agents did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, required = false)]
    pub inventory: Option<Box<Inventory>>,
}

impl AgentMetadata {
    /// What the backup lacks, if it lacks anything.
    #[must_use]
    pub fn faults(&self) -> Option<&Inventory> {
        self.inventory
            .as_deref()
            .filter(|inventory| !inventory.complete)
    }
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
    fn missing_empty_or_malformed_required_field_is_refused() {
        let mut broken = Vec::new();
        for (key, value) in [
            ("backup_id", json!("")),
            ("backup_id", json!(7)),
            ("date", json!(null)),
            ("name", json!(["a"])),
            ("size", json!("10240")),
            ("size", json!(-1)),
            ("size", json!(1.5)),
        ] {
            let mut changed = sample();
            changed[key] = value;
            broken.push(changed);
        }
        for key in ["backup_id", "date", "name", "size"] {
            let mut changed = sample();
            changed.as_object_mut().unwrap().shift_remove(key);
            broken.push(changed);
        }
        for backup in broken {
            assert!(parse(&backup).is_err(), "{backup}");
        }
    }

    #[test]
    fn unknown_fields_and_values_are_kept_in_their_place() {
        for (key, value) in [
            ("folders", json!(["media", "attic", {"name": "cellar"}])),
            ("folders", json!(null)),
            (
                "addons",
                json!([{"name": "a", "slug": "b", "version": "c", "icon": {"d": [1.0, 1e300]}}]),
            ),
            ("addons", json!([{"slug": "b"}, "core_ssh"])),
            ("protected", json!("aes256")),
            ("homeassistant_version", json!({"core": "2027.1.0"})),
            ("extra_metadata", json!([{"instance_id": "x"}])),
            ("cloud", json!({"region": "eu", "copies": 2})),
        ] {
            let mut later = sample();
            later[key] = value;
            let stored = parse(&later).unwrap();
            assert_eq!(serde_json::to_string(&stored).unwrap(), later.to_string());
        }
        for key in ["folders", "addons", "protected", "extra_metadata"] {
            let mut other = sample();
            other.as_object_mut().unwrap().shift_remove(key);
            let stored = parse(&other).unwrap();
            assert_eq!(serde_json::to_string(&stored).unwrap(), other.to_string());
        }
    }

    #[test]
    fn other_size_is_written_in_its_place() {
        let backup = AgentBackup {
            size: 20_480,
            ..parse(&sample()).unwrap().backup
        };
        let mut expected = sample();
        expected["size"] = json!(20_480);
        assert_eq!(
            serde_json::to_string(&backup).unwrap(),
            expected.to_string()
        );
    }

    #[test]
    fn only_the_additions_of_an_agent_are_dropped() {
        let mut foreign = sample();
        foreign["made_by"] = json!("another tool");
        let kept = foreign.to_string();
        foreign["s3_backup_agent"] = json!("nonsense");
        let stored = parse(&foreign).unwrap();
        assert_eq!(stored.agent, None);
        assert_eq!(serde_json::to_string(&stored).unwrap(), kept);
        let announced: AgentBackup = serde_json::from_value(foreign).unwrap();
        assert_eq!(serde_json::to_string(&announced).unwrap(), kept);
    }
}
