//! Cost of a list, and its content after changes.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::lab::{Fault, Request, Sample, agent_behind_proxy, eventually};

fn reads_metadata(request: &Request) -> bool {
    request.reads(".metadata.json")
}

#[tokio::test]
async fn cached_list_expires_and_refresh_reads_only_changes() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    bucket.put_backups(12).await;
    assert_eq!(
        agent.list("garage").await["backups"]
            .as_array()
            .unwrap()
            .len(),
        12
    );
    assert_eq!(
        (proxy.count(Request::is_list), proxy.count(reads_metadata)),
        (1, 12)
    );

    bucket.delete("backups/b3.metadata.json").await;
    for _ in 0..3 {
        assert_eq!(
            agent.list("garage").await["backups"]
                .as_array()
                .unwrap()
                .len(),
            12
        );
    }
    assert_eq!(
        agent.get("/v1/locations/garage/backups/id05").await.status,
        200
    );
    assert_eq!(
        (proxy.count(Request::is_list), proxy.count(reads_metadata)),
        (1, 12),
        "a request was sent"
    );

    let mut renamed = Sample::small("id07");
    renamed.metadata["name"] = "Renamed".into();
    bucket.put_backup("", "b7", &renamed).await;
    let list = agent.refreshed("garage").await;
    assert_eq!(list["backups"].as_array().unwrap().len(), 11);
    assert_eq!(
        (proxy.count(Request::is_list), proxy.count(reads_metadata)),
        (2, 13),
        "one object changed"
    );
    assert!(
        list["backups"]
            .as_array()
            .unwrap()
            .iter()
            .any(|backup| backup["name"] == "Renamed")
    );
    assert!(list["age_seconds"].as_f64().unwrap() < 60.0);
}

#[tokio::test]
async fn concurrent_lists_share_one_request() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    bucket.put_backups(5).await;
    let gate = proxy.hold(Request::is_list);
    let release = async {
        eventually("the list is requested", async || proxy.faults_left() == 0).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        gate.add_permits(1);
    };
    let (lists, ()) = tokio::join!(join_all((0..20).map(|_| agent.list("garage"))), release);
    for list in lists {
        assert_eq!(list["backups"].as_array().unwrap().len(), 5);
    }
    assert_eq!(
        (proxy.count(Request::is_list), proxy.count(reads_metadata)),
        (1, 5)
    );
}

#[tokio::test]
async fn concurrent_deletions_share_one_listing() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    bucket.put_backups(20).await;
    let ids: Vec<_> = (0..20).map(|index| format!("id{index:02}")).collect();
    let deletions = join_all(ids.iter().map(|id| agent.delete_backup("garage", id))).await;
    for answer in deletions {
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    assert_eq!(proxy.count(Request::is_list), 1);
    bucket.wait_until_empty().await;
    assert_eq!(agent.list("garage").await["backups"], serde_json::json!([]));
}

#[tokio::test]
async fn change_shows_in_the_next_list() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    for round in 0..3 {
        let sample = Sample::small(&format!("id{round}"));
        agent.list("garage").await;
        agent.upload("garage", &sample).await;
        assert_eq!(
            crate::lab::call::ids(&agent.list("garage").await),
            [sample.id()]
        );
        assert_eq!(agent.delete_backup("garage", sample.id()).await.status, 204);
        assert_eq!(agent.list("garage").await["backups"], serde_json::json!([]));
    }
    assert!(proxy.count(Request::is_list) > 0);
}

#[tokio::test]
async fn list_in_flight_is_invalidated_by_a_new_backup() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::small("a1");
    // The server answers before the upload; the answer arrives after it.
    let gate = proxy.hold(Request::is_list);
    let slow = {
        let client = agent.client.clone();
        tokio::spawn(async move { client.list("garage").await })
    };
    eventually("a list is requested", async || proxy.faults_left() == 0).await;
    agent.upload("garage", &sample).await;
    let gate_later = gate.clone();
    let fresh = agent.list("garage").await;
    assert_eq!(crate::lab::call::ids(&fresh), ["a1"]);
    gate_later.add_permits(1);
    slow.await.unwrap();
    assert_eq!(crate::lab::call::ids(&agent.list("garage").await), ["a1"]);
}

