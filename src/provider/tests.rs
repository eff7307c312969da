//! The table of providers.

mod endpoints;

use std::collections::BTreeSet;

use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

/// The endpoint of a location with these settings.
fn endpoint(provider: &Provider, setting: impl Fn(&str) -> Option<String>) -> Url {
    setting("endpoint").map_or_else(
        || provider.endpoint_for(&setting).unwrap(),
        |endpoint| url(&endpoint),
    )
}

fn provider(id: &str) -> &'static Provider {
    find(id).unwrap_or_else(|| panic!("{id} is missing"))
}

#[test]
fn table_is_valid() {
    assert_eq!(read().unwrap().len(), all().len());
    assert_eq!(other().unwrap().id, "other");
    let ids: Vec<&str> = all().iter().map(|provider| provider.id.as_str()).collect();
    assert_eq!((ids.first(), ids.last()), (Some(&"aws"), Some(&"other")));
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "an ID is not unique"
    );
    let is_plain = |id: &&str| {
        id.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    assert!(ids.iter().all(is_plain), "{ids:?}");
}

#[test]
fn rows_are_consistent() {
    for provider in all() {
        let id = &provider.id;
        let fields: BTreeSet<&str> = provider
            .endpoint
            .iter()
            .flat_map(UrlTemplate::fields)
            .collect();
        let known = provider
            .fields
            .iter()
            .map(|field| field.id.as_str())
            .chain(["region"]);
        assert!(
            fields.is_subset(&known.collect()),
            "{id}: a field of its endpoint has no description"
        );
        assert!(
            provider
                .fields
                .iter()
                .all(|field| fields.contains(field.id.as_str())),
            "{id}: a field is not used"
        );
        assert!(
            !provider.region_required || fields.contains("region"),
            "{id}: its endpoint has no region"
        );
        assert!((1_000..=10_000).contains(&provider.max_parts), "{id}");
        let classes: BTreeSet<&String> = provider.storage_classes.iter().collect();
        assert!(
            !provider
                .archive_classes
                .iter()
                .any(|class| classes.contains(class)),
            "{id}: a storage class is in both lists"
        );
        assert_eq!(
            provider
                .regions
                .iter()
                .map(|region| &region.id)
                .collect::<BTreeSet<_>>()
                .len(),
            provider.regions.len()
        );
        for field in &provider.fields {
            let values = field.choices.iter().chain([&field.example]);
            assert!(
                values.clone().all(|value| field.accepts(value)),
                "{id}: {}",
                field.id
            );
        }
        for text in [&provider.docs, &provider.keys.url]
            .into_iter()
            .chain(provider.sources.iter().map(|source| &source.url))
        {
            assert_eq!(url(text).scheme(), "https", "{id}: {text}");
        }
        assert!(!provider.sources.is_empty(), "{id} has no source");
        assert!(
            matches!(url(&provider.endpoint_example).path(), "/"),
            "{id}"
        );
    }
}

#[test]
fn example_settings_give_the_documented_request() {
    for provider in all() {
        let example = &provider.example;
        let endpoint = endpoint(provider, |name| example.settings.get(name).cloned());
        assert_eq!(endpoint, url(&example.endpoint), "{}", provider.id);
        let region = example
            .settings
            .get("region")
            .cloned()
            .or_else(|| provider.region_in(&endpoint));
        assert_eq!(
            region.as_ref().unwrap_or(&provider.region),
            &example.region,
            "{}",
            provider.id
        );
        let port = endpoint
            .port()
            .map_or(String::new(), |port| format!(":{port}"));
        let host = format!("{}{port}", endpoint.host_str().unwrap());
        let (host, path) = match provider.addressing {
            Addressing::Path => (host, "/my-bucket/backups/home.tar".to_owned()),
            Addressing::Virtual => (format!("my-bucket.{host}"), "/backups/home.tar".to_owned()),
        };
        assert_eq!(
            (&host, &path),
            (&example.host, &example.path),
            "{}",
            provider.id
        );
    }
}

#[test]
fn misspelt_provider_is_recognized() {
    for (written, id) in [
        ("AWS", "aws"),
        ("Amazon", "aws"),
        ("cloudflare-r2", "cloudflare_r2"),
        ("r2", "cloudflare_r2"),
        ("Cloudflare R2", "cloudflare_r2"),
        ("backblaze", "backblaze_b2"),
        ("b2", "backblaze_b2"),
        ("wassabi", "wasabi"),
        ("mini-o", "minio"),
        ("mino", "minio"),
        ("digital_ocean", "digitalocean"),
        ("Spaces", "digitalocean"),
        ("hetzer", "hetzner"),
        ("idrive", "idrive_e2"),
        ("ovh", "ovhcloud"),
        ("akamai", "linode"),
        ("synology", "synology_c2"),
        ("google-cloud-storage", "google"),
        ("garrage", "garage"),
        ("seaweed", "seaweedfs"),
        ("OpenStack", "swift"),
    ] {
        assert_eq!(
            nearest(written).map(|provider| provider.id.as_str()),
            Some(id),
            "{written}"
        );
    }
    for written in ["", "x", "azure", "dropbox", "my own server"] {
        assert!(nearest(written).is_none(), "{written}");
    }
}

#[test]
fn policy_allows_only_the_agents_actions() {
    let policy = provider("aws").permissions.policy.as_deref().unwrap();
    let policy: serde_json::Value = serde_json::from_str(policy).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let allowed = statements.flat_map(|statement| statement["Action"].as_array().unwrap());
    let allowed: BTreeSet<&str> = allowed.map(|action| action.as_str().unwrap()).collect();
    let needed = [
        "AbortMultipartUpload",
        "DeleteObject",
        "GetObject",
        "ListBucket",
        "ListBucketMultipartUploads",
    ];
    let needed = needed
        .iter()
        .chain(&["ListMultipartUploadParts", "PutObject"]);
    assert_eq!(
        allowed,
        needed
            .map(|action| format!("s3:{action}"))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)
            .collect()
    );
}

#[test]
fn table_and_settings_use_the_same_names() {
    for addressing in [Addressing::Path, Addressing::Virtual] {
        assert_eq!(
            serde_json::to_value(addressing).unwrap(),
            addressing.as_str()
        );
    }
    for checksum in [
        Checksum::Sha256,
        Checksum::Crc32c,
        Checksum::Crc64Nvme,
        Checksum::Off,
    ] {
        assert_eq!(serde_json::to_value(checksum).unwrap(), checksum.as_str());
    }
}

#[test]
fn checksums_are_sent_only_where_they_are_verified() {
    let sent: Vec<&str> = all()
        .iter()
        .filter(|row| row.checksum != Checksum::Sha256)
        .map(|row| row.id.as_str())
        .collect();
    assert_eq!(sent, ["aws", "garage", "seaweedfs"]);
}
