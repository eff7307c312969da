//! The main job: upload, list, download, delete.

use serde_json::{Value, json};

use crate::lab::{Bucket, Location, MIB, Sample, Setup, agent_and_bucket, garage};

/// The expected metadata object, without `uploaded_at`.
fn stored_metadata(sample: &Sample, part_size: u64) -> Value {
    let mut metadata = sample.metadata.clone();
    metadata["size"] = sample.size().into();
    metadata["s3_backup_agent"] = json!({
        "format": 2, "size": sample.size(), "sha256": sample.sha256(), "crc32": sample.crc32(),
        "part_size": part_size, "agent_version": env!("CARGO_PKG_VERSION"),
        "inventory": {"complete": true, "missing": [], "empty": [], "not_encrypted": [], "encrypted": []},
    });
    metadata
}

fn without_time(mut metadata: Value) -> Value {
    let time = metadata["s3_backup_agent"]
        .as_object_mut()
        .unwrap()
        .shift_remove("uploaded_at")
        .unwrap();
    chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap();
    assert!(
        metadata["s3_backup_agent"]
            .as_object_mut()
            .unwrap()
            .shift_remove("duration_ms")
            .unwrap()
            .is_u64()
    );
    metadata
}

/// The digest covers the stored object; the backup itself is not known here.
fn without_digest(mut metadata: Value) -> Value {
    let digest = metadata["s3_backup_agent"]
        .as_object_mut()
        .unwrap()
        .shift_remove("metadata_sha256")
        .unwrap();
    assert_eq!(digest.as_str().unwrap().len(), 64);
    metadata
}

async fn holds(bucket: &Bucket, folder: &str, sample: &Sample) {
    let stem = format!("{folder}backups/{}", sample.stem());
    let (metadata, tar) = (format!("{stem}.metadata.json"), format!("{stem}.tar"));
    bucket.wait_until_keys_are(&[&metadata, &tar]).await;
    assert!(
        bucket.get(&tar).await == sample.tar,
        "the tar in the bucket differs"
    );
    assert_eq!(
        without_time(without_digest(bucket.json(&metadata).await)),
        stored_metadata(sample, 5 * MIB)
    );
}

async fn round_trip(size: u64) {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::new("1f2e3d4c", "Before the update", size);
    let created = agent.create("garage", &sample).await;
    assert_eq!(created.status, 201, "{created:?}");
    let key = format!("backups/{}.tar", sample.stem());
    let upload_id = created.json()["upload_id"].as_str().unwrap().to_owned();
    assert_eq!(
        created.json(),
        json!({"upload_id": upload_id, "part_size": 5 * MIB, "stored_bytes": 0, "key": key})
    );
    let arrived = agent.content(&upload_id, sample.tar.clone()).await;
    assert_eq!(
        arrived.json(),
        json!({"size": size, "crc32": sample.crc32(), "sha256": sample.sha256()}),
        "{arrived:?}"
    );
    assert_eq!(
        agent.list("garage").await["backups"],
        json!([]),
        "it is listed before it is complete"
    );
    let completed = agent.complete(&upload_id, &sample).await;
    assert_eq!(
        without_time(completed.json()),
        stored_metadata(&sample, 5 * MIB)
    );
    holds(&bucket, "", &sample).await;

    let list = agent.list("garage").await;
    assert_eq!(list["backups"], json!([completed.json()]));
    assert_eq!(
        (&list["stale"], &list["error"], &list["skipped"]),
        (&json!(false), &Value::Null, &json!([]))
    );
    let one = agent.get("/v1/locations/garage/backups/1f2e3d4c").await;
    assert_eq!(one.json(), completed.json());
    let content = agent.download("garage", "1f2e3d4c").await.unwrap();
    assert_eq!(
        (content.status, content.header("content-type")),
        (200, "application/x-tar")
    );
    assert_eq!(content.header("content-length"), size.to_string());
    assert!(content.body == sample.tar, "the download differs");

    assert_eq!(agent.delete_backup("garage", "1f2e3d4c").await.status, 204);
    bucket.wait_until_empty().await;
    assert_eq!(agent.list("garage").await["backups"], json!([]));
    agent
        .download("garage", "1f2e3d4c")
        .await
        .unwrap()
        .is_problem(404, "backup_not_found", &["1f2e3d4c", "Refresh"]);
}

#[tokio::test]
async fn multipart_backup_round_trips() {
    round_trip(20 * MIB + 10_240).await;
}

#[tokio::test]
async fn small_backup_round_trips() {
    round_trip(40_960).await;
}

#[tokio::test]
async fn sizes_around_the_part_boundary_round_trip() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in [5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 10 * MIB, 10 * MIB + 1] {
        let sample = Sample::new(&format!("id{size}"), &format!("Edge {size}"), size);
        agent.upload("garage", &sample).await;
        holds(&bucket, "", &sample).await;
        let content = agent.download("garage", sample.id()).await.unwrap();
        assert!(content.body == sample.tar, "{size}: the download differs");
        assert_eq!(agent.delete_backup("garage", sample.id()).await.status, 204);
    }
}

