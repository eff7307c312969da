//! Recovery beside uploads, deletions and refusals.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{failed, late, recover, recovered};
use crate::lab::{Fault, Request, Sample, eventually};

#[tokio::test]
async fn recovery_ignores_uploads_in_flight() {
    let (agent, proxy, bucket) = late().await;
    let (sample, tar) = (
        Sample::small("a1"),
        format!("backups/{}.tar", Sample::small("a1").stem()),
    );
    let upload_id = agent.received("garage", &sample).await;
    bucket.put("backups/copy.tar", sample.tar.clone()).await;
    let gate = proxy.hold(|request| request.writes(".metadata.json"));
    let look = async {
        eventually("the metadata write is pending", async || {
            proxy.faults_left() == 0
        })
        .await;
        assert_eq!(
            recovered(&agent, &json!({"keys": [tar]})).await,
            (vec![], failed(&tar, "under_way"))
        );
        assert_eq!(
            recovered(&agent, &json!({})).await,
            (vec![], failed("backups/copy.tar", "under_way"))
        );
        gate.add_permits(1);
    };
    let (completed, ()) = tokio::join!(agent.complete(&upload_id, &sample), look);
    assert_eq!(completed.status, 200);
    assert!(
        bucket.json(&tar.replace(".tar", ".metadata.json")).await["s3_backup_agent"]["sha256"]
            .is_string()
    );
}

#[tokio::test]
async fn tar_deleted_during_recovery_leaves_no_metadata() {
    let (agent, proxy, bucket) = late().await;
    bucket.put("backups/x.tar", Sample::small("a1").tar).await;
    let gate = proxy.hold(|request| request.writes(".metadata.json"));
    let gone = async {
        eventually("the metadata write is pending", async || {
            proxy.faults_left() == 0
        })
        .await;
        bucket.delete("backups/x.tar").await;
        gate.add_permits(1);
    };
    let body = json!({});
    let (result, ()) = tokio::join!(recovered(&agent, &body), gone);
    assert_eq!(
        result,
        (vec![], failed("backups/x.tar", "backup_not_found"))
    );
    assert_eq!(bucket.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn recovery_keeps_metadata_of_a_concurrent_replacement() {
    let (agent, proxy, bucket) = late().await;
    bucket.put("backups/x.tar", Sample::small("a1").tar).await;
    // The first list looks for the key, to learn how the server encodes it.
    agent.refreshed("garage").await;
    let confirmed = AtomicUsize::new(0);
    let gate = proxy.hold(move |request| {
        request.looks_at("x.tar") && confirmed.fetch_add(1, Ordering::SeqCst) == 1
    });
    let other = Sample::new("b2", "Other", 40_960 * 2);
    let replaced = async {
        eventually("the metadata is written", async || proxy.faults_left() == 0).await;
        assert_eq!(
            bucket.json("backups/x.metadata.json").await["backup_id"],
            "a1",
            "test precondition not met"
        );
        bucket.put_backup("", "x", &other).await;
        gate.add_permits(1);
    };
    let body = json!({});
    let (result, ()) = tokio::join!(recovered(&agent, &body), replaced);
    assert_eq!(
        result,
        (vec![], failed("backups/x.tar", "backup_not_found"))
    );
    assert_eq!(agent.listed("garage").await, ["b2"]);
    assert!(agent.download("garage", "b2").await.unwrap().body == other.tar);
}

#[tokio::test]
async fn refused_tar_does_not_block_other_recoveries() {
    let (agent, proxy, bucket) = late().await;
    for id in ["a1", "b2"] {
        bucket
            .put(&format!("backups/{id}.tar"), Sample::small(id).tar)
            .await;
    }
    let denied = "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>";
    proxy.fault(
        |request: &Request| request.reads("a1.tar"),
        Fault::Answer("403 Forbidden", denied),
    );
    let (keys, reasons) = recovered(&agent, &json!({})).await;
    assert_eq!(
        (keys, reasons),
        (
            vec!["backups/b2.tar".to_owned()],
            failed("backups/a1.tar", "storage_forbidden")
        )
    );
    proxy.fault(
        |request: &Request| request.writes(".metadata.json"),
        Fault::Answer("403 Forbidden", denied),
    );
    assert_eq!(
        recovered(&agent, &json!({})).await,
        (vec![], failed("backups/a1.tar", "storage_forbidden"))
    );
    assert_eq!(agent.listed("garage").await, ["b2"]);
    proxy.set_away(true);
    assert_eq!(recover(&agent, &json!({})).await.status, 503);
}
