//! The providers that people keep their buckets at, as data: `provider/table.toml` says how each is reached and what
//! is peculiar about it. The agent, Home Assistant's config flow and `docs/providers.md` all use this one table.

mod field;
mod form;
mod nearest;
mod row;
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
pub use form::Form;
pub use row::{Alias, Example, Keys, Permissions, Region, Source};

/// A provider, or a kind of server that people run themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What a location's `provider` says.
    #[schema(min_length = 1)]
    pub id: String,
    /// As the provider writes itself.
    pub name: String,
    /// Where its S3 API is documented.
    #[schema(format = Uri)]
    pub docs: String,
    /// Form of the endpoint; none where only the person knows it.
    #[schema(value_type = Option<String>)]
    pub endpoint: Option<Form>,
    /// Other endpoints of this provider that people may have.
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub aliases: Vec<Alias>,
    /// An endpoint as people would write it.
    #[schema(format = Uri)]
    pub endpoint_example: String,
    /// What the form of the endpoint needs besides the region.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Region to sign for where neither the person nor the endpoint names one.
    #[schema(min_length = 1)]
    pub region: String,
    /// Whether the endpoint cannot be made without being told the region.
    #[serde(default)]
    pub region_required: bool,
    /// Regions to offer; others are allowed too.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// Where the bucket's name goes.
    #[serde(default)]
    pub addressing: Addressing,
    /// How the provider checks what arrives.
    #[serde(default)]
    pub checksum: Checksum,
    /// Most parts of one upload.
    #[serde(default = "s3_parts")]
    #[schema(minimum = 1)]
    pub max_parts: u64,
    /// Storage classes that can be read at once; empty where there is nothing to choose.
    #[serde(default)]
    pub storage_classes: Vec<String>,
    /// Storage classes that must be thawed before they can be read: no restore in Home Assistant before that.
    #[serde(default)]
    pub archive_classes: Vec<String>,
    /// What people should know, a sentence each.
    #[serde(default)]
    pub quirks: Vec<String>,
    /// How to get a key.
    pub keys: Keys,
    /// What the key must be allowed to do.
    pub permissions: Permissions,
    /// Where all this is from.
    pub sources: Vec<Source>,
    /// Settings and what must come of them, for tests and documentation.
    #[serde(skip_serializing)]
    #[schema(ignore)]
    pub example: Example,
}

/// Where the bucket's name goes in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// Into the path.
    #[default]
    Path,
    /// Before the host name.
    Virtual,
}

/// How a provider checks that what arrives is what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// By the SHA-256 that is part of the signature. Every provider does it.
    #[default]
    Sha256,
    /// By a CRC-32C in a signed header, over content that is not hashed for the signature.
    Crc32c,
    /// By a CRC-64/NVME in such a header.
    Crc64Nvme,
    /// Not at all.
    Off,
}

impl Addressing {
    /// As settings write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Virtual => "virtual",
        }
    }
}

impl Checksum {
    /// As settings write it.
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

/// A test sees that it can be read.
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

/// The provider with this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Provider> {
    all().iter().find(|provider| provider.id == id)
}

/// The row for everything that is in no other; a test sees that it is there.
#[must_use]
pub fn other() -> Option<&'static Provider> {
    find("other")
}

/// The provider whose host this is, even with a bucket's name before it.
#[must_use]
pub fn of_endpoint(endpoint: &Url) -> Option<&'static Provider> {
    all()
        .iter()
        .find(|provider| provider.recognize(endpoint).is_some())
}

/// Returns the provider whose id is closest to a misspelt one.
#[must_use]
pub fn nearest(id: &str) -> Option<&'static Provider> {
    nearest::nearest(id, all())
}

/// An endpoint that has the form of a provider's.
struct Recognized<'p> {
    form: &'p Form,
    parts: form::Parts,
    /// The region that the endpoint stands for without naming it.
    implied: Option<&'p str>,
}

impl Provider {
    /// The endpoint that comes of a location's settings; `value` gives one by its name.
    ///
    /// # Errors
    ///
    /// The names of the settings that are missing or do not fit; `endpoint` where only the person knows it.
    pub fn endpoint_for(&self, value: impl Fn(&str) -> Option<String>) -> Result<Url, Vec<String>> {
        let form = self
            .endpoint
            .as_ref()
            .ok_or_else(|| vec!["endpoint".to_owned()])?;
        let default =
            |name: &str| (name == "region" && !self.region_required).then(|| self.region.clone());
        let given = |name: &str| {
            value(name)
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        form.fill(
            |name| given(name).or_else(|| default(name)),
            |name, text| self.fits(name, text),
        )
    }

    /// The region inside an endpoint of this provider.
    #[must_use]
    pub fn region_in(&self, endpoint: &Url) -> Option<String> {
        let recognized = self.recognize(endpoint)?;
        recognized
            .parts
            .value("region")
            .or(recognized.implied)
            .map(str::to_owned)
    }

    /// The same endpoint for another region, where the endpoint depends on the region.
    #[must_use]
    pub fn moved_to(&self, endpoint: &Url, region: &str) -> Option<Url> {
        let Recognized {
            form,
            parts,
            implied,
        } = self.recognize(endpoint)?;
        let form = if implied.is_some() {
            self.endpoint.as_ref()?
        } else {
            form
        };
        if !form.fields().any(|name| name == "region") {
            return None;
        }
        let value = |name: &str| {
            if name == "region" {
                Some(region)
            } else {
                parts.value(name)
            }
        };
        let filled = form
            .fill(
                |name| value(name).map(str::to_owned),
                |name, text| self.fits(name, text),
            )
            .ok()?;
        let mut moved = endpoint.clone();
        moved
            .set_host(Some(&format!("{}{}", parts.before, filled.host_str()?)))
            .ok()?;
        Some(moved)
    }

    fn recognize(&self, endpoint: &Url) -> Option<Recognized<'_>> {
        let host = endpoint.host_str()?;
        // An alias is one host, or nearly, which may have the form of the others as well.
        let aliases = self
            .aliases
            .iter()
            .map(|alias| (&alias.endpoint, alias.region.as_deref()));
        let own = self.endpoint.iter().map(|form| (form, None));
        aliases.chain(own).find_map(|(form, implied)| {
            let parts = form.take_apart(host, |name, text| self.fits(name, text))?;
            Some(Recognized {
                form,
                parts,
                implied,
            })
        })
    }

    fn fits(&self, name: &str, text: &str) -> bool {
        match self.fields.iter().find(|field| field.id == name) {
            Some(field) => field.accepts(text),
            None => Pattern::HostLabel.fits(text),
        }
    }
}