#[tokio::test]
async fn metadata_object_keeps_home_assistant_field_order() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    let text = bucket
        .text(&format!("backups/{}.metadata.json", sample.stem()))
        .await;
    let stored: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = stored.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "addons",
            "backup_id",
            "date",
            "database_included",
            "extra_metadata",
            "folders",
            "homeassistant_included",
            "homeassistant_version",
            "name",
            "protected",
            "size",
            "s3_backup_agent"
        ]
    );
    let added: Vec<_> = stored["s3_backup_agent"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(
        added,
        [
            "format",
            "size",
            "sha256",
            "crc32",
            "part_size",
            "uploaded_at",
            "duration_ms",
            "agent_version",
            "inventory",
            "metadata_sha256"
        ]
    );
}

#[tokio::test]
async fn events_report_upload_progress() {
    let (agent, _bucket) = agent_and_bucket().await;
    let mut events = agent.events().await;
    let sample = Sample::new("a1", "Watched", 20 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let mut sending = agent.sending(&upload_id);
    // The next part follows the stored one, so that every step is reported.
    let mut told = Vec::new();
    for part in 0..4 {
        let range = part * 5 * 1024 * 1024..(part + 1) * 5 * 1024 * 1024;
        sending.send(&sample.tar.slice(range)).await;
        if part > 0 {
            let stored = events
                .until(|event| event["stored_bytes"].as_u64() == Some(part as u64 * 5 * MIB))
                .await;
            told.extend(stored);
        }
    }
    assert_eq!(sending.ended().await.unwrap().status, 200);
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
    told.extend(
        events
            .until(|event| event["type"] == "upload" && event["state"] == "complete")
            .await,
    );

    let uploads: Vec<_> = told
        .iter()
        .filter(|event| event["type"] == "upload")
        .collect();
    let steps: Vec<_> = uploads
        .iter()
        .map(|event| {
            (
                event["state"].as_str().unwrap(),
                event["stored_bytes"].as_u64().unwrap() / MIB,
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            ("receiving", 0),
            ("receiving", 5),
            ("receiving", 10),
            ("receiving", 15),
            ("receiving", 20),
            ("storing", 20),
            ("complete", 20)
        ]
    );
    for event in uploads {
        assert_eq!(event["upload_id"], upload_id);
        assert_eq!(
            (&event["location"], &event["backup_id"]),
            (&json!("garage"), &json!("a1"))
        );
        assert_eq!(
            (&event["total_bytes"], &event["error"]),
            (&json!(20 * MIB), &Value::Null)
        );
    }
    assert!(
        told.contains(&json!({"type": "backups", "location": "garage"})),
        "{told:#?}"
    );
    let ok = |event: &&Value| event["type"] == "location" && event["location"]["status"] == "ok";
    assert_eq!(told.iter().filter(ok).count(), 1, "{told:#?}");

    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    let deleted = events.until(|event| event["type"] == "backups").await;
    assert_eq!(deleted.last().unwrap()["location"], "garage");
}

#[tokio::test]
async fn small_upload_reports_stored_bytes_at_completion() {
    let (agent, _bucket) = agent_and_bucket().await;
    let mut events = agent.events().await;
    agent.upload("garage", &Sample::small("a1")).await;
    assert_eq!(events.upload("complete").await["stored_bytes"], 40_960);
}

#[tokio::test]
async fn one_backup_uploads_to_two_locations_concurrently() {
    let (one, two) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let second = Location {
        id: "second".into(),
        ..Location::of(&two)
    };
    let agent = Setup::with([Location::of(&one), second]).serve().await;
    let sample = Sample::new("1f2e3d4c", "Both", 12 * MIB);
    tokio::join!(
        agent.upload("garage", &sample),
        agent.upload("second", &sample)
    );
    tokio::join!(holds(&one, "", &sample), holds(&two, "", &sample));
    assert_eq!(agent.delete_backup("garage", sample.id()).await.status, 204);
    assert_eq!(agent.listed("second").await, ["1f2e3d4c"]);
    let shown = agent.get("/v1/locations").await.json();
    let ids: Vec<_> = shown["locations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|location| &location["id"])
        .collect();
    assert_eq!(ids, ["garage", "second"]);
}

#[tokio::test]
async fn two_prefixes_of_one_bucket_are_two_locations() {
    let bucket = garage::shared().bucket().await;
    let location = |id: &str, prefix: &str| Location {
        id: id.into(),
        prefix: prefix.into(),
        ..Location::of(&bucket)
    };
    let agent = Setup::with([
        location("cellar", "home/cellar"),
        location("attic", "home/attic"),
    ])
    .serve()
    .await;
    let (below, above) = (
        Sample::new("b1", "Same name", 40_960),
        Sample::new("a1", "Same name", 51_200),
    );
    agent.upload("cellar", &below).await;
    agent.upload("attic", &above).await;
    let stem = below.stem();
    let keys = ["home/attic", "home/cellar"].map(|prefix| {
        ["metadata.json", "tar"].map(|ending| format!("{prefix}/backups/{stem}.{ending}"))
    });
    bucket
        .wait_until_keys_are(&keys.concat().iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    assert_eq!(agent.listed("cellar").await, ["b1"]);
    assert_eq!(agent.listed("attic").await, ["a1"]);
    assert_eq!(agent.delete_backup("cellar", "a1").await.status, 404);
}
