//! Deletions and discards finish despite crashes, and spare newer content.

mod killed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::Semaphore;

use crate::lab::{
    Agent, Bucket, Fault, Location, MIB, Proxy, Request, Sample, Setup, agent_and_bucket,
    agent_behind_proxy, eventually,
};

fn keys(sample: &Sample) -> [String; 2] {
    [
        format!("backups/{}.metadata.json", sample.stem()),
        format!("backups/{}.tar", sample.stem()),
    ]
}

/// Waits until the bucket holds only this backup, and asserts that no journal is left.
async fn assert_only_backup(agent: &Agent, bucket: &Bucket, sample: &Sample) {
    let [metadata, tar] = keys(sample);
    bucket.wait_until_keys_are(&[&metadata, &tar]).await;
    agent.wait_until_no_journal().await;
    assert!(bucket.get(&tar).await == sample.tar);
    assert_eq!(bucket.json(&metadata).await["backup_id"], sample.id());
}

async fn assert_nothing_left(agent: &Agent, bucket: &Bucket) {
    bucket.wait_until_empty().await;
    agent.wait_until_no_journal().await;
}

#[tokio::test]
async fn damaged_small_tar_is_removed() {
    let off = |location: &mut Location| *location = location.clone().with("checksum", "off");
    let (agent, proxy, bucket) = agent_behind_proxy(off).await;
    let (first, sample) = (Sample::new("a0", "First", 40_960), Sample::small("a1"));
    agent.upload("garage", &first).await;
    (0..10).for_each(|_| proxy.fault(|request| request.writes(".tar"), Fault::FlipRequest(20_000)));
    let upload_id = agent.received("garage", &sample).await;
    agent
        .complete(&upload_id, &sample)
        .await
        .is_problem(409, "checksum_mismatch", &[]);
    assert_only_backup(&agent, &bucket, &first).await;
    proxy.forget_faults();
    agent.upload("garage", &sample).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

/// An upload whose metadata write meets this fault before an outage; the agent fails it, then the
/// outage ends.
async fn failed_in_commit(size: u64, fault: impl Fn() -> Fault) -> (Agent, Proxy, Bucket, Sample) {
    let (agent, proxy, bucket) = agent_behind_proxy(|location| location.outage_seconds = 2).await;
    let sample = Sample::new("a1", "Failed", size);
    fail_in_outage(
        &agent,
        &proxy,
        &bucket,
        &sample,
        |request| request.writes(".metadata.json"),
        fault(),
    )
    .await;
    assert!(
        bucket.keys().await.contains(&keys(&sample)[1]),
        "test precondition not met"
    );
    (agent, proxy, bucket, sample)
}

async fn fail_in_outage(
    agent: &Agent,
    proxy: &Proxy,
    bucket: &Bucket,
    sample: &Sample,
    at: fn(&Request) -> bool,
    fault: Fault,
) {
    let upload_id = agent.received("garage", sample).await;
    let arrives = matches!(fault, Fault::HoldAnswer(_));
    proxy.fault(at, fault);
    let away = async {
        eventually("it is in flight", async || proxy.faults_left() == 0).await;
        eventually("the metadata object arrives", async || {
            !arrives || bucket.keys().await.contains(&keys(sample)[0])
        })
        .await;
        proxy.set_away(true);
    };
    let (answer, ()) = tokio::join!(agent.complete(&upload_id, sample), away);
    answer.is_problem(503, "storage_unreachable", &[]);
    eventually("the upload fails", async || {
        agent.printed().contains("the sweep will retry")
    })
    .await;
    proxy.set_away(false);
}

/// The same, with a killed agent.
async fn killed_after_failed_commit(
    size: u64,
    fault: impl Fn() -> Fault,
) -> (Agent, Proxy, Bucket) {
    let (mut agent, proxy, bucket, _) = failed_in_commit(size, fault).await;
    agent.kill();
    (Agent::restarted(agent).await, proxy, bucket)
}

fn never_arrives() -> Fault {
    Fault::Hold(Arc::new(Semaphore::new(0)))
}

#[tokio::test]
async fn tar_of_a_failed_upload_is_removed_after_the_outage() {
    for size in [40_960, 11 * MIB] {
        let (agent, _proxy, bucket) = killed_after_failed_commit(size, never_arrives).await;
        assert_nothing_left(&agent, &bucket).await;
    }
}

/// The sender received "not stored", although the metadata object arrived.
#[tokio::test]
async fn failed_backup_is_removed_after_the_outage() {
    let gate = Arc::new(Semaphore::new(0));
    let (agent, _proxy, bucket) =
        killed_after_failed_commit(40_960, || Fault::HoldAnswer(Arc::clone(&gate))).await;
    assert_nothing_left(&agent, &bucket).await;
    assert!(agent.listed("garage").await.is_empty());
}

#[tokio::test]
async fn background_removal_updates_the_list() {
    let gate = Arc::new(Semaphore::new(0));
    let arrives = || Fault::HoldAnswer(Arc::clone(&gate));
    let (agent, _proxy, bucket, _) = failed_in_commit(40_960, arrives).await;
    let next = Sample::new("b2", "Next", 40_960);
    agent.upload("garage", &next).await;
    assert_eq!(agent.listed("garage").await, ["a1", "b2"]);
    let mut other = Location {
        prefix: "other".into(),
        ..Location::of(&bucket)
    }
    .json();
    other.as_object_mut().unwrap().remove("id");
    // The agent sweeps all locations at startup.
    agent.register("other", &other).await;
    assert_only_backup(&agent, &bucket, &next).await;
    assert_eq!(agent.listed("garage").await, ["b2"]);
}

#[tokio::test]
async fn next_attempt_adopts_pending_removals() {
    for size in [40_960, 11 * MIB] {
        let (agent, _proxy, bucket, sample) = failed_in_commit(size, never_arrives).await;
        let upload_id = agent.begin("garage", &sample).await;
        assert_eq!(agent.cancel(&upload_id).await.status, 204);
        assert_nothing_left(&agent, &bucket).await;
        agent.upload("garage", &sample).await;
        assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    }
}

/// Equal bytes, so the tars are indistinguishable.
#[tokio::test]
async fn copy_stored_by_another_agent_is_kept() {
    for size in [40_960, 11 * MIB] {
        let (mut agent, proxy, bucket) =
            agent_behind_proxy(|location| location.outage_seconds = 2).await;
        let sample = Sample::new("a1", "Failed", size);
        let at: fn(&Request) -> bool =
            |request| request.completes_multipart() || request.writes(".tar");
        fail_in_outage(&agent, &proxy, &bucket, &sample, at, never_arrives()).await;
        agent.kill();
        let other = Setup::of(Location::of(&bucket)).serve().await;
        other.upload("garage", &sample).await;
        assert_only_backup(&other, &bucket, &sample).await;
        let agent = Agent::restarted(agent).await;
        assert_only_backup(&agent, &bucket, &sample).await;
        assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    }
}

/// Only the first answer is lost; the second answer belongs to the retry.
#[tokio::test]
async fn arrived_tar_is_removed_despite_ambiguous_last_attempt() {
    for size in [40_960, 11 * MIB] {
        let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
        let sample = Sample::new("a1", "Failed", size);
        let upload_id = agent.received("garage", &sample).await;
        let at: fn(&Request) -> bool =
            |request| request.completes_multipart() || request.writes(".tar");
        let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        proxy.fault(at, Fault::CutAnswer(0));
        proxy.fault(at, Fault::Answer("403 Forbidden", denied));
        agent
            .complete(&upload_id, &sample)
            .await
            .is_problem(502, "storage_forbidden", &[]);
        assert_eq!(proxy.faults_left(), 0, "test precondition not met");
        assert_nothing_left(&agent, &bucket).await;
    }
}

#[tokio::test]
async fn deletion_spares_another_backup_under_the_same_name() {
    let (agent, bucket) = agent_and_bucket().await;
    let (old, new) = (Sample::small("a1"), Sample::small("b2"));
    agent.upload("garage", &old).await;
    assert_eq!(agent.listed("garage").await, ["a1"]);
    // Another agent on the same folder deletes the one and uploads the other.
    bucket.put_backup("", &old.stem(), &new).await;
    assert_eq!(
        agent.delete_backup("garage", "a1").await.status,
        204,
        "the deletion is idempotent"
    );
    assert_eq!(
        agent.refreshed("garage").await["backups"][0]["backup_id"],
        "b2"
    );
    assert_only_backup(&agent, &bucket, &new).await;
}

#[tokio::test]
async fn renamed_backup_is_read_and_deleted() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    // Simulates another agent on the same folder that uploads the backup again.
    let moves = async |from: &str, to: &str| {
        assert_eq!(agent.listed("garage").await, ["a1"]);
        bucket.put_backup("", to, &sample).await;
        bucket
            .delete(&format!("backups/{from}.metadata.json"))
            .await;
        bucket.delete(&format!("backups/{from}.tar")).await;
    };
    moves(&sample.stem(), "again").await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    moves("again", "and again").await;
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    assert_eq!(agent.listed("garage").await, Vec::<String>::new());
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn new_copy_replaces_its_predecessor_but_no_other_backup_under_that_name() {
    let (agent, bucket) = agent_and_bucket().await;
    let (again, other) = (Sample::small("a1"), Sample::small("b2"));
    agent.upload("garage", &again).await;
    let upload_id = agent.received("garage", &again).await;
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    agent.upload("garage", &other).await;
    assert_eq!(
        bucket.json(&keys(&other)[0]).await["backup_id"],
        "b2",
        "test precondition not met"
    );
    assert_eq!(agent.complete(&upload_id, &again).await.status, 200);
    agent.wait_until_no_journal().await;
    let mut listed = agent.listed("garage").await;
    listed.sort();
    assert_eq!(listed, ["a1", "b2"]);
    assert!(agent.download("garage", "b2").await.unwrap().body == other.tar);
}

/// Loses the answer to the deletion of a tar, and holds the request that follows.
fn lose_answer(proxy: &Proxy) -> Arc<Semaphore> {
    let is_lost = Arc::new(AtomicBool::new(false));
    let is_first = {
        let is_lost = Arc::clone(&is_lost);
        move |request: &Request| request.deletes(".tar") && !is_lost.swap(true, Relaxed)
    };
    proxy.fault(is_first, Fault::CutAnswer(0));
    proxy.hold(move |_| is_lost.load(Relaxed))
}

#[tokio::test]
async fn repeated_deletion_spares_the_backup_of_another_agent() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    let gate = lose_answer(&proxy);
    let other = Setup::of(Location::of(&bucket)).serve().await;
    let meanwhile = async {
        eventually("the retry is in flight", async || proxy.faults_left() == 0).await;
        other.upload("garage", &sample).await;
        gate.add_permits(1);
    };
    let (deleted, ()) = tokio::join!(agent.delete_backup("garage", "a1"), meanwhile);
    assert_eq!(deleted.status, 204);
    assert_only_backup(&agent, &bucket, &sample).await;
}

