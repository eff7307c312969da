//! Commits that hang: no other call waits for them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::lab::{
    Agent, Bucket, Fault, Imitation, Location, MIB, Proxy, Request, Sample, Setup, Stopwatch,
    agent_behind_proxy, eventually,
};

/// An agent with a stored backup `b2`, and an upload of 11 MiB that is ready to be committed.
async fn ready_to_commit() -> (Agent, Proxy, Bucket, Sample, String) {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    agent.upload("garage", &Sample::small("b2")).await;
    let sample = Sample::new("a1", "Hanging", 11 * MIB);
    let upload_id = agent.received("garage", &sample).await;
    (agent, proxy, bucket, sample, upload_id)
}

#[tokio::test]
async fn cancel_and_delete_do_not_wait_for_a_commit_that_hangs() {
    let hangs: [fn(&Request) -> bool; 2] = [Request::completes_multipart, |request| {
        request.writes(".metadata.json")
    }];
    for hangs in hangs {
        let (agent, proxy, bucket, sample, upload_id) = ready_to_commit().await;
        let gate = Arc::new(Semaphore::new(0));
        proxy.fault(hangs, Fault::HoldAnswer(Arc::clone(&gate)));
        let calls = async {
            eventually("the commit hangs", async || proxy.faults_left() == 0).await;
            let watch = Stopwatch::start(&agent);
            assert_eq!(agent.delete_backup("garage", "b2").await.status, 204);
            assert_eq!(agent.cancel(&upload_id).await.status, 204);
            watch.assert_below(Duration::from_secs(5), "delete and cancel");
        };
        let (completed, ()) = tokio::join!(agent.complete(&upload_id, &sample), calls);
        completed.is_problem(409, "cancelled", &[]);
        bucket.wait_until_empty().await;
        agent.wait_until_no_journal().await;
        gate.add_permits(1);
        agent.upload("garage", &sample).await;
        assert_eq!(agent.listed("garage").await, ["a1"]);
    }
}

#[tokio::test]
async fn calls_do_not_wait_for_a_commit_in_an_outage() {
    let (agent, proxy, bucket, sample, upload_id) = ready_to_commit().await;
    let gate = proxy.hold(Request::completes_multipart);
    let calls = async {
        eventually("the commit begins", async || proxy.faults_left() == 0).await;
        proxy.set_away(true);
        let watch = Stopwatch::start(&agent);
        // Each gives up on the storage by itself.
        let (other, same) = tokio::join!(
            agent.delete_backup("garage", "b2"),
            agent.delete_backup("garage", "a1")
        );
        other.is_problem(503, "storage_unreachable", &[]);
        assert!(same.status >= 400, "{same:?}");
        watch.assert_below(Duration::from_secs(25), "deletions during the outage");
        let watch = Stopwatch::start(&agent);
        let waiting = agent.begin("garage", &sample).await;
        watch.assert_below(Duration::from_secs(40), "an upload during the outage");
        let uploads = agent.get("/v1/uploads").await.json()["uploads"].clone();
        assert_eq!(
            (&uploads[0]["upload_id"], &uploads[0]["waiting"]["code"]),
            (&json!(waiting), &json!("storage_unreachable")),
            "{uploads:#}"
        );
        let watch = Stopwatch::start(&agent);
        assert_eq!(agent.cancel(&waiting).await.status, 204);
        // Superseded, it was cancelled already.
        agent
            .cancel(&upload_id)
            .await
            .is_problem(404, "upload_not_found", &[]);
        watch.assert_below(Duration::from_secs(2), "cancel");
        assert_eq!(agent.get("/v1/uploads").await.json()["uploads"], json!([]));
        proxy.set_away(false);
    };
    let (completed, ()) = tokio::join!(agent.complete(&upload_id, &sample), calls);
    completed.is_problem(409, "cancelled", &[]);
    gate.add_permits(1);
    agent.wait_until_no_journal().await;
    assert_eq!(agent.listed("garage").await, ["b2"]);
    assert!(bucket.unfinished().await.is_empty());
    agent.upload("garage", &sample).await;
}

#[tokio::test]
async fn failed_abort_of_an_earlier_attempt_is_left_to_the_sweep() {
    // Garage drops unfinished uploads of a key that is written.
    let server = Imitation::with([]).await;
    let bucket = server.bucket();
    let proxy = Proxy::before(&server.endpoint()).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    };
    let mut agent = Setup::of(location).serve().await;
    let sample = Sample::new("a1", "Other size", 20 * MIB);
    agent.killed_half_way(&sample).await;
    let mut agent = Agent::restarted(agent).await;
    let denied = "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>";
    proxy.fault(
        |request| request.method == "DELETE" && request.path.contains("uploadId="),
        Fault::Answer("403 Forbidden", denied),
    );
    let other = Sample::new("a1", "Other size", 21 * MIB);
    agent.upload("garage", &other).await;
    assert_eq!(
        (proxy.faults_left(), bucket.unfinished().await.len()),
        (0, 1),
        "the test would prove nothing"
    );
    agent.kill();
    let agent = Agent::restarted(agent).await;
    eventually("the parts are gone", async || {
        bucket.unfinished().await.is_empty() && agent.journals().is_empty()
    })
    .await;
    assert!(agent.download("garage", "a1").await.unwrap().body == other.tar);
}
