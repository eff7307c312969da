//! The form *Add a bucket*: the settings of a location at one provider, for `GET /v1/settings`.

use serde::Serialize;
use utoipa::ToSchema;

use super::{DefaultValue, LOCATION, Number, Secrecy, Section, Setting, SettingKind, Unit};
use crate::provider::{self, Provider, UrlTemplate};

/// A field of the form.
#[derive(Debug, Serialize, ToSchema)]
pub struct FormField {
    /// Key of the setting.
    pub name: &'static str,
    /// Form of the value.
    pub r#type: FieldType,
    /// Part of the form.
    pub section: Section,
    /// Whether a value is needed.
    pub required: bool,
    /// The value where none is set; null where the agent derives it or there is none.
    pub default: Option<FieldValue>,
    /// The smallest number: bytes for sizes and rates, seconds for durations.
    pub min: Option<u64>,
    /// The largest number.
    pub max: Option<u64>,
    /// `s` for an integer that counts seconds.
    pub unit: Option<&'static str>,
    /// The only values.
    pub choices: &'static [&'static str],
    /// Values to offer; others are allowed too.
    pub suggestions: Vec<Suggestion>,
}

/// The form of a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// One line.
    Text,
    /// One line that never goes back to the browser.
    Secret,
    /// One of the choices.
    Choice,
    /// Bytes, such as `8 MiB`.
    Size,
    /// Bytes a second, such as `2 MiB`; `0` for no limit.
    Rate,
    /// Hours or days, such as `7d`, or `off`.
    Duration,
    /// A whole number.
    Integer,
    /// A switch.
    Boolean,
    /// Several lines.
    Pem,
    /// URL of a proxy; its password never goes back to the browser.
    Proxy,
}

/// A default.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum FieldValue {
    /// An integer.
    Integer(u64),
    /// Any other value, as written in a file.
    Text(&'static str),
}

/// A value that the form offers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Suggestion {
    /// The value.
    pub value: &'static str,
    /// Text to show for it.
    pub label: String,
}

/// The fields for a location at `provider`.
#[must_use]
pub fn fields(provider: &'static Provider) -> Vec<FormField> {
    let own = provider.fields.iter().map(|own| (0, own_field(own)));
    let shared = LOCATION
        .iter()
        .filter(|setting| setting.places.form)
        .map(|setting| (rank(setting.name), field(setting, provider)));
    let mut fields: Vec<_> = own.chain(shared).collect();
    fields.sort_by_key(|(rank, field)| (field.section, *rank));
    fields.into_iter().map(|(_, field)| field).collect()
}

/// First the fields that locate the bucket, and last the name, which few users need.
fn rank(name: &str) -> u8 {
    match name {
        "endpoint" => 1,
        "region" => 2,
        "name" => 4,
        _ => 3,
    }
}

fn field(setting: &Setting, provider: &'static Provider) -> FormField {
    let number = match setting.kind {
        SettingKind::Number(number) => Some(number),
        _ => None,
    };
    let field = FormField {
        name: setting.name,
        r#type: field_type(setting),
        section: setting.section,
        required: setting.is_required,
        default: default(setting),
        min: number.map(|number| number.min),
        max: number
            .map(|number| number.max)
            .filter(|max| *max < u64::MAX),
        unit: number
            .filter(|number| number.unit == Unit::Seconds)
            .map(|_| "s"),
        choices: match setting.kind {
            SettingKind::Choice(choices) => choices,
            _ => &[],
        },
        suggestions: words(setting.presets),
    };
    at_provider(field, provider)
}

/// Adds what depends on the provider.
fn at_provider(field: FormField, provider: &'static Provider) -> FormField {
    let section = |is_main: bool| {
        if is_main {
            Section::Main
        } else {
            Section::Connection
        }
    };
    match field.name {
        "endpoint" => FormField {
            section: section(provider.endpoint.is_none()),
            required: provider.endpoint.is_none(),
            ..field
        },
        "region" => {
            let is_in_endpoint = provider
                .endpoint
                .iter()
                .flat_map(UrlTemplate::fields)
                .any(|name| name == "region");
            FormField {
                section: section(is_in_endpoint || !provider.regions.is_empty()),
                required: provider.region_required,
                suggestions: provider
                    .regions
                    .iter()
                    .map(|region| Suggestion {
                        value: &region.id,
                        label: format!("{} ({})", region.name, region.id),
                    })
                    .collect(),
                ..field
            }
        }
        "storage_class" => FormField {
            suggestions: words(&provider.storage_classes),
            ..field
        },
        _ => field,
    }
}

/// A setting that only one provider has.
fn own_field(field: &'static provider::Field) -> FormField {
    FormField {
        name: &field.id,
        r#type: FieldType::Text,
        section: Section::Main,
        required: !field.optional,
        default: None,
        min: None,
        max: None,
        unit: None,
        choices: &[],
        suggestions: words(&field.choices),
    }
}

fn words<W: AsRef<str>>(words: &'static [W]) -> Vec<Suggestion> {
    words
        .iter()
        .map(AsRef::as_ref)
        .map(|word| Suggestion {
            value: word,
            label: word.to_owned(),
        })
        .collect()
}

fn field_type(setting: &Setting) -> FieldType {
    match setting.kind {
        SettingKind::Proxy => FieldType::Proxy,
        SettingKind::Pem => FieldType::Pem,
        _ if setting.secrecy == Secrecy::Secret => FieldType::Secret,
        SettingKind::Choice(_) => FieldType::Choice,
        SettingKind::Boolean => FieldType::Boolean,
        SettingKind::Number(number) if number.is_integer() => FieldType::Integer,
        SettingKind::Number(Number {
            unit: Unit::Bytes, ..
        }) => FieldType::Size,
        SettingKind::Number(Number {
            unit: Unit::Rate, ..
        }) => FieldType::Rate,
        SettingKind::Number(Number {
            unit: Unit::Hours, ..
        }) => FieldType::Duration,
        _ => FieldType::Text,
    }
}

fn default(setting: &Setting) -> Option<FieldValue> {
    let DefaultValue::Value(text) = setting.default else {
        return None;
    };
    match field_type(setting) {
        FieldType::Integer => text.parse().ok().map(FieldValue::Integer),
        _ => Some(FieldValue::Text(text)),
    }
}
