//! `settings`, and the settings in requests.

use std::borrow::Cow;

use axum::Json;
use axum::extract::Query;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{AdditionalProperties, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Problem;
use super::openapi::Problems;
use crate::config::settings::form::{FormField, fields};
use crate::config::settings::{LOCATION, SettingKind};
use crate::error::{Error, Kind};
use crate::provider;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SettingsQuery {
    /// The provider's id.
    #[serde(default = "other")]
    #[param(default = "other")]
    provider: String,
}

fn other() -> String {
    "other".to_owned()
}

#[derive(Serialize, ToSchema)]
pub(super) struct Settings {
    settings: Vec<FormField>,
}

/// The settings of a location
///
/// The form for a location at one provider: its fields, in order.
#[utoipa::path(
    get, path = "/v1/settings", operation_id = "listSettings", tag = "locations",
    params(SettingsQuery),
    responses((status = 200, description = "The settings.", body = Settings), Problems<400>),
)]
pub(super) async fn list(Query(query): Query<SettingsQuery>) -> Result<Json<Settings>, Problem> {
    let provider = provider::find(&query.provider).ok_or_else(|| {
        let detail = format!("No provider has the id \"{}\".", query.provider);
        Error::new(Kind::InvalidRequest, detail)
    })?;
    let settings = fields(provider);
    Ok(Json(Settings { settings }))
}

/// Describes a location's settings in a request, from the table of settings.
pub(super) struct LocationSettings;

impl PartialSchema for LocationSettings {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let number = SchemaType::from_iter([Type::String, Type::Integer]);
        let object = ObjectBuilder::new()
            .description(Some(
                "The keys of a [[locations]] section, as in docs/configuration.md, and the provider's own, such as \
                 account_id. Variables, files and directories of the agent's machine are not allowed.",
            ))
            .additional_properties(Some(AdditionalProperties::from(text)));
        LOCATION
            .iter()
            .filter(|setting| setting.places.form)
            .fold(object, |object, setting| {
                let kind = match setting.kind {
                    SettingKind::Number(_) => number.clone(),
                    _ => Type::String.into(),
                };
                let value = ObjectBuilder::new().schema_type(kind);
                object.property(setting.name, value)
            })
            .into()
    }
}

impl ToSchema for LocationSettings {
    fn name() -> Cow<'static, str> {
        "LocationSettings".into()
    }
}
