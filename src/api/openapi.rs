//! The OpenAPI document, derived from the routes and their types. `docs/openapi.json` is its text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::openapi::{ObjectBuilder, OpenApi as Document, Ref, RefOr, Schema, schema::Type};
use utoipa::{IntoResponses, OpenApi, PartialSchema, ToSchema};

use crate::error::Kind;

/// Request bodies, whose schemas stay as derived. A backup is returned as it came.
const REQUESTS: [&str; 5] = [
    "Addon",
    "AgentBackup",
    "LocationSettings",
    "RecoverRequest",
    "WantedLog",
];

/// Keys that an answer may lack, by schema.
const OPTIONAL: [(&str, &str); 15] = [
    ("AgentMetadata", "crc32"),
    ("AgentMetadata", "duration_ms"),
    ("AgentMetadata", "inventory"),
    ("Backup", "s3_backup_agent"),
    ("Failure", "placeholders"),
    ("Failure", "since"),
    ("InvalidSetting", "placeholders"),
    ("Inventory", "unexpected"),
    ("OptionProblem", "placeholders"),
    ("Problem", "placeholders"),
    ("Problem", "problems"),
    ("Step", "key"),
    ("CheckNote", "placeholders"),
    ("CheckNote", "suggestion"),
    ("Checked", "retried"),
];

/// Statuses that every call with a token can answer with.
const OF_EVERY_CALL: [u16; 3] = [401, 429, 500];

/// Error statuses with the name and the description of the response that all calls share.
const PROBLEMS: [(u16, &str, &str); 11] = [
    (400, "InvalidRequest", "The request is malformed."),
    (401, "Unauthorized", "The token is missing or wrong."),
    (
        404,
        "NotFound",
        "The backup, location, upload or path does not exist.",
    ),
    (
        409,
        "Conflict",
        "The received bytes differ from the announced ones, the upload was cancelled, or the bucket forbids the change.",
    ),
    (
        422,
        "InvalidMetadata",
        "The backup lacks a valid ID, name, date or size, or the tar is not the announced backup.",
    ),
    (
        429,
        "TooManyAttempts",
        "Too many calls without the right token came from this address. An address that has shown the token is always served.",
    ),
    (500, "Internal", "A bug in the agent."),
    (502, "StorageRefused", "The storage provider refuses."),
    (
        503,
        "Unavailable",
        "The storage provider or the agent is temporarily unavailable.",
    ),
    (
        504,
        "StorageTimeout",
        "The storage provider did not answer in time.",
    ),
    (
        507,
        "StorageFull",
        "The storage provider has no space or quota left.",
    ),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "S3 Backup Agent",
        version = "1",
        description = "Keeps Home Assistant's backups in S3-compatible buckets. Version 1 of the protocol between the agent \
                       and its clients: HTTP/1.1 over a Unix socket, or over TCP with a token and, optionally, TLS. Readers \
                       ignore keys and event types they do not know.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "The agent that serves this document.")),
    security(("token" = []), ()),
    tags(
        (name = "agent", description = "The agent itself."),
        (name = "locations", description = "Where backups are kept."),
        (name = "backups", description = "The backups of one location."),
        (name = "uploads", description = "Backups in transit to a location."),
    ),
)]
struct Base;

/// The problem that a call answers with status `STATUS`; its codes stand in the shared response.
pub(super) struct Problems<const STATUS: u16>;

impl<const STATUS: u16> IntoResponses for Problems<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let (_, name, _) = PROBLEMS
            .into_iter()
            .find(|(status, ..)| *status == STATUS)
            .unwrap_or_default();
        BTreeMap::from([(STATUS.to_string(), Ref::from_response_name(name).into())])
    }
}

/// The problems of every call that makes requests to the storage.
pub(super) struct StorageProblems;

impl IntoResponses for StorageProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut responses = Problems::<502>::responses();
        responses.extend(Problems::<503>::responses());
        responses.extend(Problems::<504>::responses());
        responses
    }
}

impl PartialSchema for Kind {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(Self::ALL.map(Self::code)))
            .into()
    }
}

impl ToSchema for Kind {
    fn name() -> Cow<'static, str> {
        "Code".into()
    }
}

/// This document
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "getOpenApi", tag = "agent",
    responses((status = 200, description = "The OpenAPI document.", body = Object)),
)]
pub(super) async fn openapi() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// Formats the document as in `docs/openapi.json`.
fn text() -> String {
    format!("{:#}\n", document(super::described()))
}

/// Adds what all calls share to the description of the routes.
fn document(routes: Document) -> Value {
    let mut document = Base::openapi();
    document.merge(routes);
    let mut document = serde_json::to_value(document).unwrap_or_default();
    for operation in operations(&mut document) {
        if operation.get("security").is_none() {
            for (status, name, _) in PROBLEMS {
                if OF_EVERY_CALL.contains(&status) {
                    let reference = json!({"$ref": format!("#/components/responses/{name}")});
                    operation["responses"][status.to_string()] = reference;
                }
            }
        }
        if let Some(responses) = operation["responses"].as_object_mut() {
            responses.sort_keys();
        }
    }
    let components = &mut document["components"];
    components["responses"] = PROBLEMS.into_iter().map(problem).collect();
    components["securitySchemes"] = json!({"token": {
        "type": "http", "scheme": "bearer",
        "description": "Required over TCP; over the Unix socket only when the agent is configured with a token.",
    }});
    let schemas = components["schemas"].as_object_mut();
    for (name, schema) in schemas.into_iter().flatten() {
        if !REQUESTS.contains(&name.as_str()) {
            let name = name.clone();
            complete(&name, schema);
        }
    }
    document
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut();
    paths
        .into_iter()
        .flat_map(Map::values_mut)
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut)
}

/// Describes the shared response of a status, with the codes that have it.
fn problem((status, name, description): (u16, &str, &str)) -> (String, Value) {
    let codes: Vec<_> = Kind::ALL
        .into_iter()
        .filter(|kind| kind.facts().status == status)
        .map(|kind| format!("`{}`", kind.code()))
        .collect();
    let schema = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    let mut response = json!({
        "description": format!("{description} Codes: {}.", codes.join(", ")),
        "content": {"application/problem+json": schema},
    });
    if status == 429 {
        let seconds = json!({"description": "Seconds to wait.", "schema": {"type": "integer"}});
        response["headers"] = json!({"Retry-After": seconds});
    }
    (name.to_owned(), response)
}

/// Describes an answer: the agent writes every key but those in [`OPTIONAL`], and may add others later.
fn complete(name: &str, schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        if object.get("additionalProperties") == Some(&json!(false)) {
            object.remove("additionalProperties");
        }
        if let Some(properties) = object.get("properties").and_then(Value::as_object) {
            let keys = properties.keys();
            let written = keys.filter(|key| !OPTIONAL.contains(&(name, key)));
            let required: Value = written.map(String::as_str).collect();
            object.insert("required".into(), required);
        }
        object.values_mut().for_each(|part| complete(name, part));
    } else if let Some(array) = schema.as_array_mut() {
        for part in array {
            complete(name, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn openapi_document_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
        let text = super::text();
        if std::env::var_os("S3_BACKUP_AGENT_GENERATE").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            written == text,
            "docs/openapi.json is not up to date: run scripts/generate"
        );
    }
}
