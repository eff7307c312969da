use std::collections::BTreeSet;

use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

/// The endpoint that a location of the provider has with these settings.
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
fn the_table_can_be_read() {
    assert_eq!(read().unwrap().len(), all().len());
    assert_eq!(other().unwrap().id, "other");
    let ids: Vec<&str> = all().iter().map(|provider| provider.id.as_str()).collect();
    assert_eq!((ids.first(), ids.last()), (Some(&"aws"), Some(&"other")));
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "an id is there twice"
    );
    let is_plain = |id: &&str| {
        id.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    assert!(ids.iter().all(is_plain), "{ids:?}");
}

#[test]
fn every_row_is_consistent() {
    for provider in all() {
        let id = &provider.id;
        let form: BTreeSet<&str> = provider.endpoint.iter().flat_map(Form::fields).collect();
        let known = provider
            .fields
            .iter()
            .map(|field| field.id.as_str())
            .chain(["region"]);
        assert!(
            form.is_subset(&known.collect()),
            "{id}: its endpoint has a field that is not described"
        );
        assert!(
            provider
                .fields
                .iter()
                .all(|field| form.contains(field.id.as_str())),
            "{id}: a field is not used"
        );
        assert!(
            !provider.region_required || form.contains("region"),
            "{id}: its endpoint has no region"
        );
        assert!((1_000..=10_000).contains(&provider.max_parts), "{id}");
        let classes: BTreeSet<&String> = provider.storage_classes.iter().collect();
        assert!(
            !provider
                .archive_classes
                .iter()
                .any(|class| classes.contains(class)),
            "{id}: at once, or not?"
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
fn every_example_ends_at_the_right_place() {
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
fn the_region_is_taken_out_of_the_endpoint() {
    for provider in all().iter().filter(|provider| provider.endpoint.is_some()) {
        let endpoint = url(&provider.example.endpoint);
        assert_eq!(of_endpoint(&endpoint).unwrap().id, provider.id);
        assert_eq!(
            of_endpoint(&url(&provider.endpoint_example)).unwrap().id,
            provider.id
        );
        let holds_region = provider
            .endpoint
            .iter()
            .flat_map(Form::fields)
            .any(|name| name == "region");
        let expected = holds_region.then(|| provider.example.region.clone());
        assert_eq!(provider.region_in(&endpoint), expected, "{}", provider.id);
        for region in provider.regions.iter().map(|region| region.id.as_str()) {
            let moved = provider.moved_to(&endpoint, region).unwrap();
            assert_eq!(
                provider.region_in(&moved).unwrap(),
                region,
                "{}: {moved}",
                provider.id
            );
            assert_eq!(of_endpoint(&moved).unwrap().id, provider.id);
        }
    }
}

#[test]
fn other_endpoints_of_a_provider_are_known_too() {
    for (id, endpoint, region) in [
        ("aws", "https://s3.amazonaws.com", Some("us-east-1")),
        (
            "aws",
            "https://s3.dualstack.eu-west-1.amazonaws.com",
            Some("eu-west-1"),
        ),
        (
            "aws",
            "https://s3.cn-north-1.amazonaws.com.cn",
            Some("cn-north-1"),
        ),
        (
            "aws",
            "https://my.bucket.s3.eu-west-1.amazonaws.com/backups",
            Some("eu-west-1"),
        ),
        ("wasabi", "https://s3.wasabisys.com", Some("us-east-1")),
        (
            "wasabi",
            "https://S3.DE-1.wasabisys.com:443/",
            Some("eu-central-2"),
        ),
        (
            "ovhcloud",
            "https://s3.us-east-va.io.cloud.ovh.us",
            Some("us-east-va"),
        ),
        (
            "idrive_e2",
            "https://x1y2.fra.idrivee2-12.com",
            Some("us-east-1"),
        ),
        (
            "cloudflare_r2",
            "https://0123456789abcdef0123456789abcdef.eu.r2.cloudflarestorage.com/my-bucket",
            None,
        ),
        (
            "cloudflare_r2",
            "https://my-bucket.0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com",
            None,
        ),
        (
            "digitalocean",
            "https://my-bucket.fra1.digitaloceanspaces.com",
            Some("fra1"),
        ),
        ("google", "http://storage.googleapis.com", None),
    ] {
        let endpoint = url(endpoint);
        let found = of_endpoint(&endpoint).unwrap_or_else(|| panic!("{endpoint} is not known"));
        assert_eq!(
            (found.id.as_str(), found.region_in(&endpoint).as_deref()),
            (id, region),
            "{endpoint}"
        );
    }
    for endpoint in [
        "http://192.168.1.10:9000",
        "https://s3.example.com",
        "https://amazonaws.com",
        "file:///srv/backups",
    ] {
        assert!(of_endpoint(&url(endpoint)).is_none(), "{endpoint}");
    }
    for endpoint in [
        "https://evil-s3.eu-west-1.amazonaws.com.example.com",
        "https://[::1]:9000",
        "https://xs3.wasabisys.com",
    ] {
        assert!(of_endpoint(&url(endpoint)).is_none(), "{endpoint}");
    }
}

#[test]
fn an_endpoint_moves_to_another_region() {
    for (id, from, region, to) in [
        (
            "aws",
            "https://s3.us-east-1.amazonaws.com",
            "eu-west-1",
            Some("https://s3.eu-west-1.amazonaws.com"),
        ),
        (
            "aws",
            "https://s3.amazonaws.com",
            "eu-west-1",
            Some("https://s3.eu-west-1.amazonaws.com"),
        ),
        (
            "aws",
            "https://s3.dualstack.us-east-1.amazonaws.com",
            "eu-west-1",
            Some("https://s3.dualstack.eu-west-1.amazonaws.com"),
        ),
        (
            "aws",
            "http://b.s3.us-east-1.amazonaws.com:8080/x",
            "eu-west-1",
            Some("http://b.s3.eu-west-1.amazonaws.com:8080/x"),
        ),
        (
            "wasabi",
            "https://s3.wasabisys.com",
            "eu-west-2",
            Some("https://s3.eu-west-2.wasabisys.com"),
        ),
        (
            "aws",
            "https://s3.us-east-1.amazonaws.com",
            "not/a/region",
            None,
        ),
        ("aws", "https://proxy.example.com", "eu-west-1", None),
        (
            "cloudflare_r2",
            "https://0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com",
            "auto",
            None,
        ),
        (
            "google",
            "https://storage.googleapis.com",
            "europe-west1",
            None,
        ),
        ("garage", "http://127.0.0.1:3900", "other", None),
    ] {
        assert_eq!(
            provider(id).moved_to(&url(from), region),
            to.map(url),
            "{from}"
        );
    }
}

#[test]
fn what_is_missing_in_the_settings_is_named() {
    let r2 = provider("cloudflare_r2");
    let account = |name: &str| {
        (name == "account_id").then(|| " 0123456789abcdef0123456789abcdef ".to_owned())
    };
    assert_eq!(
        r2.endpoint_for(account).unwrap(),
        url(&r2.example.endpoint),
        "spaces around a pasted value"
    );
    let eu = |name: &str| {
        if name == "jurisdiction" {
            Some("eu".to_owned())
        } else {
            account(name)
        }
    };
    assert_eq!(
        r2.endpoint_for(eu).unwrap().host_str().unwrap(),
        "0123456789abcdef0123456789abcdef.eu.r2.cloudflarestorage.com"
    );
    assert_eq!(r2.endpoint_for(|_| None).unwrap_err(), ["account_id"]);
    assert_eq!(
        r2.endpoint_for(|_| Some("mars".to_owned())).unwrap_err(),
        ["account_id", "jurisdiction"]
    );
    assert_eq!(
        provider("backblaze_b2").endpoint_for(|_| None).unwrap_err(),
        ["region"]
    );
    assert_eq!(
        provider("backblaze_b2")
            .endpoint_for(|_| Some("a.b/c".into()))
            .unwrap_err(),
        ["region"]
    );
    assert_eq!(
        provider("aws").endpoint_for(|_| None).unwrap(),
        url("https://s3.us-east-1.amazonaws.com")
    );
    assert_eq!(
        provider("minio").endpoint_for(|_| None).unwrap_err(),
        ["endpoint"]
    );
    assert_eq!(
        provider("storj").endpoint_for(|_| None).unwrap(),
        url("https://gateway.storjshare.io")
    );
}

#[test]
fn what_people_write_is_understood() {
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
fn the_policy_allows_what_the_agent_does_and_no_more() {
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
fn names_in_the_table_are_those_of_the_settings() {
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
    assert_eq!(sent, ["aws", "garage"]);
}
