//! The providers, as data: `provider/table.toml` holds each provider's endpoint, regions and quirks. The agent, Home
//! Assistant's config flow and `docs/providers.md` use this one table.

mod field;
mod nearest;
mod row;
mod template;
#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::sync::LazyLock;

use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

pub use field::{Field, Pattern};
pub use row::{Alias, Example, Keys, Permissions, Region, Source};
pub use template::UrlTemplate;

/// A provider, or a self-hosted server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// ID, as in a location's `provider`.
    #[schema(min_length = 1)]
    pub id: String,
    /// Name, as the provider writes it.
    pub name: String,
    /// Documentation of its S3 API.
    #[schema(format = Uri)]
    pub docs: String,
    /// Template of the endpoint; null if only the user knows the endpoint.
    #[schema(value_type = Option<String>)]
    pub endpoint: Option<UrlTemplate>,
    /// Other endpoints of this provider.
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub aliases: Vec<Alias>,
    /// An example of an endpoint.
    #[schema(format = Uri)]
    pub endpoint_example: String,
    /// Fields of the endpoint's template besides the region.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Region to sign for if neither the user nor the endpoint names one.
    #[schema(min_length = 1)]
    pub region: String,
    /// Whether the endpoint requires a region from the user.
    #[serde(default)]
    pub region_required: bool,
    /// Regions to offer; others are allowed too.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// Place of the bucket's name in a request.
    #[serde(default)]
    pub addressing: Addressing,
    /// Checksum that the provider verifies.
    #[serde(default)]
    pub checksum: Checksum,
    /// Maximum number of parts of an upload.
    #[serde(default = "s3_parts")]
    #[schema(minimum = 1)]
    pub max_parts: u64,
    /// Storage classes that need no restore before reading; empty if there is no choice.
    #[serde(default)]
    pub storage_classes: Vec<String>,
    /// Storage classes whose objects must be restored at the provider before reading.
    #[serde(default)]
    pub archive_classes: Vec<String>,
    /// Quirks that users should know, a sentence each.
    #[serde(default)]
    pub quirks: Vec<String>,
    /// How to create a key.
    pub keys: Keys,
    /// Permissions that the key needs.
    pub permissions: Permissions,
    /// Sources of these facts.
    pub sources: Vec<Source>,
    /// Settings and the resulting request, for tests and documentation.
    #[serde(skip_serializing)]
    #[schema(ignore)]
    pub example: Example,
}

/// Place of the bucket's name in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// In the path.
    #[default]
    Path,
    /// Before the host name.
    Virtual,
}

/// Checksum by which a provider verifies received content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// The SHA-256 in the signature, which every provider takes and most verify.
    #[default]
    Sha256,
    /// A CRC-32C in a signed header; the signature does not cover the content.
    Crc32c,
    /// A CRC-64/NVME in such a header.
    Crc64Nvme,
    /// None.
    Off,
}

impl Addressing {
    /// The value in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Virtual => "virtual",
        }
    }
}

impl Checksum {
    /// The value in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Off => "off",
        }
    }
}

impl FromStr for Addressing {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::deserialize(text.into_deserializer())
    }
}

impl FromStr for Checksum {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::deserialize(text.into_deserializer())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    provider: Vec<Provider>,
}

static TABLE: LazyLock<Vec<Provider>> = LazyLock::new(|| read().unwrap_or_default());

/// A test ensures that the table is valid.
fn read() -> Result<Vec<Provider>, toml::de::Error> {
    Ok(toml::from_str::<Table>(include_str!("provider/table.toml"))?.provider)
}

/// S3's own limit. Source: "Amazon S3 multipart upload limits" in Amazon's user guide.
fn s3_parts() -> u64 {
    10_000
}

/// All providers, the most useful first.
#[must_use]
pub fn all() -> &'static [Provider] {
    &TABLE
}

/// Returns the provider with this ID.
#[must_use]
pub fn find(id: &str) -> Option<&'static Provider> {
    all().iter().find(|provider| provider.id == id)
}

/// The row for providers without their own row; a test ensures that it exists.
#[must_use]
pub fn other() -> Option<&'static Provider> {
    find("other")
}

/// Returns the provider of an endpoint, whose host may start with a bucket's name.
#[must_use]
pub fn of_endpoint(endpoint: &Url) -> Option<&'static Provider> {
    all()
        .iter()
        .find(|provider| provider.recognize(endpoint).is_some())
}

