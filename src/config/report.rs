//! The configuration for a bug report: each value with its source, and nothing that is secret.

use config::{Value, ValueKind};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::location::{Backend, Location};
use super::s3::{Choice, Encryption, S3Settings};
use crate::logging::scrub::HIDDEN;

/// Keys whose values may be shown; all others are hidden, so that a new setting is hidden until somebody thinks of it.
/// The id of a key is no secret, but people swap the two.
const SHOWN: [&str; 30] = [
    "state_dir",
    "socket",
    "tcp",
    "tcp_without_tls",
    "token_file",
    "page",
    "page_from",
    "tls_cert",
    "tls_key",
    "level",
    "format",
    "id",
    "name",
    "provider",
    "endpoint",
    "region",
    "bucket",
    "prefix",
    "credentials",
    "addressing",
    "checksum",
    "storage_class",
    "encryption",
    "part_size",
    "concurrency",
    "outage_seconds",
    "verify_every",
    "verify_sample",
    "verify_mode",
    "idle_seconds",
];

/// The same for what ends in this.
const SHOWN_LIMITS: &str = "_limit";

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Written {
    /// The key, as in `locations[0].bucket`.
    pub key: String,
    /// The value, variables not replaced.
    pub value: String,
    /// Where it is from: a file, or an environment variable.
    pub source: Option<String>,
}

/// All values that somebody set, sorted by key.
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
            let is_shown = SHOWN.contains(&name) || name.ends_with(SHOWN_LIMITS);
            let shown =
                Some(kind.to_string()).filter(|text| is_shown && !is_suspicious(name, text));
            let shown = shown.unwrap_or_else(|| HIDDEN.to_owned());
            all.push(Written {
                key: key.to_owned(),
                value: shown,
                source: value.origin().map(str::to_owned),
            });
        }
    }
}

/// Whether an endpoint has what it must not have, and what people put a secret into: a user, or a query.
fn is_suspicious(name: &str, text: &str) -> bool {
    name == "endpoint" && text.contains(['@', '?', '#'])
}

impl Location {
    /// Its settings as they work, without secrets, wherever they are from.
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
            // Of these it is only said whether they are set.
            "encryption_key": hidden(encryption_key),
            "session_token": hidden(self.session_token.is_some()),
            "ca_certificate": hidden(self.wire.ca_certificate.is_some()),
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
