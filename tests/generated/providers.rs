//! `docs/providers.md` and `docs/development/provider-sources.md`, from the table of providers.

use std::fmt::Write;

use s3_backup_agent::config::{Backend, Location};
use s3_backup_agent::provider::{self, Addressing, Provider};

use super::assert_up_to_date;

/// S3's own limit, which most providers have.
const MAX_PARTS: u64 = 10_000;

const TOP: &str = "\
<!-- Written by scripts/generate from src/provider/table.toml. Change that file, not this one. -->

# Providers

The settings of a location for each provider. `provider` sets the endpoint, the region, the addressing and the checksum;
[configuration.md](configuration.md) has all other settings. You can also set `endpoint` yourself: if it has the form
shown here, the agent takes the region from it.

If a bucket keeps versions or has a lock, deleted backups stay in it and cost, at every provider:
[Versions and locks](concepts/storage.md#versions-and-locks) says what to do.
";

const SOURCES: &str = "\
<!-- Written by scripts/generate from src/provider/table.toml. Change that file, not this one. -->

# Sources of the provider table

Where each fact in [Providers](../providers.md) comes from.
";

fn document() -> String {
    let mut text = format!("{TOP}\n| provider | `provider` | endpoint |\n|---|---|---|\n");
    for provider in provider::all() {
        let anchor = anchor(&provider.name);
        let _ = writeln!(
            text,
            "| [{}](#{anchor}) | `{}` | {} |",
            provider.name,
            provider.id,
            endpoint(provider)
        );
    }
    for provider in provider::all() {
        text += &section(provider);
    }
    text
}

fn endpoint(provider: &Provider) -> String {
    match &provider.endpoint {
        Some(form) => format!("`{form}`"),
        None => format!("your own, such as `{}`", provider.endpoint_example),
    }
}

fn section(provider: &Provider) -> String {
    let keys = &provider.keys;
    let mut blocks = vec![
        format!("## {}", provider.name),
        list(&needed(provider)),
        format!("```toml\n{}```", example(provider)),
        paragraph(&format!("Key: {} ([more]({}))", keys.help, keys.url)),
        paragraph(&format!("Permissions: {}", provider.permissions.help)),
    ];
    blocks.extend(
        provider
            .permissions
            .policy
            .iter()
            .map(|policy| format!("```json\n{policy}```")),
    );
    if !provider.quirks.is_empty() {
        blocks.extend(["Good to know:".to_owned(), list(&provider.quirks)]);
    }
    format!("\n{}\n", blocks.join("\n\n"))
}

fn sources() -> String {
    let sections = provider::all().iter().map(|provider| {
        let links: Vec<String> = provider
            .sources
            .iter()
            .map(|source| format!("[{}]({})", source.about, source.url))
            .collect();
        format!("\n## {}\n\n{}\n", provider.name, list(&links))
    });
    SOURCES.to_owned() + &sections.collect::<String>()
}

/// Settings to fill in, and those that the agent sets.
fn needed(provider: &Provider) -> Vec<String> {
    let mut lines = vec![match &provider.endpoint {
        Some(form) => format!("Endpoint: `{form}`, set by the agent"),
        None => format!(
            "`endpoint`: the URL of the S3 API, such as `{}`",
            provider.endpoint_example
        ),
    }];
    for field in &provider.fields {
        let optional = if field.optional { ", optional" } else { "" };
        lines.push(format!(
            "`{}` ({}{optional}): {}",
            field.id, field.label, field.help
        ));
    }
    lines.push(region(provider));
    lines.push(format!(
        "{}; checksum `{}`",
        addressing(provider.addressing),
        provider.checksum.as_str()
    ));
    if provider.max_parts != MAX_PARTS {
        lines.push(format!(
            "At most {} parts for each upload",
            provider.max_parts
        ));
    }
    if !provider.storage_classes.is_empty() {
        lines.push(format!(
            "Storage classes: {}",
            codes(&provider.storage_classes)
        ));
    }
    if !provider.archive_classes.is_empty() {
        let classes = codes(&provider.archive_classes);
        lines.push(format!(
            "Not for backups: {classes}, which must be restored at the provider before Home Assistant can read them"
        ));
    }
    lines
}

fn region(provider: &Provider) -> String {
    let ids: Vec<String> = provider
        .regions
        .iter()
        .map(|region| format!("`{}` ({})", region.id, region.name))
        .collect();
    let choice = if ids.is_empty() {
        String::new()
    } else {
        format!(": {}", ids.join(", "))
    };
    if provider.region_required {
        format!("`region`, or `endpoint` with the region in it{choice}")
    } else {
        format!("`region`: `{}` by default{choice}", provider.region)
    }
}

fn addressing(addressing: Addressing) -> &'static str {
    match addressing {
        Addressing::Path => "Addressing `path` (bucket in the path)",
        Addressing::Virtual => "Addressing `virtual` (bucket in the host name)",
    }
}

