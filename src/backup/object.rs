//! The metadata object of a backup, with a digest that detects any changed byte.
//!
//! The digest is the object's last field and covers everything before it. A mismatch does not hide the backup: a
//! backup with a damaged name can still be restored.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ADDITIONS, AgentBackup, AgentMetadata, StoredBackup, parse_date};
use crate::units::sha256;

/// Version of the agent's additions. Format 1 has no digest.
pub const FORMAT: u32 = 2;

/// End of a metadata object with the agent's additions.
const END: &str = "}}";

/// A metadata object as read from the bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// Its content.
    pub stored: StoredBackup,
    /// SHA-256 of the tar, even when the rest of the agent's additions is invalid.
    pub sha256: Option<String>,
    /// Damage that Home Assistant would not notice.
    pub damage: Option<Damage>,
}

/// Damage to a metadata object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The agent's additions are invalid.
    Garbled,
    /// The digest is missing.
    NoDigest,
    /// The digest does not match.
    OtherDigest,
    /// The agent's additions stand under this key instead of their own.
    OtherKey(String),
    /// The object is as it was written, but its date cannot be parsed.
    Date(String),
}

impl Damage {
    /// Whether the object may differ from what was written.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        !matches!(self, Self::Date(_))
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbled => f.write_str("the agent's additions in it are invalid"),
            Self::NoDigest => f.write_str("its digest is missing"),
            Self::OtherDigest => f.write_str("SHA-256 mismatch, so it was changed or damaged"),
            Self::OtherKey(key) => {
                write!(
                    f,
                    "the agent's additions stand under the key \"{}\"",
                    key.escape_debug()
                )
            }
            Self::Date(date) => write!(f, "its date \"{}\" cannot be parsed", date.escape_debug()),
        }
    }
}

impl StoredBackup {
    /// Parses a metadata object, damaged or not.
    ///
    /// # Errors
    /// When `backup_id`, `name`, `date` or `size` is missing or invalid. Invalid additions of the agent are dropped.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        Self::read(json).map(|read| read.stored)
    }

    /// Parses a metadata object and checks its digest.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read(json: &[u8]) -> Result<Read, serde_json::Error> {
        let mut fields: Map<String, Value> = serde_json::from_slice(json)?;
        let (additions, changed) = take_additions(&mut fields, json);
        let backup = AgentBackup::try_from(fields)?;
        let mut agent = additions.as_ref().and_then(agent_metadata);
        if let Some(agent) = agent.as_mut().filter(|_| changed.is_some()) {
            // A downloader that compares a damaged CRC-32 would refuse an intact tar.
            agent.crc32 = None;
        }
        let garbled = additions.as_ref().filter(|_| agent.is_none());
        let sha256 = agent
            .as_ref()
            .map_or_else(|| garbled.and_then(sha256_of), |agent| agent.sha256.clone());
        let no_date = || {
            parse_date(&backup.date)
                .is_none()
                .then(|| Damage::Date(backup.date.clone()))
        };
        Ok(Read {
            damage: changed.or_else(no_date),
            stored: Self { backup, agent },
            sha256,
        })
    }

    /// Serializes the metadata object, and adds the digest when the agent's additions are present.
    ///
    /// # Errors
    /// Those of serialization.
    pub fn to_object(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec(self)?;
        if self.agent.is_some() {
            let field = digest_field(&sha256(&json));
            json.truncate(json.len() - END.len());
            json.extend_from_slice(field.as_bytes());
            json.extend_from_slice(END.as_bytes());
        }
        Ok(json)
    }
}

/// Removes the agent's additions from the fields of a metadata object, and returns them with their damage.
fn take_additions(fields: &mut Map<String, Value>, json: &[u8]) -> (Option<Value>, Option<Damage>) {
    if let Some(additions) = fields
        .shift_remove(ADDITIONS)
        .filter(|value| !value.is_null())
    {
        let damage = damage(json, &additions);
        return (Some(additions), damage);
    }
    let key = fields
        .iter()
        .find(|(_, value)| agent_metadata(value).is_some())
        .map(|(key, _)| key.clone());
    let Some((key, additions)) = key.and_then(|key| fields.shift_remove_entry(&key)) else {
        return (None, None);
    };
    (Some(additions), Some(Damage::OtherKey(key)))
}

