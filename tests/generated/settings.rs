//! Documents and schemas that follow from the table of settings.

use std::collections::BTreeSet;
use std::fmt::Write;

use s3_backup_agent::agent::model::{CheckNote, FindingCode, SkipCode};
use s3_backup_agent::config::settings::form::fields;
use s3_backup_agent::config::settings::{
    DefaultValue, Number, Secrecy, Section, Setting, SettingKind, TABLES, Unit,
};
use s3_backup_agent::config::{PROBLEMS, Supervisor};
use s3_backup_agent::error::{Kind, Reason};
use s3_backup_agent::provider;
use serde_json::{Value, json};

use super::{assert_up_to_date, with_part};

/// Links in help texts are relative to this directory.
const DOCS: &str = "https://github.com/s3-backup-agent/s3-backup-agent/blob/main/docs/";

#[test]
fn configuration_reference_is_current() {
    assert_up_to_date("docs/configuration.md", |file| {
        TABLES
            .iter()
            .fold(file.to_owned(), |file, (section, settings)| {
                let name = if section.is_empty() {
                    "general"
                } else {
                    section
                };
                let begin = format!("<!-- settings: {name} -->\n");
                with_part(&file, &begin, "<!-- end -->", &reference(settings))
            })
    });
}

/// The app's own page explains what every location needs, and links to the reference for the rest.
#[test]
fn documentation_of_the_app_is_current() {
    assert_up_to_date("addon/DOCS.md", |file| {
        let mut general = "| option | default | meaning |\n|---|---|---|\n".to_owned();
        let mut locations = general.clone();
        for (section, setting) in app_settings() {
            let (table, prefix) = match section {
                "locations" if setting.section != Section::Main => continue,
                "locations" => (&mut locations, String::new()),
                "" => (&mut general, String::new()),
                section => (&mut general, format!("{section}.")),
            };
            let help = setting.help.replace("](", &format!("]({DOCS}"));
            writeln!(
                table,
                "| `{prefix}{}` | {} | {help} |",
                setting.name,
                default(setting)
            )
            .unwrap();
        }
        general += "| `locations` | none | the buckets, each with the options below |\n";
        let tables = [("general", general), ("locations", locations)];
        tables.iter().fold(file.to_owned(), |file, (name, table)| {
            let begin = format!("<!-- options: {name} -->\n");
            with_part(&file, &begin, "<!-- end -->", table)
        })
    });
}

#[test]
fn schema_of_the_app_is_current() {
    assert_up_to_date("addon/config.yaml", |file| {
        let mut schema = String::new();
        let mut current = "";
        for (section, setting) in app_settings() {
            if section != current {
                writeln!(schema, "  {section}:").unwrap();
                current = section;
            }
            let is_first = setting.name == "name";
            let indent = match section {
                "" => "  ",
                "locations" if is_first => "    - ",
                "locations" => "      ",
                _ => "    ",
            };
            writeln!(
                schema,
                "{indent}{}: {}?",
                setting.name,
                option_type(setting)
            )
            .unwrap();
            if setting.name == "endpoint" {
                for field in own_fields() {
                    let kind = if field.choices.is_empty() {
                        ANYTHING.to_owned()
                    } else {
                        choice(&field.choices)
                    };
                    writeln!(schema, "{indent}{}: {kind}?", field.id).unwrap();
                }
            }
        }
        with_part(file, "schema:\n", "# End of the schema.\n", &schema)
    });
}

/// What scripts and tests in other languages read.
#[test]
fn list_of_settings_is_current() {
    let mut settings: Vec<Value> = Vec::new();
    for (section, setting) in TABLES
        .iter()
        .flat_map(|(section, settings)| settings.iter().map(move |setting| (*section, setting)))
    {
        settings.push(json!({
            "section": section,
            "name": setting.name,
            "is_secret": setting.secrecy == Secrecy::Secret,
            "app": setting.places.app,
            "form": form_sections(setting.name),
        }));
        if setting.name == "endpoint" {
            settings.extend(own_fields().iter().map(|field| {
                json!({
                    "section": section,
                    "name": field.id,
                    "is_secret": false,
                    "app": true,
                    "form": form_sections(&field.id),
                })
            }));
        }
    }
    let list = serde_json::to_string_pretty(
        &json!({"page_port": Supervisor::PAGE_PORT, "settings": settings, "codes": codes_of_errors()}),
    )
    .unwrap();
    assert_up_to_date("docs/settings.json", |_| list + "\n");
}

