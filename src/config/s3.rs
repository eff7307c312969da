//! The settings of a bucket.

use url::Url;

use super::bucket;
use super::credentials::{AccessKey, Encryption};
use super::endpoint;
use super::reader::Reader;
use super::secret::Secret;
use super::wire::Wire;
use crate::error::Reason;
use crate::logging::scrub::STRONG_BYTES;
use crate::provider::{self, Addressing, Checksum, Provider};
use crate::units::sha256;

/// A setting of the user's, or one that the provider's answers may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<T> {
    /// The value to start with.
    pub value: T,
    /// Whether the user set it; then it stays.
    pub is_given: bool,
}

/// The settings of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The provider's row in the table.
    pub provider: &'static Provider,
    /// URL of the S3 API, without the bucket.
    pub endpoint: Url,
    /// Region that requests are signed for.
    pub region: Choice<String>,
    /// The bucket's name.
    pub bucket: String,
    /// Access key ID.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Session token of a temporary key.
    pub session_token: Option<Secret>,
    /// Place of the bucket's name in a request.
    pub addressing: Choice<Addressing>,
    /// Checksum that the provider verifies.
    pub checksum: Choice<Checksum>,
    /// Storage class of the tars. Metadata stays in the provider's default, because every list reads it.
    pub storage_class: Option<String>,
    /// Encryption at the provider.
    pub encryption: Encryption,
    /// The connection to the endpoint.
    pub wire: Wire,
}

impl S3Settings {
    pub(super) fn read(section: &mut Reader<'_>, endpoint: Option<String>) -> Option<Self> {
        let provider = read_provider(section)?;
        let region = section.text("region");
        let around = bucket::Around {
            provider,
            region: region.as_deref(),
            endpoint: endpoint.as_deref(),
        };
        let bucket = bucket::read(section, around);
        let key = AccessKey::read(section);
        let mut addressing = read_automatic(section, "addressing");
        let checksum = read_automatic(section, "checksum");
        let storage_class = read_storage_class(section, provider);
        let encryption = Encryption::read(section);
        let wire = Wire::read(section);
        let place = endpoint::Place {
            provider,
            region: region.as_deref(),
            bucket: bucket.as_deref(),
        };
        let endpoint = endpoint::read(section, endpoint, place)?;
        // A provider set as "other" may have a row in the table.
        let provider = match provider::of_endpoint(&endpoint) {
            Some(known) if provider.id == "other" => known,
            _ => provider,
        };
        if addressing == Some(Addressing::Virtual) && endpoint.domain().is_none() {
            section
                .problem(
                    "addressing",
                    "cannot be \"virtual\": a bucket's name cannot go before an IP address",
                )
                .of_kind("not_virtual", []);
            addressing = None;
        }
        let bucket = bucket?;
        if addressing == Some(Addressing::Virtual) && bucket.contains(':') {
            let message = "cannot be \"virtual\": a tenant cannot go before the host";
            section
                .problem("addressing", message)
                .of_kind("not_virtual", []);
            addressing = None;
        }
        let key = key?;
        Some(Self {
            region: Choice::of(region, || {
                let region = provider.region_in(&endpoint);
                region.unwrap_or_else(|| provider.region.clone())
            }),
            addressing: Choice::of(addressing, || {
                usual_addressing(provider, &endpoint, &bucket)
            }),
            checksum: Choice::of(checksum, || provider.checksum),
            provider,
            endpoint,
            bucket,
            access_key_id: key.id,
            secret_access_key: key.secret,
            session_token: key.token,
            storage_class,
            encryption: encryption?,
            wire,
        })
    }

    /// A warning if the secret access key is short.
    pub(crate) fn short_secret(&self) -> Option<&'static str> {
        (self.secret_access_key.expose().len() < STRONG_BYTES).then_some(
            "The secret access key has fewer than 8 characters: it is easy to guess, and the agent cannot tell it from its own \
             words in the log. Create a longer one.",
        )
    }

    /// Identifies how these settings store a tar, without secrets. Uploads resume only if it is unchanged.
    pub(super) fn keeps(&self) -> String {
        sha256(format!("{} {:?}", self.encryption.fingerprint(), self.storage_class).as_bytes())
    }

    /// Whether the user set a value that the provider could correct.
    #[must_use]
    pub fn has_given(&self) -> bool {
        self.region.is_given || self.addressing.is_given || self.checksum.is_given
    }

    /// The same settings, with every value that the provider can correct open to change.
    #[must_use]
    pub fn open_to_change(&self) -> Self {
        let mut open = self.clone();
        open.region.is_given = false;
        open.checksum.is_given = false;
        // Virtual can be learned, but not unlearned: a host that does not exist tells nothing.
        open.addressing = Choice::of(None, || {
            usual_addressing(self.provider, &self.endpoint, &self.bucket)
        });
        open
    }
}

impl<T> Choice<T> {
    fn of(given: Option<T>, default: impl FnOnce() -> T) -> Self {
        Self {
            is_given: given.is_some(),
            value: given.unwrap_or_else(default),
        }
    }
}

/// The provider's, unless a certificate for `*.host` does not cover a bucket with a dot in its name, or the bucket has to be
/// in the path: below a gateway's, or with its tenant. Source: "Virtual hosting of buckets" in Amazon's user guide.
fn usual_addressing(provider: &Provider, endpoint: &Url, bucket: &str) -> Addressing {
    let is_covered = endpoint.scheme() == "http" || !bucket.contains('.');
    let is_in_path = endpoint.path() != "/" || bucket.contains(':');
    if is_covered && !is_in_path && endpoint.domain().is_some() {
        provider.addressing
    } else {
        Addressing::Path
    }
}

/// Reads a choice that may be `auto`, which is no value of the type.
fn read_automatic<T: std::str::FromStr>(section: &mut Reader<'_>, key: &str) -> Option<T> {
    section.text(key)?.parse().ok()
}

fn read_provider(section: &mut Reader<'_>) -> Option<&'static Provider> {
    let id = section.text("provider")?;
    provider::find(&id).or_else(|| {
        let nearest = provider::nearest(&id).map(|provider| provider.id.clone());
        let question = nearest
            .as_ref()
            .map(|id| format!("did you mean \"{id}\"? "))
            .unwrap_or_default();
        let message = format!(
            "\"{id}\" is not a known provider: {question}\"other\" works with any endpoint"
        );
        let problem = section.problem("provider", message);
        let problem = match nearest.clone() {
            Some(meant) => problem.of_kind("misspelt_provider", [("meant", meant)]),
            None => problem.of_kind("unknown_provider", []),
        };
        problem.suggestion = nearest;
        provider::other()
    })
}

fn read_storage_class(section: &mut Reader<'_>, provider: &Provider) -> Option<String> {
    let class = section.text("storage_class")?;
    let is_archive = matches!(class.as_str(), "GLACIER" | "DEEP_ARCHIVE")
        && !provider.storage_classes.contains(&class);
    if is_archive || provider.archive_classes.contains(&class) {
        let message = format!(
            "\"{class}\" must be restored at the provider for hours before a backup can be read"
        );
        section.problem("storage_class", message).reason = Some(Reason::Archived);
        return None;
    }
    Some(class)
}
