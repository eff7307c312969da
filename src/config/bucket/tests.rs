use super::*;

fn parts(text: &str, endpoint: &str) -> Option<(String, String, Option<String>)> {
    let endpoint = Url::parse(endpoint).ok();
    let parts = take_apart(text, endpoint.as_ref())?;
    let url = parts.endpoint.map(|url| url.to_string());
    Some((parts.bucket, parts.folder, url))
}

#[test]
fn bucket_is_taken_out_of_what_is_pasted() {
    const NAS: &str = "http://nas:9000";
    const AWS: &str = "https://s3.eu-central-1.amazonaws.com";
    const SUPABASE: &str = "https://x.supabase.co/storage/v1/s3";
    for (text, endpoint, bucket, folder, other) in [
        ("arn:aws:s3:::my-bucket", AWS, "my-bucket", "", None),
        ("arn:aws-cn:s3:::my-bucket/*", AWS, "my-bucket", "", None),
        ("arn:aws:s3:::my-bucket/a/b", AWS, "my-bucket", "a/b", None),
        ("s3://my-bucket", NAS, "my-bucket", "", None),
        ("S3://my-bucket/home/", NAS, "my-bucket", "home", None),
        ("gs://my-bucket/home", NAS, "my-bucket", "home", None),
        (
            "s3://ten:my-bucket/home",
            NAS,
            "ten:my-bucket",
            "home",
            None,
        ),
        (
            "my-bucket/home/cellar",
            NAS,
            "my-bucket",
            "home/cellar",
            None,
        ),
        ("/my-bucket/", NAS, "my-bucket", "", None),
        ("my-bucket/", NAS, "my-bucket", "", None),
        (
            "http://nas:9000/my-bucket/a%20b",
            NAS,
            "my-bucket",
            "a b",
            None,
        ),
        ("https://nas/my-bucket", NAS, "my-bucket", "", None),
        (
            "http://nas:9001/my-bucket",
            NAS,
            "my-bucket",
            "",
            Some("http://nas:9001/"),
        ),
        (
            "https://user:pass@elsewhere.example.com/my-bucket/x?X-Amz-Signature=0",
            NAS,
            "my-bucket",
            "x",
            Some("https://elsewhere.example.com/"),
        ),
        (
            "https://x.supabase.co/storage/v1/s3/my-bucket/f",
            SUPABASE,
            "my-bucket",
            "f",
            None,
        ),
        (
            "https://my-bucket.s3.eu-central-1.amazonaws.com/f",
            AWS,
            "my-bucket",
            "f",
            None,
        ),
        (
            "my.bucket.s3.eu-central-1.amazonaws.com",
            AWS,
            "my.bucket",
            "",
            None,
        ),
        (
            "https://my-bucket.s3.eu-west-1.amazonaws.com/",
            AWS,
            "my-bucket",
            "",
            Some("https://s3.eu-west-1.amazonaws.com/"),
        ),
        (
            "s3.eu-west-1.amazonaws.com/my-bucket/f",
            NAS,
            "my-bucket",
            "f",
            Some("https://s3.eu-west-1.amazonaws.com/"),
        ),
        (
            "https://my-bucket.s3.amazonaws.com/f",
            AWS,
            "my-bucket",
            "f",
            None,
        ),
        (
            "https://s3.amazonaws.com/my-bucket",
            AWS,
            "my-bucket",
            "",
            None,
        ),
        (
            "https://my-bucket.s3.amazonaws.com/f",
            NAS,
            "my-bucket",
            "f",
            Some("https://s3.amazonaws.com/"),
        ),
        (
            "http://nas:9001/browser/my-bucket/Zm9sZGVyLw==",
            NAS,
            "my-bucket",
            "",
            None,
        ),
        ("https://nas/browser/my-bucket", NAS, "my-bucket", "", None),
        (
            "http://nas:9000/browser/my-folder",
            NAS,
            "browser",
            "my-folder",
            None,
        ),
        (
            "https://eu-central-1.console.aws.amazon.com/s3/buckets/my-bucket?prefix=a/",
            AWS,
            "my-bucket",
            "",
            None,
        ),
        (
            "https://eu2.contabostorage.com/0123abcd:my-bucket/f",
            "https://eu2.contabostorage.com",
            "0123abcd:my-bucket",
            "f",
            None,
        ),
    ] {
        let expected = (bucket.into(), folder.into(), other.map(str::to_owned));
        assert_eq!(parts(text, endpoint), Some(expected), "{text}");
    }
}

#[test]
fn nothing_is_offered_for_what_names_no_bucket() {
    for text in [
        "a b",
        "b",
        "s3://",
        "s3://b/f",
        "ftp://my-bucket/f",
        "my-bucket//f",
        "my-bucket/../f",
        "a:b:my-bucket",
        "https://console.example.com/s3/buckets/",
        "arn:aws:s3:eu-west-1:123456789012:accesspoint/my-point",
        "arn:aws:iam::123456789012:user/home",
    ] {
        assert_eq!(parts(text, "https://s3.example.com"), None, "{text}");
    }
}

#[test]
fn tenant_belongs_to_the_name() {
    for name in ["my-bucket", "My.Bucket_1", "tenant:my-bucket", ":my-bucket"] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", "ab", "a:b", "a b:my-bucket", "a.b:my-bucket", "a/b"] {
        assert!(!is_name(name), "{name}");
    }
}
