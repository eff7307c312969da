//! Misconfigured storage: the answer names the setting to change.

use serde_json::{Value, json};

use crate::lab::call::{Client, http};
use crate::lab::{Imitation, Location, MIB, Sample, Setup, garage};

/// Asserts that listing and upload fail with `code` and `words`, and that the status reports the
/// same.
async fn is_refused(location: Location, code: &str, words: &[&str]) {
    let agent = Setup::of(location).serve().await;
    assert_eq!(agent.location("garage").await["status"], "unknown");
    agent
        .get("/v1/locations/garage/backups")
        .await
        .is_problem(502, code, words);
    agent
        .create("garage", &Sample::new("a1", "Refused", 11 * MIB))
        .await
        .is_problem(502, code, words);
    let shown = agent.location("garage").await;
    assert_eq!(
        (&shown["status"], &shown["error"]["code"]),
        (&json!("error"), &json!(code)),
        "{shown:#}"
    );
    assert!(
        chrono::DateTime::parse_from_rfc3339(shown["error"]["since"].as_str().unwrap()).is_ok()
    );
    assert_ne!(
        shown["error"]["provider_code"],
        Value::Null,
        "the provider's own word is missing"
    );
}

#[tokio::test]
async fn missing_bucket_is_named() {
    let bucket = garage::shared().bucket().await;
    let location = Location {
        bucket: "no-such-bucket".into(),
        ..Location::of(&bucket)
    };
    is_refused(
        location,
        "bucket_not_found",
        &["no-such-bucket", "create the bucket"],
    )
    .await;
}

#[tokio::test]
async fn unknown_access_key_is_named() {
    let bucket = garage::shared().bucket().await;
    let location = Location {
        key_id: "GK000000000000000000000000".into(),
        ..Location::of(&bucket)
    };
    is_refused(location, "storage_auth", &[&bucket.name, "access key ID"]).await;
}

#[tokio::test]
async fn swapped_access_key_and_secret_are_not_echoed() {
    let bucket = garage::shared().bucket().await;
    let right = Location::of(&bucket);
    let swapped = Location {
        key_id: right.secret.clone(),
        secret: right.key_id.clone(),
        ..Location::of(&bucket)
    };
    // The lab detects secrets in output and answers of the agent.
    is_refused(swapped, "storage_auth", &[&bucket.name, "***", "swapped"]).await;
}

/// With a typo in the ID, and in the usual lengths of an ID and a secret: Amazon's, Google's for a service account, a user's own.
#[tokio::test]
async fn secret_is_never_sent_as_access_key_id() {
    let agent = Setup::with([]).serve().await;
    for (id_length, secret_length) in [(20, 40), (61, 40), (12, 12), (20, 10)] {
        let server = Imitation::with([]).await;
        let location = Location {
            key_id: "K".repeat(id_length),
            secret: "s".repeat(secret_length),
            ..server.location()
        };
        let secret = location.secret.clone();
        let checked = agent
            .post("/v1/locations/check", &location.json())
            .await
            .json();
        assert_eq!(checked["ok"], false, "{checked:#}");
        let signed = |word: &str| {
            server.count(|request| {
                let header = request.headers.get("authorization");
                header.is_some_and(|header| header.to_str().unwrap().contains(word))
            })
        };
        assert!(signed(&location.key_id) > 0);
        assert_eq!(signed(&secret), 0, "{id_length}, {secret_length}");
    }
}

#[tokio::test]
async fn report_of_swapped_keys_quotes_no_part_of_the_secret() {
    let server = Imitation::with([]).await;
    let right = server.location();
    let swapped = Location {
        key_id: right.secret.clone(),
        secret: right.key_id.clone(),
        ..right.clone()
    };
    let agent = Setup::with([]).serve().await;
    let answer = agent.post("/v1/locations/check", &swapped.json()).await;
    let checked = answer.json();
    let steps = checked["steps"].as_array().unwrap();
    let error = &steps.last().unwrap()["error"];
    assert_eq!(error["reason"], "keys_swapped", "{checked:#}");
    assert_eq!(error["provider_code"], Value::Null);
    assert_eq!(error["placeholders"], Value::Null);
    let (_, part) = right.secret.split_once('+').unwrap();
    assert!(!checked.to_string().contains(part), "{checked:#}");
}

#[tokio::test]
async fn wrong_secret_is_named() {
    let bucket = garage::shared().bucket().await;
    let location = Location {
        secret: "0".repeat(64),
        ..Location::of(&bucket)
    };
    is_refused(
        location,
        "storage_auth",
        &[&bucket.name, "secret access key"],
    )
    .await;
}

#[tokio::test]
async fn wrong_region_is_named() {
    let bucket = garage::shared().bucket().await;
    let location = Location {
        region: "eu-west-1".into(),
        ..Location::of(&bucket)
    };
    is_refused(location, "wrong_region", &["region", "\"garage\""]).await;
}