fn agent_metadata(additions: &Value) -> Option<AgentMetadata> {
    AgentMetadata::deserialize(additions).ok()
}

/// Returns the tar's SHA-256 from additions that are otherwise invalid.
fn sha256_of(garbled: &Value) -> Option<String> {
    let sha256 = garbled.get("sha256")?.as_str()?;
    (sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| sha256.to_owned())
}

fn damage(json: &[u8], additions: &Value) -> Option<Damage> {
    let Some(agent) = agent_metadata(additions) else {
        return Some(Damage::Garbled);
    };
    match additions.get("metadata_sha256") {
        None if agent.format < 2 => None,
        None => Some(Damage::NoDigest),
        Some(said) => said
            .as_str()
            .is_none_or(|said| !is_whole(json, said))
            .then_some(Damage::OtherDigest),
    }
}

/// The digest covers the object without the digest's own field. Bytes are compared, not values, so that other tools need
/// not know how the agent writes numbers.
fn is_whole(json: &[u8], said: &str) -> bool {
    let end = format!("{}{END}", digest_field(said));
    json.strip_suffix(end.as_bytes())
        .is_some_and(|rest| sha256(&[rest, END.as_bytes()].concat()) == said)
}

fn digest_field(sha256: &str) -> String {
    format!(",\"metadata_sha256\":\"{sha256}\"")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TAR: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn stored() -> StoredBackup {
        let backup = json!({
            "addons": [{"name": "Mosquitto", "slug": "core_mosquitto", "version": "6.4"}],
            "backup_id": "abc123", "date": "2026-11-20T21:03:36.123456+01:00", "database_included": true,
            "extra_metadata": {"instance_id": "x", "large": 1e30, "exact": 0.300_000_000_000_000_04, "bell": "\u{1f}"},
            "folders": ["media", "addons/local"], "homeassistant_included": true, "homeassistant_version": "2026.11.0",
            "name": "Sicherung für \"Öl\" / Gas", "protected": true, "size": 10240
        });
        let agent = json!({
            "format": FORMAT, "size": 10240, "sha256": TAR, "crc32": "0a1b2c3d", "part_size": 5_242_880,
            "uploaded_at": "2026-11-20T20:05:00.000Z", "duration_ms": 1200, "agent_version": "1.2.3"
        });
        StoredBackup {
            backup: serde_json::from_value(backup).unwrap(),
            agent: agent_metadata(&agent),
        }
    }

    fn object() -> Vec<u8> {
        stored().to_object().unwrap()
    }

    fn read(json: &str) -> Read {
        StoredBackup::read(json.as_bytes()).unwrap()
    }

    #[test]
    fn written_object_is_read_back_undamaged() {
        let read = StoredBackup::read(&object()).unwrap();
        assert_eq!(
            read,
            Read {
                stored: stored(),
                sha256: Some(TAR.to_owned()),
                damage: None
            }
        );
        let foreign = StoredBackup {
            agent: None,
            ..stored()
        };
        let read = StoredBackup::read(&foreign.to_object().unwrap()).unwrap();
        assert_eq!(
            read,
            Read {
                stored: foreign,
                sha256: None,
                damage: None
            }
        );
    }

    /// A text editor and `sha256sum` are enough to check it, as `docs/concepts/storage.md` shows.
    #[test]
    fn digest_covers_the_object_without_its_own_field() {
        let text = String::from_utf8(object()).unwrap();
        let (before, rest) = text.split_once(",\"metadata_sha256\":\"").unwrap();
        let (said, after) = rest.split_once('"').unwrap();
        assert_eq!(
            (said, after),
            (&*sha256(format!("{before}}}}}").as_bytes()), "}}")
        );
        assert_eq!(
            format!("{before}{after}"),
            serde_json::to_string(&stored()).unwrap()
        );
    }

    #[test]
    fn change_of_any_byte_is_refused_or_detected() {
        let whole = object();
        let (mut refused, mut found) = (0, 0);
        for index in 0..whole.len() {
            let bits = (0..8).map(|bit| whole[index] ^ (1 << bit));
            for byte in bits
                .chain(*b" \"\\{}[],:0a")
                .filter(|byte| *byte != whole[index])
            {
                let mut changed = whole.clone();
                changed[index] = byte;
                let text = String::from_utf8_lossy(&changed);
                match StoredBackup::read(&changed) {
                    Err(_) => refused += 1,
                    Ok(read) => {
                        found += 1;
                        assert!(
                            read.damage.is_some(),
                            "byte {index} may become {byte:#04x}: {text}"
                        );
                        assert!(
                            read.stored.agent.is_none_or(|agent| agent.crc32.is_none()),
                            "{text}"
                        );
                        // Only a change of the hash or of its field name loses it.
                        let is_lost = read.sha256.as_deref() != Some(TAR);
                        assert!(
                            !is_lost || !text.contains(&format!("\"sha256\":\"{TAR}\"")),
                            "{text}"
                        );
                    }
                }
            }
        }
        assert!(
            refused > 1000 && found > 1000,
            "{refused} refused, {found} found"
        );
    }

    #[test]
    fn changed_name_does_not_hide_the_backup() {
        let changed = String::from_utf8(object())
            .unwrap()
            .replace("Sicherung", "Sicherurg");
        let read = read(&changed);
        assert_eq!(read.damage, Some(Damage::OtherDigest));
        assert_eq!(
            (&*read.stored.backup.name, read.sha256.as_deref()),
            ("Sicherurg für \"Öl\" / Gas", Some(TAR))
        );
    }

    #[test]
    fn kinds_of_damage_are_distinguished() {
        let whole = String::from_utf8(object()).unwrap();
        for (from, to, damage) in [
            ("\"format\":2", "\"format\":1", Damage::OtherDigest),
            ("metadata_sha256", "metadata-sha256", Damage::NoDigest),
            ("agent_version", "agent-version", Damage::Garbled),
            (
                "\"s3_backup_agent\"",
                "\"s3\\backup_agent\"",
                Damage::OtherKey("s3\u{8}ackup_agent".to_owned()),
            ),
        ] {
            assert!(whole.contains(from), "{from}");
            assert_eq!(
                read(&whole.replace(from, to)).damage,
                Some(damage.clone()),
                "{to}"
            );
            assert!(!damage.to_string().contains('\u{8}'));
        }
        assert_eq!(
            read(&format!("{whole}\n")).damage,
            Some(Damage::OtherDigest),
            "saved by an editor"
        );
    }

    #[test]
    fn unreadable_date_is_reported_and_changes_nothing() {
        let mut other = stored();
        other.backup.date = "last\u{7} night".to_owned();
        let object = other.to_object().unwrap();
        let read = StoredBackup::read(&object).unwrap();
        let damage = Damage::Date(other.backup.date.clone());
        assert!(!damage.is_change() && Damage::NoDigest.is_change());
        assert_eq!(
            damage.to_string(),
            "its date \"last\\u{7} night\" cannot be parsed"
        );
        assert_eq!(
            read,
            Read {
                stored: other,
                sha256: Some(TAR.to_owned()),
                damage: Some(damage)
            }
        );
        let changed = String::from_utf8(object).unwrap().replace("Öl", "Ol");
        assert_eq!(self::read(&changed).damage, Some(Damage::OtherDigest));
    }

    #[test]
    fn format_1_needs_no_digest() {
        let mut first = stored();
        first.agent.as_mut().unwrap().format = 1;
        let read = read(&serde_json::to_string(&first).unwrap());
        assert_eq!(
            read,
            Read {
                stored: first,
                sha256: Some(TAR.to_owned()),
                damage: None
            }
        );
    }

    #[test]
    fn additions_of_other_tools_are_no_damage() {
        let mut foreign = serde_json::to_value(StoredBackup {
            agent: None,
            ..stored()
        })
        .unwrap();
        foreign["made_by"] = json!({"tool": "another", "size": 10240, "sha256": TAR});
        foreign["s3_backup_agent"] = Value::Null;
        assert_eq!(read(&foreign.to_string()).damage, None);
        foreign["s3_backup_agent"] = json!("nonsense");
        assert_eq!(
            read(&foreign.to_string()).damage,
            Some(Damage::Garbled),
            "only the agent writes that key"
        );
    }
}
