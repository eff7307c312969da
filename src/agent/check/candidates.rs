//! Settings to try after a check failed, the most likely first.

use url::Url;

use crate::agent::model::Failure;
use crate::config::{Choice, Encryption, S3Settings};
use crate::error::{Kind, Reason};

/// Default regions of self-hosted servers.
const USUAL_REGIONS: [&str; 3] = ["us-east-1", "auto", "garage"];

/// Longest list of regions; a user waits.
const MAX_REGIONS: usize = 4;

/// Host of Cloudflare R2, below the account and the jurisdiction.
const R2: &str = "r2.cloudflarestorage.com";

/// Returns settings to try after this error.
pub(super) fn candidates(settings: &S3Settings, error: &Failure) -> Vec<S3Settings> {
    let open = settings.open_to_change();
    let is = |reason: Reason| error.reason == reason.code();
    let is_kind = |kind: Kind| error.code == kind.code();
    if is(Reason::TlsNeeded) {
        let mut endpoint = open.endpoint.clone();
        let with_tls = endpoint
            .set_scheme("https")
            .ok()
            .map(|()| S3Settings { endpoint, ..open });
        return with_tls.into_iter().collect();
    }
    let at = |endpoint| S3Settings {
        endpoint,
        ..open.clone()
    };
    let is_nowhere = is_kind(Kind::BucketNotFound) || is_kind(Kind::StorageForbidden);
    let is_of_path = is(Reason::EndpointWithBucket) || is(Reason::EndpointWithPath);
    let mut candidates = Vec::new();
    if is_nowhere || is_of_path {
        candidates.extend(shorter_paths(settings).into_iter().map(at));
    }
    let is_taught = [
        Kind::WrongRegion,
        Kind::StorageError,
        Kind::BucketNotFound,
        Kind::StorageForbidden,
    ]
    .into_iter()
    .any(is_kind);
    let is_virtual = is(Reason::HostUnknown) || is_kind(Kind::StorageCertificate);
    if (is_taught && settings.has_given()) || (is_virtual && settings.addressing.is_given) {
        candidates.push(open.clone());
    }
    // Some servers report a signature for another region as wrong, or as another region's, without naming their own.
    if is(Reason::WrongSecret) || is_kind(Kind::WrongRegion) {
        let with_region = |value| S3Settings {
            region: Choice {
                value,
                is_given: false,
            },
            ..open.clone()
        };
        candidates.extend(other_regions(settings).into_iter().map(with_region));
    }
    // The name is free, or another account's, in every jurisdiction but its own.
    if is_nowhere {
        candidates.extend(other_jurisdictions(settings).into_iter().map(at));
    }
    if is(Reason::PolicyDenied) && settings.encryption == Encryption::None {
        candidates.push(S3Settings {
            encryption: Encryption::Aes256,
            ..settings.clone()
        });
    }
    candidates
}

/// Returns the endpoint up to the bucket in its path, and without a path.
fn shorter_paths(settings: &S3Settings) -> Vec<Url> {
    let endpoint = &settings.endpoint;
    let segments: Vec<_> = endpoint.path().split('/').skip(1).collect();
    let before_bucket = segments
        .iter()
        .position(|segment| *segment == settings.bucket)
        .map(|count| segments[..count].join("/"));
    let mut shorter = Vec::new();
    for path in before_bucket.into_iter().chain([String::new()]) {
        let mut url = endpoint.clone();
        url.set_path(&path);
        if url != *endpoint && !shorter.contains(&url) {
            shorter.push(url);
        }
    }
    shorter
}

/// Returns regions to try, without duplicates: those in the host first.
fn other_regions(settings: &S3Settings) -> Vec<String> {
    let provider = settings.provider;
    let own = provider
        .region_in(&settings.endpoint)
        .into_iter()
        .chain(regions_in_host(&settings.endpoint))
        .chain([provider.region.clone()]);
    let mut regions = Vec::new();
    for region in own.chain(USUAL_REGIONS.map(str::to_owned)) {
        if region != settings.region.value && !regions.contains(&region) {
            regions.push(region);
        }
    }
    regions.truncate(MAX_REGIONS);
    regions
}

/// Returns the labels of a host that may be a region: in front of the domain, with a digit or a hyphen, or after `s3`.
///
/// Examples: `ns.compat.objectstorage.eu-frankfurt-1.oraclecloud.com`, `s3.gra.io.cloud.ovh.net`, `s3-eu1.example.com`.
fn regions_in_host(endpoint: &Url) -> Vec<String> {
    let labels: Vec<_> = endpoint.domain().unwrap_or_default().split('.').collect();
    let Some((front, _)) = labels.split_last_chunk::<2>() else {
        return Vec::new();
    };
    let is_region =
        |label: &str| label.contains('-') && label.contains(|letter: char| letter.is_ascii_digit());
    let front: Vec<_> = front
        .iter()
        .map(|label| label.strip_prefix("s3-").unwrap_or(label))
        .collect();
    let sure = front.iter().copied().filter(|label| is_region(label));
    let after_s3 = front
        .windows(2)
        .filter(|pair| pair[0] == "s3")
        .map(|pair| pair[1]);
    let mut regions: Vec<String> = sure.chain(after_s3).map(str::to_owned).collect();
    regions.dedup();
    regions
}

