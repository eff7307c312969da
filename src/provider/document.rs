//! Writes `docs/providers.md` from the table.

use std::fmt::Write;
use std::path::Path;

use super::{Addressing, Provider, all};

const TOP: &str = "\
<!-- Written by scripts/generate from src/provider/table.toml. Change that file, not this one. -->

# Providers

What a location needs for each provider. `provider` takes care of the endpoint, the region, the addressing and the
checksums; [configuration.md](configuration.md) has all other settings. An endpoint can always be written out with
`endpoint` instead: its region is taken out by itself where the endpoint has the form shown here.
";

fn document() -> String {
    let mut text = format!("{TOP}\n| provider | `provider` | endpoint |\n|---|---|---|\n");
    for provider in all() {
        let anchor = anchor(&provider.name);
        let _ = writeln!(
            text,
            "| [{}](#{anchor}) | `{}` | {} |",
            provider.name,
            provider.id,
            endpoint(provider)
        );
    }
    for provider in all() {
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
    let sources = provider
        .sources
        .iter()
        .map(|source| format!("[{}]({})", source.about, source.url));
    blocks.push(paragraph(&format!(
        "Sources: {}.",
        sources.collect::<Vec<_>>().join(", ")
    )));
    format!("\n{}\n", blocks.join("\n\n"))
}

/// What to fill in, and what is set by itself.
fn needed(provider: &Provider) -> Vec<String> {
    let mut lines = vec![match &provider.endpoint {
        Some(form) => format!("Endpoint: `{form}`, made by itself"),
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
    if provider.max_parts != super::s3_parts() {
        lines.push(format!("At most {} parts in an upload", provider.max_parts));
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
            "Not for backups: {classes}; they must be thawed before Home Assistant can restore"
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
        format!(
            "`region`: `{}` unless you say otherwise{choice}",
            provider.region
        )
    }
}

fn addressing(addressing: Addressing) -> &'static str {
    match addressing {
        Addressing::Path => "The bucket goes into the path",
        Addressing::Virtual => "The bucket goes before the host name",
    }
}

fn codes(words: &[String]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A section of `agent.toml`.
pub(crate) fn example(provider: &Provider) -> String {
    let mut text = format!("[[locations]]\nprovider = \"{}\"\n", provider.id);
    for (name, value) in &provider.example.settings {
        let _ = writeln!(text, "{name} = \"{value}\"");
    }
    text + "bucket = \"my-bucket\"\naccess_key_id = \"${S3_KEY_ID}\"\nsecret_access_key = \"${S3_SECRET}\"\n"
}

/// As GitHub makes it of a heading.
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
fn the_document_of_the_providers_says_what_the_table_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    if std::env::var_os("S3_BACKUP_AGENT_GENERATE").is_some() {
        std::fs::write(&file, document()).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == document(),
        "docs/providers.md is not up to date: run scripts/generate"
    );
}