/// The codes that the agent's errors, problems and notes have, which the translations have sentences for.
fn codes_of_errors() -> Value {
    let kinds = Kind::ALL.iter().map(|kind| kind.code());
    let hints: BTreeSet<&str> = kinds
        .chain(Reason::ALL.iter().map(|reason| reason.code()))
        .collect();
    let providers: Vec<_> = provider::all().iter().map(|row| &row.id).collect();
    json!({
        "hint": hints,
        "problem": PROBLEMS,
        "note": CheckNote::REASONS,
        "finding": FindingCode::ALL,
        "skipped": SkipCode::ALL,
        "provider": providers,
    })
}

#[test]
fn names_of_settings_are_unique_in_their_section() {
    for (section, settings) in TABLES {
        let names: BTreeSet<&str> = settings.iter().map(|setting| setting.name).collect();
        assert_eq!(names.len(), settings.len(), "{section}");
        assert!(settings.iter().all(|setting| !setting.help.is_empty()));
    }
}

/// Settings that the app offers, with their section.
fn app_settings() -> impl Iterator<Item = (&'static str, &'static Setting)> {
    TABLES
        .iter()
        .flat_map(|(section, settings)| settings.iter().map(move |setting| (*section, setting)))
        .filter(|(_, setting)| setting.places.app)
}

struct OwnField {
    id: String,
    choices: Vec<String>,
}

/// The settings that only one provider has.
fn own_fields() -> Vec<OwnField> {
    let rows = provider::all().iter();
    rows.flat_map(|row| {
        row.fields.iter().map(|field| OwnField {
            id: field.id.clone(),
            choices: field.choices.clone(),
        })
    })
    .collect()
}

/// The parts of the form *Add a bucket* that have the setting at one provider or another.
fn form_sections(name: &str) -> BTreeSet<&'static str> {
    provider::all()
        .iter()
        .flat_map(fields)
        .filter(|field| field.name == name)
        .map(|field| field.section.as_str())
        .collect()
}

fn reference(settings: &[Setting]) -> String {
    let mut table = "| key | values | default | meaning |\n|---|---|---|---|\n".to_owned();
    for setting in settings {
        let values = values(setting.kind);
        let default = default(setting);
        writeln!(
            table,
            "| `{}` | {values} | {default} | {} |",
            setting.name, setting.help
        )
        .unwrap();
    }
    table
}

fn default(setting: &Setting) -> String {
    match setting.default {
        DefaultValue::Value(text) => format!("`{text}`"),
        DefaultValue::Derived(words) => words.to_owned(),
        DefaultValue::None if setting.is_required => "required".to_owned(),
        DefaultValue::None => "none".to_owned(),
    }
}

fn values(kind: SettingKind) -> String {
    match kind {
        SettingKind::Text | SettingKind::Word => "text".to_owned(),
        SettingKind::Path => "path".to_owned(),
        SettingKind::Address => "address and port".to_owned(),
        SettingKind::Addresses => "list of IP addresses".to_owned(),
        SettingKind::Boolean => "`true`, `false`".to_owned(),
        SettingKind::Choice(choices) => codes(choices),
        SettingKind::Provider => "[provider](providers.md)".to_owned(),
        SettingKind::Number(number) => numbers(number),
        SettingKind::Pem => "PEM".to_owned(),
        SettingKind::Proxy => "URL, `environment`".to_owned(),
    }
}

fn numbers(number: Number) -> String {
    let what = match number.unit {
        Unit::Seconds => "seconds",
        Unit::Count => "number",
        Unit::Hours => "hours or days",
        Unit::Bytes => "size",
        Unit::Rate => "size a second",
    };
    let bounds = match number.bounds() {
        bounds if bounds.is_empty() => bounds,
        bounds => format!(", {bounds}"),
    };
    let none = match number.none.first() {
        Some(word) => format!(", or `{word}`"),
        None => String::new(),
    };
    format!("{what}{bounds}{none}")
}

fn codes(words: &[&str]) -> String {
    let codes: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    codes.join(", ")
}

/// A value's type in Supervisor's schema. Supervisor checks choices, and that a secret is a text: its message about any other
/// wrong value would quote all options with their secrets.
fn option_type(setting: &Setting) -> String {
    match setting.kind {
        SettingKind::Choice(choices) => choice(choices),
        SettingKind::Provider => {
            let ids: Vec<_> = provider::all().iter().map(|row| row.id.as_str()).collect();
            choice(&ids)
        }
        _ if setting.secrecy == Secrecy::Secret => "password".to_owned(),
        _ => ANYTHING.to_owned(),
    }
}

/// Takes numbers, too, which YAML makes of `prefix: 2024`; `str` would not.
const ANYTHING: &str = "match(.*)";

/// A choice that can be emptied again.
fn choice<S: AsRef<str>>(choices: &[S]) -> String {
    let choices: Vec<_> = choices.iter().map(AsRef::as_ref).collect();
    format!("list({}|)", choices.join("|"))
}
