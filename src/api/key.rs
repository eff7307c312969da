//! `key`: whether a key opens a backup.

use std::fmt;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::read_secret_json;
use super::openapi::{Problems, StorageProblems};
use super::{BackupPath, Problem};
use crate::agent::model::KeyCheck;
use crate::agent::opened::key::check_key;
use crate::config::Secret;
use crate::error::{Error, Kind};
use crate::server::auth::Confidential;

/// Limit for a key in bytes: Home Assistant's has 34.
const MAX_KEY_BYTES: usize = 4096;

/// What the body must be.
const EXPECTED: &str = "JSON with a text of at most 4096 bytes as \"password\", and nothing else";

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRequest {
    /// What Home Assistant calls the encryption key.
    #[schema(value_type = String, min_length = 1, max_length = 4096)]
    password: KeyText,
}

/// A password that no message repeats.
struct KeyText(Secret);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = KeyText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<KeyText, E> {
                if text.len() > MAX_KEY_BYTES {
                    return Err(E::custom("too long"));
                }
                Ok(KeyText(Secret::new(text)))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Result of a check of a key.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyChecked {
    result: KeyCheck,
}

/// Check whether a key opens a backup
///
/// Reads the headers in the tar up to its first archive that is not plain, and at most 512 bytes of that: two small
/// requests. The agent checks one key at a time, and keeps none. Refused over TCP without TLS.
#[utoipa::path(
    post, path = "/v1/locations/{loc}/backups/{backup_id}/key", operation_id = "checkKey", tag = "backups",
    params(BackupPath),
    request_body = KeyRequest,
    responses(
        (status = 200, description = "The result.", body = KeyChecked),
        Problems<400>, Problems<404>, Problems<422>, StorageProblems,
    ),
)]
pub(super) async fn check(
    State(state): State<super::State>,
    Extension(confidential): Extension<Confidential>,
    Path(BackupPath { loc, backup_id }): Path<BackupPath>,
    body: Body,
) -> Result<Json<KeyChecked>, Problem> {
    if !confidential.0 {
        let detail = "A backup's key must not be sent over TCP without TLS.";
        let hint = "Connect to the agent's Unix socket, or set tls_cert and tls_key.";
        return Err(Error::new(Kind::InvalidRequest, detail)
            .with_hint(hint)
            .into());
    }
    let KeyRequest { password } = read_secret_json(body, EXPECTED).await?;
    let check = |location, entry| check_key(location, entry, password.0.clone());
    let result = state.agent.open(&loc, &backup_id, check).await?;
    Ok(Json(KeyChecked { result }))
}