#[tokio::test]
async fn repeated_discard_spares_the_backup_of_another_agent() {
    for size in [40_960, 11 * MIB] {
        let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
        let sample = Sample::new("a1", "Failed", size);
        let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        proxy.fault(
            |request| request.writes(".metadata.json"),
            Fault::Answer("403 Forbidden", denied),
        );
        let upload_id = agent.received("garage", &sample).await;
        let gate = lose_answer(&proxy);
        agent
            .complete(&upload_id, &sample)
            .await
            .is_problem(502, "storage_forbidden", &[]);
        eventually("the retry is in flight", async || proxy.faults_left() == 0).await;
        let other = Setup::of(Location::of(&bucket)).serve().await;
        other.upload("garage", &sample).await;
        gate.add_permits(1);
        assert_only_backup(&agent, &bucket, &sample).await;
    }
}

/// The name was free when the agent looked, and another agent took it before the storage refused.
#[tokio::test]
async fn refused_commit_spares_a_foreign_tar_of_the_same_size() {
    for size in [40_960, 11 * MIB] {
        let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
        let sample = Sample::new("a1", "Refused", size);
        let upload_id = agent.received("garage", &sample).await;
        let gate = Arc::new(Semaphore::new(0));
        let looks: fn(&Request) -> bool = |request| request.looks_at(".tar");
        proxy.fault(looks, Fault::HoldAnswer(Arc::clone(&gate)));
        let stores: fn(&Request) -> bool =
            |request| request.completes_multipart() || request.writes(".tar");
        let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        proxy.fault(stores, Fault::Answer("403 Forbidden", denied));
        let [_, tar] = keys(&sample);
        let foreign = vec![7; sample.tar.len()];
        let meanwhile = async {
            eventually("the agent looks", async || proxy.faults_left() == 1).await;
            bucket.put(&tar, foreign.clone()).await;
            gate.add_permits(1);
        };
        let (answer, ()) = tokio::join!(agent.complete(&upload_id, &sample), meanwhile);
        answer.is_problem(502, "storage_forbidden", &[]);
        agent.wait_until_no_journal().await;
        assert!(bucket.get(&tar).await == foreign, "a foreign tar changed");
        bucket.wait_until_keys_are(&[&tar]).await;
    }
}
