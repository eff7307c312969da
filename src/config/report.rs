//! The configuration for a bug report: each value with its source, without secrets.

use config::{Value, ValueKind};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::credentials::Encryption;
use super::location::{Backend, Location};
use super::s3::{Choice, S3Settings};
use super::settings::{Secrecy, TABLES};
use crate::logging::scrub::HIDDEN;

/// A value as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Written {
    /// The key, as in `locations[0].bucket`.
    pub key: String,
    /// The value, variables not expanded.
    pub value: String,
    /// Its source: a file, or an environment variable.
    pub source: Option<String>,
}

/// All values that the user set, sorted by key.
pub(super) fn written(value: &Value) -> Vec<Written> {
    let mut all = Vec::new();
    collect("", value, &mut all);
    all.sort_by(|one, other| one.key.cmp(&other.key));
    all
}

fn collect(key: &str, value: &Value, all: &mut Vec<Written>) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                collect(&key, value, all);
            }
        }
        ValueKind::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                collect(&format!("{key}[{index}]"), value, all);
            }
        }
        kind => {
            let name = key.rsplit('.').next().unwrap_or(key);
            let name = name.split('[').next().unwrap_or(name);
            let text = kind.to_string();
            let is_shown = is_public(name) && !is_suspicious(name, &text);
            all.push(Written {
                key: key.to_owned(),
                value: if is_shown { text } else { HIDDEN.to_owned() },
                source: value.origin().map(str::to_owned),
            });
        }
    }
}

/// Whether a report may show a setting; never one without a row, such as a typing error.
fn is_public(name: &str) -> bool {
    TABLES
        .iter()
        .flat_map(|(_, settings)| *settings)
        .any(|setting| setting.name == name && setting.secrecy == Secrecy::Public)
}

/// Whether an endpoint has a part that may hold a secret: a user, or a query.
fn is_suspicious(name: &str, text: &str) -> bool {
    name == "endpoint" && text.contains(['@', '?', '#'])
}

impl Location {
    /// The effective settings, without secrets.
    #[must_use]
    pub fn report(&self) -> serde_json::Value {
        let backend = match &self.backend {
            Backend::S3(s3) => s3.report(),
            Backend::Directory(path) => json!({"directory": path}),
        };
        json!({
            "part_size": self.part_size,
            "concurrency": self.concurrency,
            "outage_seconds": self.outage.as_secs(),
            "verify": self.verify.map(|verify| json!({
                "every_seconds": verify.every.as_secs(),
                "sample": verify.sample,
                "mode": if verify.full { "full" } else { "quick" },
            })),
            "storage": backend,
        })
    }
}

impl S3Settings {
    fn report(&self) -> serde_json::Value {
        let (encryption, encryption_key) = match &self.encryption {
            Encryption::None => ("none", false),
            Encryption::Aes256 => ("AES256", false),
            Encryption::Kms(key) => ("aws:kms", key.is_some()),
            Encryption::Customer(_) => ("SSE-C", true),
        };
        json!({
            "region": choice(&self.region, String::as_str),
            "addressing": choice(&self.addressing, |addressing| addressing.as_str()),
            "checksum": choice(&self.checksum, |checksum| checksum.as_str()),
            "storage_class": self.storage_class,
            "encryption": encryption,
            "upload_limit": self.wire.upload_limit,
            "download_limit": self.wire.download_limit,
            "idle_seconds": self.wire.idle.map(|idle| idle.as_secs()),
            // The report shows only whether these are set.
            "encryption_key": hidden(encryption_key),
            "session_token": hidden(self.session_token.is_some()),
            "ca_certificate": hidden(self.wire.ca_certificate.is_some()),
            "certificate_sha256": self.wire.certificate_sha256.as_ref().map(ToString::to_string),
            "proxy": hidden(self.wire.proxy.is_some()),
        })
    }
}

fn choice<T>(choice: &Choice<T>, text: impl Fn(&T) -> &str) -> serde_json::Value {
    json!({"value": text(&choice.value), "is_given": choice.is_given})
}

fn hidden(is_set: bool) -> Option<&'static str> {
    is_set.then_some(HIDDEN)
}
