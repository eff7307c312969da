//! The fields of `AgentBackup` that HA 2026.11 knows, for the OpenAPI document.

use std::borrow::Cow;

use serde_json::{Map, Value};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::AgentBackup;

/// A backup in the form of HA's backup manager, with fields in HA's own order. Fields, add-on keys and folders that a later
/// HA adds are stored and returned as they came.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described")]
struct Fields {
    /// Add-ons in the backup.
    #[schema(nullable = false)]
    addons: Option<Vec<Addon>>,
    /// The backup's id: the `slug` in its manifest.
    #[schema(min_length = 1)]
    backup_id: String,
    /// Time of the backup, ISO 8601.
    #[schema(min_length = 1)]
    date: String,
    /// Whether the backup holds HA's database.
    #[schema(nullable = false)]
    database_included: Option<bool>,
    /// HA's own additions, such as `instance_id`.
    #[schema(value_type = Object, required = false)]
    extra_metadata: Map<String, Value>,
    /// Folders in the backup: `share`, `addons/local`, `ssl`, `media`, and those of a later HA.
    #[schema(nullable = false)]
    folders: Option<Vec<String>>,
    /// Whether the backup holds HA's configuration.
    #[schema(nullable = false)]
    homeassistant_included: Option<bool>,
    /// HA's version, when the backup holds HA's configuration.
    homeassistant_version: Option<String>,
    /// Display name.
    name: String,
    /// Whether the backup is encrypted.
    #[schema(nullable = false)]
    protected: Option<bool>,
    /// Size of the tar in bytes.
    size: u64,
}

/// One add-on inside a backup.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described")]
struct Addon {
    /// Display name.
    name: Option<String>,
    /// The add-on's slug.
    slug: String,
    /// Version at the time of the backup.
    version: Option<String>,
}

impl PartialSchema for AgentBackup {
    fn schema() -> RefOr<Schema> {
        Fields::schema()
    }
}

impl ToSchema for AgentBackup {
    fn name() -> Cow<'static, str> {
        "AgentBackup".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Fields::schemas(schemas);
    }
}
