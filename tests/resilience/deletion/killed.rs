//! Deletions and discards of killed processes.

use serde_json::json;

use super::{assert_nothing_left, assert_only_backup, keys};
use crate::lab::{
    Agent, Bucket, Fault, Location, MIB, Proxy, Request, Sample, Setup, agent_behind_proxy,
    eventually, garage, make_day_old,
};

/// Kills the agent in the middle of a deletion, before the request that `matches`.
async fn killed_while_deleting(
    sample: &Sample,
    matches: fn(&Request) -> bool,
) -> (Agent, Proxy, Bucket) {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    agent.upload("garage", sample).await;
    let _gate = proxy.hold(matches);
    tokio::select! {
        answer = agent.delete_backup("garage", sample.id()) => panic!("{answer:?}"),
        () = eventually("the request is in flight", async || proxy.faults_left() == 0) => {}
    }
    agent.kill();
    (Agent::restarted(agent).await, proxy, bucket)
}

#[tokio::test]
async fn started_deletion_finishes_after_kill() {
    let sample = Sample::small("a1");
    let (agent, _proxy, bucket) =
        killed_while_deleting(&sample, |request| request.deletes(".tar")).await;
    assert_nothing_left(&agent, &bucket).await;
}

#[tokio::test]
async fn unstarted_deletion_keeps_the_backup() {
    let sample = Sample::small("a1");
    let (agent, _proxy, bucket) =
        killed_while_deleting(&sample, |request| request.deletes(".metadata.json")).await;
    assert_only_backup(&agent, &bucket, &sample).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

/// Restarts an agent that was killed between the tar's completion and the metadata write.
async fn killed_before_the_metadata(sample: &Sample) -> (Agent, Proxy, Bucket) {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let upload_id = agent.received("garage", sample).await;
    let _gate = proxy.hold(|request| request.writes(".metadata.json"));
    tokio::select! {
        answer = agent.complete(&upload_id, sample) => panic!("{answer:?}"),
        () = eventually("the metadata is in flight", async || proxy.faults_left() == 0) => {}
    }
    agent.kill();
    assert_eq!(
        bucket.keys().await,
        [keys(sample)[1].clone()],
        "test precondition not met"
    );
    (Agent::restarted(agent).await, proxy, bucket)
}

#[tokio::test]
async fn resumed_upload_does_not_overwrite_another_backup_under_its_name() {
    let (sample, other) = (Sample::small("a1"), Sample::small("b2"));
    let (agent, _proxy, bucket) = killed_before_the_metadata(&sample).await;
    let upload_id = agent.received("garage", &sample).await;
    bucket.put_backup("", &sample.stem(), &other).await;
    agent.complete(&upload_id, &sample).await.is_problem(
        502,
        "storage_error",
        &["Another program wrote"],
    );
    assert_eq!(
        agent.refreshed("garage").await["backups"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_only_backup(&agent, &bucket, &other).await;
    assert_eq!(agent.get("/v1/uploads").await.json()["uploads"], json!([]));
}

/// The journal lists parts that have become a tar, and the provider cannot confirm it.
#[tokio::test]
async fn killed_upload_is_repaired_without_list_parts_permission() {
    let sample = Sample::new("a1", "Killed", 12 * MIB);
    let (agent, proxy, bucket) = killed_before_the_metadata(&sample).await;
    let refused = Fault::Answer(
        "403 Forbidden",
        "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>",
    );
    proxy.fault(
        |request| request.method == "GET" && request.path.contains("uploadId="),
        refused,
    );
    agent.upload("garage", &sample).await;
    assert_eq!(proxy.faults_left(), 0, "test precondition not met");
    assert_only_backup(&agent, &bucket, &sample).await;
}

/// The setup of a command killed in the middle of an upload, with one part stored.
async fn a_command_was_killed(sample: &Sample) -> (Setup, Proxy, Bucket) {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let setup = Setup::of(Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    });
    let file = setup.path("backup.tar");
    std::fs::write(&file, &sample.tar).unwrap();
    let _gate = proxy.hold(|request| request.stores_part(2));
    let mut process = setup
        .command()
        .args(["upload", "garage", file.to_str().unwrap()])
        .spawn()
        .unwrap();
    eventually("a part is stored", async || {
        proxy.faults_left() == 0 && proxy.part_bytes() > 5 * MIB
    })
    .await;
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(
        bucket.unfinished().await.len(),
        1,
        "test precondition not met"
    );
    make_day_old(&setup.path("state/uploads"));
    (setup, proxy, bucket)
}

#[tokio::test]
async fn leftovers_of_a_killed_command_are_swept_by_the_next_writer() {
    let (setup, _proxy, bucket) =
        a_command_was_killed(&Sample::new("a1", "Killed", 11 * MIB)).await;
    let file = setup.path("backup.tar");
    std::fs::write(&file, Sample::small("b2").tar).unwrap();
    setup.run(&["list", "garage"]).await.ended_with(0);
    assert_eq!(
        bucket.unfinished().await.len(),
        1,
        "a read-only command changes nothing"
    );
    setup
        .run(&["upload", "garage", file.to_str().unwrap()])
        .await
        .ended_with(0);
    assert_eq!(
        (bucket.unfinished().await.len(), bucket.keys().await.len()),
        (0, 2)
    );
}

#[tokio::test]
async fn leftovers_of_a_killed_command_are_swept_by_the_agent() {
    let (setup, _proxy, bucket) =
        a_command_was_killed(&Sample::new("a1", "Killed", 11 * MIB)).await;
    let agent = setup.serve().await;
    assert_nothing_left(&agent, &bucket).await;
}

/// The same state directory, concurrently: each leaves the other's uploads alone.
#[tokio::test]
async fn command_leaves_the_upload_of_the_agent_alone() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let (ours, its) = (
        Sample::new("a1", "Agent's", 11 * MIB),
        Sample::new("b2", "Command's", 11 * MIB),
    );
    let upload_id = agent.begin("garage", &ours).await;
    let gate = proxy.hold(|request| request.stores_part(2));
    let other = async {
        eventually("the agent's upload is half stored", async || {
            proxy.faults_left() == 0
        })
        .await;
        let file = agent.setup.path("backup.tar");
        std::fs::write(&file, &its.tar).unwrap();
        for _ in 0..2 {
            agent
                .setup
                .run(&["upload", "garage", file.to_str().unwrap()])
                .await
                .ended_with(0);
        }
        agent
            .setup
            .run(&["delete", "garage", "b2"])
            .await
            .ended_with(0);
        gate.add_permits(1);
    };
    let (arrived, ()) = tokio::join!(agent.content(&upload_id, ours.tar.clone()), other);
    assert_eq!(arrived.status, 200, "{arrived:?}");
    assert_eq!(agent.complete(&upload_id, &ours).await.status, 200);
    assert_only_backup(&agent, &bucket, &ours).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == ours.tar);
}
