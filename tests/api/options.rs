//! Optional settings for special providers, networks and policies.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;

use crate::lab::{Bucket, Location, MIB, Proxy, Sample, Server, Setup, garage};

/// Round-trips a backup with this setting, multipart and in one request.
async fn goes_there_and_back(location: Location) {
    let agent = Setup::of(location).serve().await;
    for sample in [Sample::small("a1"), Sample::new("a2", "Parts", 12 * MIB)] {
        agent.upload("garage", &sample).await;
        assert!(agent.download("garage", sample.id()).await.unwrap().body == sample.tar);
    }
    assert_eq!(agent.listed("garage").await, ["a1", "a2"]);
    let checked = agent
        .post("/v1/locations/garage/check", &serde_json::Value::Null)
        .await
        .json();
    assert_eq!(checked["ok"], true, "{checked:#}");
}

async fn garage() -> (Bucket, Location) {
    let bucket = garage::shared().bucket().await;
    let location = Location::of(&bucket);
    (bucket, location)
}

#[tokio::test]
async fn every_checksum_mode_verifies_uploads() {
    // Garage verifies every checksum.
    for checksum in ["auto", "sha256", "crc32c", "crc64nvme", "off"] {
        goes_there_and_back(garage().await.1.with("checksum", checksum)).await;
    }
}

#[tokio::test]
async fn customer_encryption_key_is_used() {
    let key = BASE64.encode([7; 32]);
    let (bucket, location) = garage().await;
    let location = location
        .with("encryption", "SSE-C")
        .with("encryption_key", &key);
    goes_there_and_back(location.clone()).await;
    let path = format!("/backups/{}.tar", Sample::small("a1").stem());
    let refused = bucket
        .ask(Method::GET, &path, &[], bytes::Bytes::new())
        .await;
    assert_eq!(
        refused.status(),
        400,
        "the object can be read without its key"
    );

    // The key is a secret, distinguishable from other keys.
    let other = location.with("encryption_key", &BASE64.encode([8; 32]));
    let agent = Setup::of(other).keeping_secret(&key).serve().await;
    assert!(
        agent.list("garage").await["backups"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn invalid_encryption_key_is_refused() {
    for key in ["", "too short", "bm90IDMyIGJ5dGVz"] {
        let location = garage()
            .await
            .1
            .with("encryption", "SSE-C")
            .with("encryption_key", key);
        let ran = Setup::of(location).run(&["list"]).await.ended_with(2);
        assert!(
            ran.stderr.contains("encryption_key") && ran.stderr.contains("openssl rand"),
            "{}",
            ran.stderr
        );
    }
}

#[tokio::test]
async fn storage_class_applies_to_tars_only() {
    // Swift knows one storage class, and refuses others by name.
    let bucket = Server::Swift.bucket().await;
    let location = Server::Swift.location(&bucket);
    let agent = Setup::of(location.clone().with("storage_class", "STANDARD"))
        .serve()
        .await;
    agent
        .upload("home", &Sample::new("a1", "Classy", 12 * MIB))
        .await;
    let checked = agent
        .post(
            "/v1/locations/check",
            &location.with("storage_class", "COLD").json(),
        )
        .await
        .json();
    let last = checked["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["step"], &last["error"]["reason"]),
        (&"write".into(), &"unknown_storage_class".into())
    );

    let thawing = garage().await.1.with("storage_class", "DEEP_ARCHIVE");
    let ran = Setup::of(thawing).run(&["list"]).await.ended_with(2);
    assert!(
        ran.stderr.contains("storage_class") && ran.stderr.contains("hours"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn proxy_carries_all_provider_requests() {
    let (bucket, location) = garage().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    // The bucket is unreachable without the proxy.
    let location = Location {
        endpoint: "http://storage.invalid".into(),
        ..location
    };
    goes_there_and_back(location.with("proxy", &proxy.endpoint())).await;
    assert!(proxy.count(|request| request.path.starts_with("http://storage.invalid/")) > 0);
}

#[tokio::test]
async fn environment_access_key_is_used_only_when_enabled() {
    let (bucket, _) = garage().await;
    let location = Location {
        key_id: String::new(),
        secret: String::new(),
        ..Location::of(&bucket)
    };
    let variables = [
        ("AWS_ACCESS_KEY_ID", &bucket.key_id),
        ("AWS_SECRET_ACCESS_KEY", &bucket.secret),
    ];
    let asked = Setup::of(location.clone().with("credentials", "environment"))
        .keeping_secret(&bucket.secret);
    let mut command = asked.command();
    command.arg("check").envs(variables);
    asked.finish(command).await.ended_with(0);
    let ran = asked.run(&["check"]).await.ended_with(2);
    assert!(
        ran.stderr.contains("AWS_ACCESS_KEY_ID is not set"),
        "{}",
        ran.stderr
    );
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ] {
        let mut command = asked.command();
        command
            .arg("check")
            .envs(variables)
            .env(name, "con\u{1}trol");
        let ran = asked.finish(command).await.ended_with(2);
        assert!(
            ran.stderr
                .contains(&format!("{name} holds a space or a character")),
            "{}",
            ran.stderr
        );
    }

    let unasked = Setup::of(location);
    let mut command = unasked.command();
    command.arg("check").envs(variables);
    let ran = unasked.finish(command).await.ended_with(2);
    assert!(
        ran.stderr.contains("access_key_id: is missing"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn misspelt_provider_gets_a_suggestion() {
    let ran = Setup::of(garage().await.1.with("provider", "garag"))
        .run(&["list"])
        .await
        .ended_with(2);
    assert!(
        ran.stderr.contains("did you mean \"garage\"?"),
        "{}",
        ran.stderr
    );
}
