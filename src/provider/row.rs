//! Structured values of a row of the table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::UrlTemplate;

/// Another endpoint of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// Its template.
    pub endpoint: UrlTemplate,
    /// Its region, if the host does not name one.
    pub region: Option<String>,
    /// Whether another region does not have such an endpoint.
    #[serde(default)]
    pub is_old: bool,
    /// Start of the names of regions that have only this domain, as a partition's do; the first alias is their endpoint.
    pub regions: Option<String>,
}

/// A region to offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// ID that requests are signed for.
    pub id: String,
    /// Place.
    pub name: String,
}

/// How to create a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The provider's own description.
    #[schema(format = Uri)]
    pub url: String,
    /// A short description.
    pub help: String,
}

/// Permissions that a key needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// In the provider's terms.
    pub help: String,
    /// A policy in JSON for the bucket `my-bucket`.
    pub policy: Option<String>,
}

/// A source of facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The facts.
    pub about: String,
    /// A public page.
    #[schema(format = Uri)]
    pub url: String,
}

/// Settings of a location, and the resulting request for `backups/home.tar` in `my-bucket`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Settings besides `provider`, `bucket` and the key.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// The endpoint.
    pub endpoint: String,
    /// Region of the signature.
    pub region: String,
    /// Host, with the port if it is not the default.
    pub host: String,
    /// Path.
    pub path: String,
}