#[tokio::test]
async fn list_spans_several_pages() {
    let (agent, proxy, bucket) = agent_behind_proxy(|location| location.concurrency = 8).await;
    // A page holds 1,000 keys.
    let sample = Sample::small("x");
    let keys: Vec<_> = (0..501).collect();
    for chunk in keys.chunks(32) {
        join_all(chunk.iter().map(|index| {
            let (bucket, mut sample) = (bucket.clone(), sample.clone());
            sample.metadata["backup_id"] = format!("id{index:04}").into();
            sample.tar = sample.tar.slice(..1024);
            async move {
                bucket
                    .put_backup("", &format!("b{index:04}"), &sample)
                    .await;
            }
        }))
        .await;
    }
    let list = agent.list("garage").await;
    assert_eq!(list["backups"].as_array().unwrap().len(), 501);
    assert_eq!(
        (proxy.count(Request::is_list), proxy.count(reads_metadata)),
        (2, 501)
    );
}

#[tokio::test]
async fn throttled_listing_is_retried() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    bucket.put_backup("", "b", &Sample::small("a1")).await;
    let slow_down =
        "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    proxy.fault(Request::is_list, Fault::Answer("503 Slow Down", slow_down));
    proxy.fault(
        reads_metadata,
        Fault::Answer("500 Internal Server Error", ""),
    );
    assert_eq!(crate::lab::call::ids(&agent.list("garage").await), ["a1"]);
    assert_eq!(
        (proxy.count(Request::is_list), proxy.count(reads_metadata)),
        (2, 2)
    );
}

#[tokio::test]
async fn backup_deleted_elsewhere_returns_not_found() {
    let (agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    for stem in ["x", "y"] {
        bucket.put_backup("", stem, &Sample::small(stem)).await;
    }
    agent.list("garage").await;
    for key in bucket.keys().await {
        bucket.delete(&key).await;
    }
    assert_eq!(
        agent.delete_backup("garage", "y").await.status,
        204,
        "the deletion is idempotent"
    );
    agent.download("garage", "x").await.unwrap().is_problem(
        404,
        "backup_not_found",
        &["\"x\"", "Refresh"],
    );
    assert!(agent.listed("garage").await.is_empty());
    agent
        .delete_backup("garage", "x")
        .await
        .is_problem(404, "backup_not_found", &[]);
}

#[tokio::test]
async fn ndjson_listing_equals_the_json_document() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    for stem in ["a", "b", "c"] {
        bucket
            .put_backup("", stem, &Sample::small(&format!("{stem}1")))
            .await;
    }
    bucket.delete("backups/b.tar").await;
    let document = agent.list("garage").await;
    assert_eq!(document["skipped"][0]["code"], "tar_missing");

    let lines = agent.listed_lines("garage").await;
    let (head, rest) = lines.split_first().unwrap();
    assert_eq!(
        (&head["type"], &head["stale"], &head["error"]),
        (&"listing".into(), &false.into(), &Value::Null)
    );
    assert_eq!((&head["backups"], &head["skipped"]), (&2.into(), &1.into()));
    assert!(head["age_seconds"].is_f64());
    let skipped = &document["skipped"][0];
    assert_eq!(
        rest,
        [
            json!({"type": "backup", "backup": document["backups"][0]}),
            json!({"type": "backup", "backup": document["backups"][1]}),
            json!({"type": "skipped", "key": skipped["key"], "code": "tar_missing", "reason": skipped["reason"]}),
            json!({"type": "end", "backups": 2}),
        ]
    );
    assert_eq!(proxy.count(Request::is_list), 1, "served from the cache");
}

#[tokio::test]
async fn ndjson_listing_of_unknown_location_is_a_problem_document() {
    let (agent, _proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let request = agent.request(Method::GET, "/v1/locations/nowhere/backups");
    agent
        .send(request.header("accept", "application/x-ndjson"))
        .await
        .unwrap()
        .is_problem(404, "location_not_found", &[]);
}
