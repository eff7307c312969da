//! The access key of a bucket, and the key that encrypts its objects.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::reader::{Reader, is_word};
use super::secret::Secret;
use crate::error::Reason;
use crate::units::sha256;

/// An access key.
pub(super) struct AccessKey {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) token: Option<Secret>,
}

impl AccessKey {
    pub(super) fn read(section: &mut Reader<'_>) -> Option<Self> {
        let token = section.secret("session_token");
        if section.text("credentials")? == "environment" {
            return Self::from_environment(section);
        }
        let id = section.text("access_key_id");
        let secret = section.secret("secret_access_key");
        Some(Self {
            id: id?,
            secret: secret?,
            token,
        })
    }

    /// Reads the variables of Amazon's own tools. Source: "Environment variables" in the AWS CLI's user guide.
    fn from_environment(section: &mut Reader<'_>) -> Option<Self> {
        let id = section.written("access_key_id");
        let secret = section.written("secret_access_key");
        if id.is_some() || secret.is_some() {
            section
                .problem(
                    "credentials",
                    "is \"environment\": remove access_key_id and secret_access_key",
                )
                .of_kind("key_from_environment", []);
        }
        if !section.is_local() {
            section
                .problem(
                    "credentials",
                    "can be \"environment\" in the agent's own configuration only",
                )
                .of_kind("key_from_environment", []);
            return None;
        }
        let id = read_variable(section, "AWS_ACCESS_KEY_ID", true);
        let secret = read_variable(section, "AWS_SECRET_ACCESS_KEY", true);
        let token = read_variable(section, "AWS_SESSION_TOKEN", false);
        Some(Self {
            id: id?,
            secret: Secret::new(secret?),
            token: token.map(Secret::new),
        })
    }
}

fn read_variable(section: &mut Reader<'_>, name: &str, is_required: bool) -> Option<String> {
    let value = section.variable(name);
    match &value {
        None if is_required => {
            let message = format!("is \"environment\", but the variable {name} is not set");
            section
                .problem("credentials", message)
                .of_kind("bad_variable", []);
        }
        Some(value) if !is_word(value) => {
            let message = format!(
                "is \"environment\", and {name} holds a space or a character that is not printable ASCII"
            );
            section.problem("credentials", message).reason = Some(Reason::StrangeCharacter);
            return None;
        }
        _ => {}
    }
    value
}

/// Encryption at the provider, independent of Home Assistant's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket is set up.
    None,
    /// With the provider's keys (SSE-S3).
    Aes256,
    /// With a key of the key service, or the account's default one (SSE-KMS).
    Kms(Option<String>),
    /// With a key of the user's own (SSE-C): 32 bytes in Base64. Without it the backups cannot be read.
    Customer(Secret),
}

impl Encryption {
    pub(super) fn read(section: &mut Reader<'_>) -> Option<Self> {
        let key = section.text("encryption_key");
        let encryption = match section.text("encryption")?.as_str() {
            "aws:kms" => return Some(Self::Kms(key)),
            "SSE-C" => return Self::customer(section, key),
            "AES256" => Self::Aes256,
            _ => Self::None,
        };
        if key.is_some() {
            section
                .problem(
                    "encryption_key",
                    "is for encryption = \"aws:kms\" or \"SSE-C\" only",
                )
                .of_kind("key_without_encryption", []);
        }
        Some(encryption)
    }

    /// Source: "Using server-side encryption with customer-provided keys" in Amazon's user guide: 256 bits, Base64.
    fn customer(section: &mut Reader<'_>, key: Option<String>) -> Option<Self> {
        let key = key.filter(|key| BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 32));
        if key.is_none() {
            section.problem(
                "encryption_key",
                "must be 32 bytes in Base64: create one with `openssl rand -base64 32` and keep a copy, \
                 without it the backups cannot be read",
            )
            .of_kind("not_a_customer_key", []);
        }
        Some(Self::Customer(Secret::new(key?)))
    }

    /// Tells two of them apart without revealing the key.
    pub(super) fn fingerprint(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Aes256 => "AES256".to_owned(),
            Self::Kms(key) => format!("KMS {key:?}"),
            Self::Customer(key) => format!("SSE-C {}", sha256(key.expose().as_bytes())),
        }
    }
}