/// Returns the provider whose ID is closest to a misspelt one.
#[must_use]
pub fn nearest(id: &str) -> Option<&'static Provider> {
    nearest::nearest(id, all())
}

/// An endpoint that matches a template of a provider.
struct Recognized<'p> {
    template: &'p UrlTemplate,
    parts: template::Parts,
    /// The alias, if it is one's template.
    alias: Option<&'p Alias>,
}

impl Provider {
    /// Builds the endpoint from a location's settings; `value` returns a setting by its name.
    ///
    /// # Errors
    /// The names of missing or invalid settings; `endpoint` if only the user knows it.
    pub fn endpoint_for(&self, value: impl Fn(&str) -> Option<String>) -> Result<Url, Vec<String>> {
        let default =
            |name: &str| (name == "region" && !self.region_required).then(|| self.region.clone());
        let given = |name: &str| {
            value(name)
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let template = self
            .template_for(given("region").as_deref().unwrap_or_default())
            .ok_or_else(|| vec!["endpoint".to_owned()])?;
        template.expand(
            |name| given(name).or_else(|| default(name)),
            |name, text| self.fits(name, text),
        )
    }

    /// Returns the region of an endpoint of this provider.
    #[must_use]
    pub fn region_in(&self, endpoint: &Url) -> Option<String> {
        let recognized = self.recognize(endpoint)?;
        recognized
            .parts
            .value("region")
            .or_else(|| recognized.alias?.region.as_deref())
            .map(str::to_owned)
    }

    /// Returns the bucket before the host of an endpoint of this provider.
    #[must_use]
    pub fn bucket_in(&self, endpoint: &Url) -> Option<String> {
        let before = self.recognize(endpoint)?.parts.before;
        let bucket = before.trim_end_matches('.');
        (!bucket.is_empty()).then(|| bucket.to_owned())
    }

    /// Returns the same endpoint for another region, if it depends on the region.
    #[must_use]
    pub fn moved_to(&self, endpoint: &Url, region: &str) -> Option<Url> {
        let Recognized {
            template,
            parts,
            alias,
        } = self.recognize(endpoint)?;
        let stays = alias.is_some_and(|alias| alias.region.is_some() || alias.is_old);
        let partition = alias.and_then(|alias| alias.regions.as_deref());
        let template = if stays || partition != self.partition_of(region) {
            self.template_for(region)?
        } else {
            template
        };
        if !template.fields().any(|name| name == "region") {
            return None;
        }
        let value = |name: &str| {
            if name == "region" {
                Some(region)
            } else {
                parts.value(name)
            }
        };
        let expanded = template
            .expand(
                |name| value(name).map(str::to_owned),
                |name, text| self.fits(name, text),
            )
            .ok()?;
        let mut moved = endpoint.clone();
        moved
            .set_host(Some(&format!("{}{}", parts.before, expanded.host_str()?)))
            .ok()?;
        Some(moved)
    }

    fn recognize(&self, endpoint: &Url) -> Option<Recognized<'_>> {
        let host = endpoint.host_str()?;
        // First, because an alias may match the provider's own template as well.
        let aliases = self
            .aliases
            .iter()
            .map(|alias| (&alias.endpoint, Some(alias)));
        let own = self.endpoint.iter().map(|template| (template, None));
        aliases.chain(own).find_map(|(template, alias)| {
            let parts = template.parse(host, |name, text| self.fits(name, text))?;
            Some(Recognized {
                template,
                parts,
                alias,
            })
        })
    }

    /// The endpoint's template for a region: its partition's, or else the provider's own.
    fn template_for(&self, region: &str) -> Option<&UrlTemplate> {
        let partition = self.partition_of(region);
        let of_partition = |alias: &&Alias| alias.regions.as_deref() == partition;
        let alias = partition.and_then(|_| self.aliases.iter().find(of_partition));
        alias
            .map(|alias| &alias.endpoint)
            .or(self.endpoint.as_ref())
    }

    /// The start of the names of all regions in the partition of this one, if it has a domain of its own.
    fn partition_of(&self, region: &str) -> Option<&str> {
        self.aliases
            .iter()
            .filter_map(|alias| alias.regions.as_deref())
            .find(|start| region.starts_with(start))
    }

    fn fits(&self, name: &str, text: &str) -> bool {
        match self.fields.iter().find(|field| field.id == name) {
            Some(field) => field.accepts(text),
            None => Pattern::HostLabel.fits(text),
        }
    }
}
