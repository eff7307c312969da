//! Checksums: whatever a server verifies, damage on the way is noticed.

use serde_json::{Value, json};

use crate::lab::{Agent, Fault, Location, MIB, Proxy, Sample, Server, Setup};

/// Only the agent compares anything here, and it has never seen a correct answer.
pub(super) async fn persistently_damaged_content_is_never_acknowledged(server: Server) {
    // Only large writes are changed, so the agent's own probe arrives intact.
    for index in [10, 1_000_000] {
        let bucket = server.bucket().await;
        let proxy = Proxy::before(&bucket.endpoint).await;
        let location = Location {
            endpoint: proxy.endpoint(),
            ..server.location(&bucket)
        };
        let agent = Setup::of(location.with("checksum", "off")).serve().await;
        for _ in 0..100 {
            proxy.fault(|request| request.method == "PUT", Fault::FlipRequest(index));
        }
        let sample = Sample::new("a1", "Damaged", 12 * MIB);
        for attempt in 0..3 {
            let upload_id = agent.begin("home", &sample).await;
            let arrived = agent.content(&upload_id, sample.tar.clone()).await;
            arrived.is_problem(409, "checksum_mismatch", &["MD5"]);
            assert!(
                agent.refreshed("home").await["backups"] == json!([]),
                "attempt {attempt}"
            );
            bucket.wait_until_empty().await;
        }
        assert!(proxy.faults_left() > 0, "test precondition not met");
        proxy.forget_faults();
        agent.upload("home", &sample).await;
        assert!(agent.download("home", "a1").await.unwrap().body == sample.tar);
    }
}

/// Where a server does not verify this one, the agent uses another, or compares the `ETag`.
pub(super) async fn damage_on_the_way_is_refused_with_every_checksum(server: Server) {
    for checksum in ["sha256", "crc32c", "crc64nvme"] {
        let bucket = server.bucket().await;
        let proxy = Proxy::before(&bucket.endpoint).await;
        let location = Location {
            endpoint: proxy.endpoint(),
            ..server.location(&bucket)
        };
        let agent = Setup::of(location.with("checksum", checksum)).serve().await;
        for _ in 0..100 {
            proxy.fault(
                |request| request.method == "PUT",
                Fault::FlipRequest(1_000_000),
            );
        }
        let sample = Sample::new("a1", "Damaged", 12 * MIB);
        let upload_id = agent.begin("home", &sample).await;
        let arrived = agent.content(&upload_id, sample.tar.clone()).await;
        assert!(proxy.faults_left() > 0, "test precondition not met");
        proxy.forget_faults();
        arrived.is_problem(409, "checksum_mismatch", &[]);
        bucket.wait_until_empty().await;
        agent.upload("home", &sample).await;
        assert!(agent.download("home", "a1").await.unwrap().body == sample.tar);
    }
}

pub(super) async fn every_checksum_mode_is_accepted(server: Server) {
    for checksum in ["sha256", "crc32c", "crc64nvme", "off"] {
        let home = server
            .home_with(|home| *home = home.clone().with("checksum", checksum))
            .await;
        for sample in [
            Sample::small("small"),
            Sample::new("large", "Large", 6 * MIB),
        ] {
            home.agent.upload("home", &sample).await;
            assert!(
                home.agent.download("home", sample.id()).await.unwrap().body == sample.tar,
                "{checksum}"
            );
            verifies(&home.agent, &sample, checksum).await;
        }
    }
}

/// A full verification finds the backup intact, whatever checksum the server says that it has.
async fn verifies(agent: &Agent, sample: &Sample, checksum: &str) {
    let path = format!("/v1/locations/home/backups/{}/verify", sample.id());
    let answer = agent.post(&path, &json!({"mode": "full"})).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let result: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(result["ok"], true, "{checksum}: {result:#}");
    assert_eq!(result["notes"], json!([]), "{checksum}: {result:#}");
}

/// The agent asks before the first content, and at each check.
pub(super) async fn automatic_checksum_is_one_that_is_verified(server: Server) {
    let bucket = server.bucket().await;
    let agent = Setup::with([]).serve().await;
    // Without a preset.
    let location = Location {
        provider: "other".into(),
        ..server.location(&bucket)
    };
    let answer = agent.post("/v1/locations/check", &location.json()).await;
    let checked = answer.json();
    let found = &checked["found"]["checksum"];
    assert_eq!(found, server.capabilities().automatic(), "{checked:#}");
    let notes = checked["notes"].as_array().unwrap();
    assert!(
        notes
            .iter()
            .all(|note| note["code"] != "content_unverified")
    );
    bucket.wait_until_empty().await;
}
