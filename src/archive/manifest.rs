//! `backup.json`, as HA core and Supervisor write it.
//!
//! Source of the mapping: `read_backup` in `homeassistant/components/backup/util.py`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::Error;
use crate::backup::AgentBackup;

/// Limit for `extra` in bytes, a hundred times a real one. Parsed, it takes forty times as much memory.
const MAX_EXTRA_BYTES: usize = 256 * 1024;

/// A parsed manifest.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    slug: String,
    name: String,
    date: String,
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    addons: Vec<Addon>,
    #[serde(default)]
    folders: Vec<String>,
    #[serde(default)]
    homeassistant: Option<HomeAssistant>,
    #[serde(default)]
    extra: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Addon {
    #[serde(default)]
    name: Option<String>,
    slug: String,
    #[serde(default)]
    version: Option<String>,
}

#[derive(Debug, Deserialize)]
struct HomeAssistant {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    exclude_database: bool,
}

impl Manifest {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, Error> {
        Ok(serde_json::from_slice(json)?)
    }

    /// The backup's id, which HA calls slug.
    #[must_use]
    pub fn backup_id(&self) -> &str {
        &self.slug
    }

    /// Whether the backup is encrypted.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.protected
    }

    /// HA's version, when HA's configuration is in the backup.
    #[must_use]
    pub fn homeassistant_version(&self) -> Option<&str> {
        self.homeassistant.as_ref()?.version.as_deref()
    }

    /// Names of the archives in the tar, without their ending.
    ///
    /// Source: `_addon_save` and `_folder_save` in Supervisor's `supervisor/backups/backup.py`.
    pub(super) fn archives(&self) -> impl Iterator<Item = String> {
        let core = self
            .homeassistant_version()
            .map(|_| "homeassistant".to_owned());
        let addons = self.addons.iter().map(|addon| addon.slug.clone());
        let folders = self.folders.iter().map(|folder| folder.replace('/', "_"));
        core.into_iter().chain(addons).chain(folders)
    }

    /// Converts to the form that HA's backup manager uses; `size` is the tar's, in bytes.
    ///
    /// # Errors
    /// When the slug is empty, or `extra` is too large or deep.
    pub fn into_agent_backup(self, size: u64) -> Result<AgentBackup, Error> {
        let folders = self
            .folders
            .into_iter()
            .filter(|folder| folder != "homeassistant");
        let folders: Vec<String> = folders.collect();
        let extra = read_extra(self.extra.as_deref())?;
        let requested = extra
            .get("supervisor.backup_request_date")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let (version, is_excluded) = self
            .homeassistant
            .map_or((None, false), |core| (core.version, core.exclude_database));
        Ok(serde_json::from_value(json!({
            "addons": self.addons,
            "backup_id": self.slug,
            "date": requested.unwrap_or(self.date),
            "database_included": version.is_some() && !is_excluded,
            "extra_metadata": extra,
            "folders": folders,
            "homeassistant_included": version.is_some(),
            "homeassistant_version": version,
            "name": self.name,
            "protected": self.protected,
            "size": size,
        }))?)
    }
}

fn read_extra(extra: Option<&RawValue>) -> Result<Map<String, Value>, Error> {
    let text = extra.map_or("{}", RawValue::get);
    if text.len() > MAX_EXTRA_BYTES {
        return Err(Error::TooLarge(
            "backup.json's \"extra\"",
            text.len() as u64,
            MAX_EXTRA_BYTES as u64,
        ));
    }
    Ok(serde_json::from_str(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<AgentBackup, Error> {
        Manifest::parse(json.as_bytes())
            .unwrap()
            .into_agent_backup(7)
    }

    #[test]
    fn supervisor_manifest_is_converted() {
        let backup = read(
            r#"{"version": 2, "name": "Nightly", "date": "2026-11-20T01:00:00+00:00", "slug": "ab12", "type": "partial",
            "compressed": true, "protected": true, "crypto": "aes128", "repositories": ["x"], "docker": {},
            "folders": ["homeassistant", "media", "addons/local"],
            "homeassistant": {"version": "2026.11.0", "exclude_database": true, "size": 1.5},
            "addons": [{"slug": "core_ssh", "name": "Terminal", "version": "9", "size": 0.1}],
            "extra": {"supervisor.backup_request_date": "2026-11-20T02:00:00+01:00", "instance_id": "i"}}"#,
        )
        .unwrap();
        assert_eq!((backup.backup_id.as_str(), backup.size), ("ab12", 7));
        assert_eq!(backup.date, "2026-11-20T02:00:00+01:00");
        assert_eq!(
            serde_json::to_value(&backup).unwrap(),
            json!({
                "addons": [{"name": "Terminal", "slug": "core_ssh", "version": "9"}],
                "backup_id": "ab12", "date": "2026-11-20T02:00:00+01:00", "database_included": false,
                "extra_metadata": {"supervisor.backup_request_date": "2026-11-20T02:00:00+01:00", "instance_id": "i"},
                "folders": ["media", "addons/local"], "homeassistant_included": true,
                "homeassistant_version": "2026.11.0", "name": "Nightly", "protected": true, "size": 7
            })
        );
    }

    #[test]
    fn too_deep_or_oversized_extra_is_refused() {
        let with = |extra: &str| {
            read(&format!(
                r#"{{"slug": "a", "name": "n", "date": "d", "extra": {{"x": {extra}}}}}"#
            ))
        };
        assert!(with("[1, {}]").is_ok());
        assert!(matches!(
            with(&("[".repeat(10_000) + &"]".repeat(10_000))),
            Err(Error::BadManifest(_))
        ));
        assert!(matches!(
            with(&format!("[{}0]", "[0],".repeat(70_000))),
            Err(Error::TooLarge(..))
        ));
        assert!(matches!(
            read(r#"{"slug": "a", "name": "n", "date": "d", "extra": []}"#),
            Err(Error::BadManifest(_))
        ));
    }

    #[test]
    fn folder_of_a_later_home_assistant_is_kept() {
        let backup = read(
            r#"{"slug": "a", "name": "n", "date": "d", "folders": ["attic", "homeassistant"]}"#,
        );
        let backup = serde_json::to_value(backup.unwrap()).unwrap();
        assert_eq!(backup["folders"], json!(["attic"]));
    }

    #[test]
    fn empty_slug_is_refused() {
        assert!(read(r#"{"slug": "", "name": "n", "date": "d"}"#).is_err());
    }
}