fn codes(words: &[String]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A location in `agent.toml`.
fn example(provider: &Provider) -> String {
    let mut text = format!("[[locations]]\nprovider = \"{}\"\n", provider.id);
    for (name, value) in &provider.example.settings {
        let _ = writeln!(text, "{name} = \"{value}\"");
    }
    text + "bucket = \"my-bucket\"\naccess_key_id = \"${S3_KEY_ID}\"\nsecret_access_key = \"${S3_SECRET}\"\n"
}

/// The anchor that GitHub generates for a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-'));
    kept.map(|letter| {
        if letter == ' ' {
            '-'
        } else {
            letter.to_ascii_lowercase()
        }
    })
    .collect()
}

fn list(items: &[String]) -> String {
    items
        .iter()
        .map(|item| wrapped(item, "- ", "  "))
        .collect::<Vec<_>>()
        .join("\n")
}

fn paragraph(text: &str) -> String {
    wrapped(text, "", "")
}

/// Lines of at most 120 characters, where the words allow it.
fn wrapped(text: &str, first: &str, next: &str) -> String {
    let mut lines = vec![first.to_owned()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        let is_empty = line.len() == first.len() || line.len() == next.len();
        if !is_empty && line.chars().count() + 1 + word.chars().count() > 120 {
            lines.push(format!("{next}{word}"));
        } else {
            *line += if is_empty { "" } else { " " };
            *line += word;
        }
    }
    lines.join("\n")
}

#[test]
fn providers_reference_is_current() {
    assert_up_to_date("docs/providers.md", |_| document());
    assert_up_to_date("docs/development/provider-sources.md", |_| sources());
}

#[test]
fn every_example_configures_its_location() {
    for row in provider::all() {
        let section = example(row);
        let Backend::S3(s3) = location(&section).unwrap().backend else {
            panic!("{section}")
        };
        assert_eq!(s3.provider.id, row.id);
        assert_eq!(
            s3.endpoint,
            row.example.endpoint.parse().unwrap(),
            "{section}"
        );
        assert_eq!(
            (&s3.region.value, s3.addressing.value),
            (&row.example.region, row.addressing),
            "{section}"
        );
        assert_eq!(
            (s3.checksum.value, s3.region.is_given),
            (row.checksum, section.contains("\nregion"))
        );
    }
}

#[test]
fn incomplete_endpoint_names_the_missing_setting() {
    let row = |id: &str| example(provider::find(id).unwrap());
    for (section, key) in [
        (
            row("backblaze_b2").replace("region = ", "name = "),
            "region",
        ),
        (
            row("cloudflare_r2").replace("0123456789abcdef0", "0123456789"),
            "account_id",
        ),
        (row("minio").replace("endpoint = ", "name = "), "endpoint"),
    ] {
        assert_eq!(location(&section).unwrap_err(), [key], "{section}");
    }
}

/// The location in a section of `agent.toml`, or the keys with a problem.
fn location(section: &str) -> Result<Location, Vec<String>> {
    let mut file: toml::Table = section.parse().unwrap();
    let settings = file.remove("locations").unwrap()[0].clone();
    match Location::from_json(&serde_json::to_value(settings).unwrap()) {
        Ok((location, _)) => Ok(location),
        Err(problems) => Err(problems.into_iter().map(|problem| problem.key).collect()),
    }
}
