//! The events stream: the full state first, then changes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::lab::{Location, MIB, Sample, Setup, TIMEOUT, agent_and_bucket, garage};

#[tokio::test]
async fn first_events_carry_the_full_state() {
    let bucket = garage::shared().bucket().await;
    let other = Location {
        id: "other".into(),
        prefix: "other".into(),
        ..Location::of(&bucket)
    };
    let agent = Setup::with([Location::of(&bucket), other]).serve().await;
    let mut early = agent.events().await;
    let sample = Sample::new("a1", "On its way", 20 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
    let seen = early
        .until(|event| event["type"] == "upload" && event["stored_bytes"].as_u64() > Some(0))
        .await;

    let mut late = agent.events().await;
    let upload = late.next().await.unwrap();
    let first: Vec<_> = [late.next().await.unwrap(), late.next().await.unwrap()].into();
    let ids: Vec<_> = first
        .iter()
        .map(|event| (&event["type"], &event["location"]["id"]))
        .collect();
    assert_eq!(
        ids,
        [
            (&json!("location"), &json!("garage")),
            (&json!("location"), &json!("other"))
        ]
    );
    assert_eq!(first[0]["location"], agent.location("garage").await);

    let mut listed = agent.get("/v1/uploads").await.json();
    let mut listed = listed["uploads"].as_array_mut().unwrap().remove(0);
    listed["type"] = "upload".into();
    assert_eq!(
        (&upload["upload_id"], &upload["state"]),
        (&upload_id.as_str().into(), &"receiving".into())
    );
    assert!(
        upload["stored_bytes"].as_u64() > Some(0) && upload["total_bytes"] == sample.size(),
        "{upload}"
    );
    assert_eq!(
        (&upload["started_at"], &upload["backup_id"]),
        (&seen[seen.len() - 1]["started_at"], &"a1".into())
    );
    chrono::DateTime::parse_from_rfc3339(upload["started_at"].as_str().unwrap()).unwrap();
    // Another part may have been stored since.
    listed["stored_bytes"] = upload["stored_bytes"].clone();
    assert_eq!(listed, upload);
}

/// Clients use pings as the clock of their own retries, so busy streams must carry them too.
#[tokio::test]
async fn pings_continue_during_busy_streams() {
    let (agent, _bucket) = agent_and_bucket().await;
    let mut events = agent.log("debug").await;
    let working = async {
        loop {
            agent.refreshed("garage").await;
            sleep(Duration::from_millis(500)).await;
        }
    };
    let pinged = events.until(|event| event["type"] == "ping");
    tokio::select! {
        () = working => {}
        told = timeout(TIMEOUT, pinged) => assert!(told.expect("no ping comes").len() > 20),
    }
}

#[tokio::test]
async fn uploads_are_reported_from_announcement_to_end() {
    let (agent, _bucket) = agent_and_bucket().await;
    let uploads = async || {
        agent.get("/v1/uploads").await.json()["uploads"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert_eq!(uploads().await, Vec::<Value>::new());
    let (one, two) = (Sample::small("a1"), Sample::new("a2", "Other", 40_960));
    let (first, second) = (
        agent.begin("garage", &one).await,
        agent.begin("garage", &two).await,
    );
    let listed = uploads().await;
    let states: Vec<_> = listed
        .iter()
        .map(|upload| (&upload["location"], &upload["state"]))
        .collect();
    assert_eq!(states, vec![(&json!("garage"), &json!("receiving")); 2]);
    assert_eq!(agent.cancel(&second).await.status, 204);
    agent.content(&first, one.tar.clone()).await;
    assert_eq!(uploads().await.len(), 1);
    agent.complete(&first, &one).await;
    assert_eq!(uploads().await, Vec::<Value>::new());
}

/// The counters of a location, in an event or in an answer.
fn numbers(location: &Value) -> (&Value, &Value, &Value) {
    (
        &location["backups"],
        &location["size_bytes"],
        &location["last_upload"],
    )
}

#[tokio::test]
async fn location_counters_are_sent_on_every_change() {
    let (agent, bucket) = agent_and_bucket().await;
    let mut events = agent.events().await;
    assert_eq!(
        numbers(&agent.location("garage").await),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    bucket.put_backup("", "foreign", &Sample::small("f0")).await;
    agent.list("garage").await;
    let has = |backups: u64| move |event: &Value| event["location"]["backups"] == backups;
    let told = events.until(has(1)).await;
    let size = Sample::small("f0").size();
    assert_eq!(
        numbers(&told[told.len() - 1]["location"]),
        (&json!(1), &json!(size), &Value::Null),
        "not our upload"
    );

    let sample = Sample::new("a1", "Large", 12 * MIB);
    let stored = agent.upload("garage", &sample).await["s3_backup_agent"].clone();
    // The agent lists by itself, because a reader is connected.
    let told = events.until(has(2)).await;
    let last = json!({"backup_id": "a1", "uploaded_at": stored["uploaded_at"], "size_bytes": sample.size(),
        "duration_ms": stored["duration_ms"]});
    assert!(last["duration_ms"].as_u64() > Some(0), "{last}");
    let location = &told[told.len() - 1]["location"];
    assert_eq!(
        numbers(location),
        (&json!(2), &json!(size + sample.size()), &last)
    );
    assert_eq!(agent.location("garage").await, *location);

    // An earlier version stored no duration, and another tool may write an invalid time.
    for (id, at) in [("a2", "2099-01-01T00:00:00Z"), ("a3", "yesterday")] {
        let mut older = Sample::small(id);
        older.metadata["s3_backup_agent"] = json!({"format": 1, "size": older.size(), "sha256": older.sha256(),
            "part_size": 1, "uploaded_at": at, "agent_version": "0.0.1"});
        bucket.put_backup("", id, &older).await;
    }
    agent.refreshed("garage").await;
    let told = events.until(has(4)).await;
    let last = &told[told.len() - 1]["location"]["last_upload"];
    assert_eq!(
        (&last["backup_id"], &last["duration_ms"]),
        (&"a2".into(), &Value::Null)
    );

    agent.delete_backup("garage", "a2").await;
    let told = events.until(has(3)).await;
    assert_eq!(
        told[told.len() - 1]["location"]["last_upload"]["backup_id"],
        "a1"
    );
}

#[tokio::test]
async fn burst_of_changes_costs_one_listing_and_none_without_readers() {
    let (agent, proxy, _bucket) = crate::lab::agent_behind_proxy(|_| {}).await;
    let samples: Vec<_> = (0..4)
        .map(|index| Sample::small(&format!("id{index}")))
        .collect();
    for sample in &samples {
        agent.upload("garage", sample).await;
    }
    let lists = || proxy.count(crate::lab::Request::is_list);
    let before = lists();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(lists(), before, "there is no reader");
    agent.refreshed("garage").await;
    let (mut events, before) = (agent.events().await, lists());
    for sample in &samples {
        agent.delete_backup("garage", sample.id()).await;
    }
    events
        .until(|event| event["location"]["backups"] == 0)
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(lists(), before + 1);
}