#[tokio::test]
async fn access_key_without_bucket_permissions_is_named() {
    let bucket = garage::shared().bucket().await;
    let (key_id, secret) = garage::shared().key_for(&bucket, json!({})).await;
    let location = Location {
        key_id,
        secret,
        ..Location::of(&bucket)
    };
    is_refused(location, "storage_forbidden", &[&bucket.name, "permission"]).await;
}

#[tokio::test]
async fn read_only_access_key_is_named() {
    let bucket = garage::shared().bucket().await;
    let there = Sample::small("there");
    bucket.put_backup("", "there", &there).await;
    let (key_id, secret) = garage::shared()
        .key_for(&bucket, json!({"read": true}))
        .await;
    let agent = Setup::of(Location {
        key_id,
        secret,
        ..Location::of(&bucket)
    })
    .serve()
    .await;
    assert_eq!(agent.listed("garage").await, ["there"]);
    assert!(agent.download("garage", "there").await.unwrap().body == there.tar);
    agent.delete_backup("garage", "there").await.is_problem(
        502,
        "storage_forbidden",
        &["permission", "delete"],
    );
    assert_eq!(
        agent.listed("garage").await,
        ["there"],
        "what could not be deleted is still there"
    );

    let small = Sample::small("a1");
    let upload_id = agent.received("garage", &small).await;
    agent.complete(&upload_id, &small).await.is_problem(
        502,
        "storage_forbidden",
        &["permission", "write"],
    );

    let mut events = agent.events().await;
    let large = Sample::new("b2", "Large", 20 * MIB);
    let upload_id = agent.begin("garage", &large).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&large.tar).await;
    // The agent does not read the rest of a gigabyte that it cannot store; some clients see only
    // the close.
    if let Ok(answer) = sending.ended().await {
        answer.is_problem(502, "storage_forbidden", &["permission"]);
    }
    assert_eq!(
        events.upload("failed").await["error"]["code"],
        "storage_forbidden"
    );
    bucket
        .wait_until_keys_are(&["backups/there.metadata.json", "backups/there.tar"])
        .await;
}

#[tokio::test]
async fn unreachable_server_is_named() {
    let bucket = garage::shared().bucket().await;
    // Bound but not listening, so that no other test listens there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let free = socket.local_addr().unwrap();
    let agent = Setup::of(Location {
        endpoint: format!("http://{free}"),
        ..Location::of(&bucket)
    })
    .serve()
    .await;
    let list = agent.get("/v1/locations/garage/backups").await;
    list.is_problem(503, "storage_unreachable", &[&free.to_string(), "endpoint"]);
    assert_eq!(list.json()["retryable"], true);
}

#[tokio::test]
async fn non_s3_server_is_named() {
    let bucket = garage::shared().bucket().await;
    // An agent's own port answers with JSON, like many wrong URLs.
    let token = "0123456789abcdef";
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let other = Setup::of(Location::of(&bucket))
        .listening(&format!("tcp = \"{port}\"\ntoken = \"{token}\""));
    let _other = other.serve().await;
    let agent = Setup::of(Location {
        endpoint: format!("http://{port}"),
        ..Location::of(&bucket)
    })
    .serve()
    .await;
    let answer = agent.get("/v1/locations/garage/backups").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains(&port.to_string()),
        "{answer:?}"
    );
}

#[tokio::test]
async fn misconfigured_location_does_not_affect_others() {
    let bucket = garage::shared().bucket().await;
    let wrong = Location {
        id: "wrong".into(),
        secret: "0".repeat(64),
        ..Location::of(&bucket).by_host_name()
    };
    let agent = Setup::with([wrong, Location::of(&bucket)]).serve().await;
    agent.upload("garage", &Sample::small("a1")).await;
    agent
        .get("/v1/locations/wrong/backups")
        .await
        .is_problem(502, "storage_auth", &[]);
    let shown = agent.get("/v1/locations").await.json();
    let states: Vec<_> = shown["locations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|location| &location["status"])
        .collect();
    assert_eq!(states, ["error", "ok"]);
}

#[tokio::test]
async fn refusal_arrives_during_the_upload() {
    let bucket = garage::shared().bucket().await;
    let (key_id, secret) = garage::shared()
        .key_for(&bucket, json!({"read": true}))
        .await;
    let (address, token) = (
        crate::api::access::free_address(),
        "correct-horse-battery-staple",
    );
    let lines = format!("tcp = \"{address}\"\ntoken = \"{token}\"");
    let agent = Setup::of(Location {
        key_id,
        secret,
        ..Location::of(&bucket)
    })
    .listening(&lines)
    .serve()
    .await;
    let tcp = Client::new(http().build().unwrap(), &format!("http://{address}"));
    let sample = Sample::new("a1", "Large", 40 * MIB);
    for client in [
        agent.client.clone().with_token(token),
        tcp.with_token(token),
    ] {
        let upload_id = client.begin("garage", &sample).await;
        let mut sending = client.sending(&upload_id);
        sending.send(&sample.tar).await;
        let answer = sending.ended().await.unwrap();
        answer.is_problem(502, "storage_forbidden", &["permission"]);
        assert_eq!(client.get("/v1/info").await.status, 200);
    }
}