/// Returns the endpoints of the account in the other jurisdictions of Cloudflare R2.
///
/// Source: <https://developers.cloudflare.com/r2/reference/data-location/>; a bucket elsewhere is `NoSuchBucket`
/// (<https://github.com/lvillis/s3-rs/issues/2>) or `AccessDenied`
/// (<https://github.com/cloudflare/sandbox-sdk/issues/731>).
fn other_jurisdictions(settings: &S3Settings) -> Vec<Url> {
    let host = settings.endpoint.domain().unwrap_or_default();
    let Some(front) = host
        .strip_suffix(R2)
        .and_then(|front| front.strip_suffix('.'))
    else {
        return Vec::new();
    };
    let account = front.split('.').next().unwrap_or_default();
    let choices = settings
        .provider
        .fields
        .iter()
        .find(|field| field.id == "jurisdiction")
        .map(|field| field.choices.as_slice())
        .unwrap_or_default();
    let hosts = std::iter::once(format!("{account}.{R2}")).chain(
        choices
            .iter()
            .map(|choice| format!("{account}.{choice}.{R2}")),
    );
    hosts
        .filter(|other| other != host)
        .filter_map(|host| {
            let mut endpoint = settings.endpoint.clone();
            endpoint.set_host(Some(&host)).ok()?;
            Some(endpoint)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;
    use crate::error::Error;

    #[test]
    fn other_regions_have_no_duplicates() {
        assert_eq!(
            other_regions(&settings(&[("region", "mars-north-1")])),
            ["us-east-1", "auto", "garage"]
        );
        assert_eq!(
            other_regions(&settings(&[("region", "auto")])),
            ["us-east-1", "garage"]
        );
    }

    #[test]
    fn region_in_the_host_is_tried_first() {
        for (endpoint, region) in [
            (
                "https://ns.compat.objectstorage.eu-frankfurt-1.oraclecloud.com",
                "eu-frankfurt-1",
            ),
            ("https://s3.gra.storage.example.net", "gra"),
            ("https://s3-eu-7.example.com", "eu-7"),
        ] {
            let settings = settings(&[("endpoint", endpoint)]);
            assert_eq!(other_regions(&settings)[0], region, "{endpoint}");
        }
        for endpoint in [
            "https://192.0.2.7:9000",
            "https://nas.fritz.box",
            "http://nas",
        ] {
            let settings = settings(&[("endpoint", endpoint)]);
            assert_eq!(other_regions(&settings), ["auto", "garage"], "{endpoint}");
        }
    }

    #[test]
    fn other_jurisdictions_of_r2_are_tried() {
        let account = "0123456789abcdef0123456789abcdef";
        let settings = settings(&[("endpoint", &format!("https://{account}.eu.{R2}"))]);
        for kind in [Kind::BucketNotFound, Kind::StorageForbidden] {
            let error = Failure::from(&Error::new(kind, "No."));
            let hosts: Vec<_> = candidates(&settings, &error)
                .into_iter()
                .map(|settings| settings.endpoint.host_str().unwrap().to_owned())
                .collect();
            let expected = ["", ".us", ".fedramp"].map(|name| format!("{account}{name}.{R2}"));
            assert_eq!(hosts, expected, "{kind:?}");
        }
    }

    #[test]
    fn path_is_shortened_to_the_bucket_and_then_dropped() {
        for (path, expected) in [
            ("", &[][..]),
            ("/s3/api", &["https://nas"]),
            ("/ha-backups", &["https://nas"]),
            (
                "/storage/v1/s3/ha-backups/home",
                &["https://nas/storage/v1/s3", "https://nas"],
            ),
        ] {
            let settings = settings(&[("endpoint", &format!("https://nas{path}"))]);
            let found = shorter_paths(&settings);
            let found: Vec<_> = found.iter().map(Url::as_str).collect();
            let found: Vec<_> = found.iter().map(|url| url.trim_end_matches('/')).collect();
            assert_eq!(found, expected, "{path}");
            let error =
                Error::new(Kind::StorageError, "No.").with_reason(Some(Reason::EndpointWithPath));
            let tried = candidates(&settings, &Failure::from(&error));
            assert!(tried.len() >= expected.len(), "{path}");
        }
    }

    #[test]
    fn encryption_is_tried_after_a_policy_denies() {
        let error =
            Error::new(Kind::StorageForbidden, "No.").with_reason(Some(Reason::PolicyDenied));
        let tried = candidates(&settings(&[]), &Failure::from(&error));
        assert_eq!(tried.len(), 1);
        assert_eq!(tried[0].encryption, Encryption::Aes256);
    }
}
