//! The metadata object of a backup: what is written, and whether what is read is still that.
//!
//! Its last field is a digest of all the rest, so that no byte of it changes unseen. A change does not hide the backup:
//! whoever has to restore at night would rather have one with a wrong letter in its name than none.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{AgentBackup, AgentMetadata, StoredBackup};
use crate::hex::sha256;

/// Version of our additions. From the second on there is a digest.
pub const FORMAT: u32 = 2;

/// How a metadata object with our additions ends.
const END: &str = "}}";

/// A metadata object as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// What it says.
    pub stored: StoredBackup,
    /// SHA-256 of the tar, also where the rest of our additions cannot be understood.
    pub sha256: Option<String>,
    /// Why it is not what was written, though Home Assistant would take it.
    pub damage: Option<Damage>,
}

/// What shows that a metadata object is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Our additions cannot be understood.
    Garbled,
    /// There is no digest, where there must be one.
    NoDigest,
    /// The digest is another one.
    OtherDigest,
    /// Our additions are under another key, which this is.
    OtherKey(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbled => f.write_str("what the agent noted in it cannot be understood"),
            Self::NoDigest => f.write_str("its own SHA-256 is missing in it"),
            Self::OtherDigest => f.write_str("it has not the SHA-256 that it says it has"),
            Self::OtherKey(key) => {
                write!(
                    f,
                    "what the agent noted in it is under \"{}\"",
                    key.escape_debug()
                )
            }
        }
    }
}

impl StoredBackup {
    /// Reads a metadata object, whether it is whole or not.
    ///
    /// # Errors
    /// When HA's `from_dict` would refuse it. Our own additions are only dropped when they make no sense.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        Self::read(json).map(|read| read.stored)
    }

    /// Reads a metadata object, and looks whether it is what was written.
    ///
    /// # Errors
    /// When HA's `from_dict` would refuse it.
    pub fn read(json: &[u8]) -> Result<Read, serde_json::Error> {
        #[derive(Deserialize)]
        struct Document {
            #[serde(flatten)]
            backup: AgentBackup,
            #[serde(default)]
            s3_backup_agent: Option<Value>,
            #[serde(flatten)]
            others: Map<String, Value>,
        }
        let document: Document = serde_json::from_slice(json)?;
        let (additions, damage) = match document.s3_backup_agent {
            Some(additions) => {
                let damage = damage(json, &additions);
                (Some(additions), damage)
            }
            None => document
                .others
                .into_iter()
                .find(|(_, value)| understood(value).is_some())
                .map_or((None, None), |(key, additions)| {
                    (Some(additions), Some(Damage::OtherKey(key)))
                }),
        };
        let mut agent = additions.as_ref().and_then(understood);
        if let Some(agent) = agent.as_mut().filter(|_| damage.is_some()) {
            // Whoever compares it in passing would refuse a tar whose SHA-256 is right.
            agent.crc32 = None;
        }
        let garbled = additions.as_ref().filter(|_| agent.is_none());
        let sha256 = agent
            .as_ref()
            .map_or_else(|| garbled.and_then(sha256_of), |agent| agent.sha256.clone());
        Ok(Read {
            stored: Self {
                backup: document.backup,
                agent,
            },
            sha256,
            damage,
        })
    }

    /// The metadata object that is written: as it is serialized, and where our additions are in it, with the digest.
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

fn understood(additions: &Value) -> Option<AgentMetadata> {
    AgentMetadata::deserialize(additions).ok()
}

/// The SHA-256 of the tar in additions of which something else cannot be understood.
fn sha256_of(garbled: &Value) -> Option<String> {
    let sha256 = garbled.get("sha256")?.as_str()?;
    (sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| sha256.to_owned())
}

fn damage(json: &[u8], additions: &Value) -> Option<Damage> {
    let Some(agent) = understood(additions) else {
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

/// The object without the digest is what the digest is of. Bytes are compared, not what they mean: no tool needs to know
/// how numbers are written here.
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
            agent: understood(&agent),
        }
    }

    fn object() -> Vec<u8> {
        stored().to_object().unwrap()
    }

    fn read(json: &str) -> Read {
        StoredBackup::read(json.as_bytes()).unwrap()
    }

    #[test]
    fn what_was_written_is_read_again_and_is_whole() {
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

    /// With nothing but a text editor and `sha256sum`, as `docs/concepts/storage.md` says.
    #[test]
    fn the_digest_is_of_the_object_without_it() {
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
    fn a_change_of_any_byte_is_refused_or_found() {
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
                        // Nothing but a change of the hash, or of its name, loses it.
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
    fn a_letter_in_the_name_hides_nothing() {
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
    fn what_is_wrong_is_told_apart() {
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
    fn the_first_format_has_no_digest_and_needs_none() {
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
    fn what_other_tools_add_is_no_damage() {
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
            "nobody else writes that key"
        );
    }
}
