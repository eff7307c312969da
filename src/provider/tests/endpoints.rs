//! Endpoints: recognized, built from settings, moved to another region.

use super::*;

#[test]
fn region_is_parsed_from_the_endpoint() {
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
            .flat_map(UrlTemplate::fields)
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
fn endpoint_belongs_to_its_provider() {
    for (id, endpoint, region) in [
        ("aws", "https://s3.amazonaws.com", None),
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
            "https://s3.dualstack.cn-north-1.amazonaws.com.cn",
            Some("cn-north-1"),
        ),
        (
            "aws",
            "https://my-bucket.s3.eusc-de-east-1.amazonaws.eu",
            Some("eusc-de-east-1"),
        ),
        (
            "aws",
            "https://s3-fips.us-gov-west-1.amazonaws.com",
            Some("us-gov-west-1"),
        ),
        (
            "aws",
            "https://my-bucket.s3-eu-west-1.amazonaws.com",
            Some("eu-west-1"),
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
        let found =
            of_endpoint(&endpoint).unwrap_or_else(|| panic!("{endpoint} is not recognized"));
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
fn host_that_looks_like_the_old_form_names_no_region() {
    for (host, region) in [
        ("s3-accelerate.amazonaws.com", None),
        ("my-bucket.s3-accelerate.dualstack.amazonaws.com", None),
        ("s3-external-1.amazonaws.com", Some("us-east-1")),
        ("s3-fips-us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
        ("b.s3-website-eu-west-1.amazonaws.com", Some("eu-west-1")),
    ] {
        let endpoint = url(&format!("https://{host}"));
        assert_eq!(of_endpoint(&endpoint).unwrap().id, "aws", "{host}");
        let found = provider("aws").region_in(&endpoint);
        assert_eq!(found.as_deref(), region, "{host}");
    }
}

#[test]
fn endpoint_moves_to_another_region() {
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
            "https://s3.us-east-1.amazonaws.com",
            "cn-north-1",
            Some("https://s3.cn-north-1.amazonaws.com.cn"),
        ),
        (
            "aws",
            "https://s3.dualstack.cn-north-1.amazonaws.com.cn",
            "cn-northwest-1",
            Some("https://s3.dualstack.cn-northwest-1.amazonaws.com.cn"),
        ),
        (
            "aws",
            "https://s3.eusc-de-east-1.amazonaws.eu",
            "us-gov-west-1",
            Some("https://s3.us-gov-west-1.amazonaws.com"),
        ),
        (
            "aws",
            "http://b.s3.us-east-1.amazonaws.com:8080/x",
            "eu-west-1",
            Some("http://b.s3.eu-west-1.amazonaws.com:8080/x"),
        ),
        (
            "aws",
            "https://s3-eu-west-1.amazonaws.com",
            "eu-south-2",
            Some("https://s3.eu-south-2.amazonaws.com"),
        ),
        (
            "aws",
            "https://s3-external-1.amazonaws.com",
            "eu-west-1",
            Some("https://s3.eu-west-1.amazonaws.com"),
        ),
        (
            "aws",
            "https://s3-accelerate.amazonaws.com",
            "eu-west-1",
            None,
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
fn region_decides_about_the_partition() {
    for (region, endpoint) in [
        ("eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "https://s3.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn"),
        (" eusc-de-east-1", "https://s3.eusc-de-east-1.amazonaws.eu"),
    ] {
        let aws = provider("aws");
        let built = aws.endpoint_for(|name| (name == "region").then(|| region.to_owned()));
        assert_eq!(built.unwrap(), url(endpoint), "{region}");
    }
}

#[test]
fn missing_settings_are_named() {
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
