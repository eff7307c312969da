//! What a row of the table holds besides plain values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Form;

/// Another endpoint of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// Its form.
    pub endpoint: Form,
    /// The region it stands for, where it has none inside.
    pub region: Option<String>,
}

/// A region to offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// What requests are signed for.
    pub id: String,
    /// Where it is.
    pub name: String,
}

/// How to get a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Where the provider describes it.
    #[schema(format = Uri)]
    pub url: String,
    /// The way in short.
    pub help: String,
}

/// What a key must be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// In the provider's own words.
    pub help: String,
    /// A policy in JSON for the bucket `my-bucket`.
    pub policy: Option<String>,
}

/// Where facts are from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Which facts.
    pub about: String,
    /// A public page.
    #[schema(format = Uri)]
    pub url: String,
}

/// Settings of a location, and where a request for `backups/home.tar` in `my-bucket` must then go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Settings beside `provider`, `bucket` and the key.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// The endpoint.
    pub endpoint: String,
    /// The region that is signed for.
    pub region: String,
    /// Host, with the port where there is one.
    pub host: String,
    /// Path.
    pub path: String,
}
