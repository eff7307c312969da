//! What has to go does go, whoever dies meanwhile; what has come in its place stays.

use serde_json::json;

use crate::lab::{
    Agent, Bucket, Fault, Location, MIB, Proxy, Request, Sample, Setup, agent_and_bucket,
    agent_behind_proxy, eventually, garage,
};
use crate::resilience::resume::{ages, journals};

fn keys(sample: &Sample) -> [String; 2] {
    [
        format!("backups/{}.metadata.json", sample.stem()),
        format!("backups/{}.tar", sample.stem()),
    ]
}

/// The bucket holds this backup and nothing else, and no journal is left.
async fn only_this_is_left(agent: &Agent, bucket: &Bucket, sample: &Sample) {
    let [metadata, tar] = keys(sample);
    bucket.comes_to_hold(&[&metadata, &tar]).await;
    eventually("nothing is left to be done", async || {
        journals(agent).is_empty()
    })
    .await;
    assert!(bucket.get(&tar).await == sample.tar);
    assert_eq!(bucket.json(&metadata).await["backup_id"], sample.id());
}

async fn nothing_is_left(agent: &Agent, bucket: &Bucket) {
    bucket.comes_to_be_empty().await;
    eventually("nothing is left to be done", async || {
        journals(agent).is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_small_tar_that_arrived_damaged_goes() {
    let off = |location: &mut Location| *location = location.clone().with("checksum", "off");
    let (agent, proxy, bucket) = agent_behind_proxy(off).await;
    let (first, sample) = (Sample::new("a0", "First", 40_960), Sample::small("a1"));
    agent.upload("garage", &first).await;
    (0..10).for_each(|_| proxy.fault(|request| request.writes(".tar"), Fault::FlipRequest(20_000)));
    let upload_id = agent.begin("garage", &sample).await;
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    agent
        .complete(&upload_id, &sample)
        .await
        .is_problem(409, "checksum_mismatch", &[]);
    only_this_is_left(&agent, &bucket, &first).await;
    proxy.forget_faults();
    agent.upload("garage", &sample).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

/// An upload whose metadata meets this fault, and the storage goes away then; the agent gives up, and the storage is back.
async fn gave_up_at_the_end(
    size: u64,
    fault: impl Fn() -> Fault,
) -> (Agent, Proxy, Bucket, Sample) {
    let (agent, proxy, bucket) = agent_behind_proxy(|location| location.outage_seconds = 2).await;
    let sample = Sample::new("a1", "Failed", size);
    gives_up(
        &agent,
        &proxy,
        &sample,
        |request| request.writes(".metadata.json"),
        fault(),
    )
    .await;
    assert!(
        bucket.keys().await.contains(&keys(&sample)[1]),
        "the test would prove nothing"
    );
    (agent, proxy, bucket, sample)
}

async fn gives_up(
    agent: &Agent,
    proxy: &Proxy,
    sample: &Sample,
    at: fn(&Request) -> bool,
    fault: Fault,
) {
    let upload_id = agent.begin("garage", sample).await;
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    proxy.fault(at, fault);
    let away = async {
        eventually("it is on its way", async || proxy.faults_left() == 0).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        proxy.set_away(true);
    };
    let (answer, ()) = tokio::join!(agent.complete(&upload_id, sample), away);
    answer.is_problem(503, "storage_unreachable", &[]);
    eventually("it gives up", async || {
        agent.printed().contains("left behind for now")
    })
    .await;
    proxy.set_away(false);
}

/// The same, and the agent is killed.
async fn failed_at_the_end(size: u64, fault: impl Fn() -> Fault) -> (Agent, Proxy, Bucket) {
    let (mut agent, proxy, bucket, _) = gave_up_at_the_end(size, fault).await;
    agent.kill();
    (Agent::restarted(agent).await, proxy, bucket)
}

fn never_arrives() -> Fault {
    Fault::Hold(std::sync::Arc::new(tokio::sync::Semaphore::new(0)))
}

#[tokio::test]
async fn the_tar_of_an_upload_that_failed_goes_when_the_storage_is_back() {
    for size in [40_960, 11 * MIB] {
        let (agent, _proxy, bucket) = failed_at_the_end(size, never_arrives).await;
        nothing_is_left(&agent, &bucket).await;
    }
}

/// The sender was told that there is no such backup, though its metadata arrived.
#[tokio::test]
async fn a_backup_that_was_said_to_have_failed_goes_when_the_storage_is_back() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let (agent, _proxy, bucket) =
        failed_at_the_end(40_960, || Fault::HoldAnswer(std::sync::Arc::clone(&gate))).await;
    nothing_is_left(&agent, &bucket).await;
    assert!(agent.listed("garage").await.is_empty());
}

#[tokio::test]
async fn what_goes_in_the_background_goes_from_the_list() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let arrives = || Fault::HoldAnswer(std::sync::Arc::clone(&gate));
    let (agent, _proxy, bucket, _) = gave_up_at_the_end(40_960, arrives).await;
    let next = Sample::new("b2", "Next", 40_960);
    agent.upload("garage", &next).await;
    assert_eq!(agent.listed("garage").await, ["a1", "b2"]);
    let mut other = Location {
        prefix: "other".into(),
        ..Location::of(&bucket)
    }
    .json();
    other.as_object_mut().unwrap().remove("id");
    // Looks at once at what is left everywhere.
    assert_eq!(
        agent
            .put("/v1/locations/other", other.to_string())
            .await
            .status,
        200
    );
    only_this_is_left(&agent, &bucket, &next).await;
    assert_eq!(agent.listed("garage").await, ["b2"]);
}

#[tokio::test]
async fn the_next_attempt_does_not_take_over_what_has_to_go_without_seeing_to_it() {
    for size in [40_960, 11 * MIB] {
        let (agent, _proxy, bucket, sample) = gave_up_at_the_end(size, never_arrives).await;
        let upload_id = agent.begin("garage", &sample).await;
        assert_eq!(agent.cancel(&upload_id).await.status, 204);
        nothing_is_left(&agent, &bucket).await;
        agent.upload("garage", &sample).await;
        assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    }
}

/// The same bytes, so that nothing tells the tars apart.
#[tokio::test]
async fn the_same_backup_that_another_agent_stored_since_stays() {
    for size in [40_960, 11 * MIB] {
        let (mut agent, proxy, bucket) =
            agent_behind_proxy(|location| location.outage_seconds = 2).await;
        let sample = Sample::new("a1", "Failed", size);
        let at: fn(&Request) -> bool =
            |request| request.completes_multipart() || request.writes(".tar");
        gives_up(&agent, &proxy, &sample, at, never_arrives()).await;
        agent.kill();
        let other = Setup::of(Location::of(&bucket)).serve().await;
        other.upload("garage", &sample).await;
        only_this_is_left(&other, &bucket, &sample).await;
        let agent = Agent::restarted(agent).await;
        only_this_is_left(&agent, &bucket, &sample).await;
        assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    }
}

/// Only the first answer is lost; what the second says is of the second.
#[tokio::test]
async fn a_tar_that_arrived_goes_whatever_the_last_attempt_came_to() {
    for size in [40_960, 11 * MIB] {
        let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
        let sample = Sample::new("a1", "Failed", size);
        let upload_id = agent.begin("garage", &sample).await;
        assert_eq!(
            agent.content(&upload_id, sample.tar.clone()).await.status,
            200
        );
        let at: fn(&Request) -> bool =
            |request| request.completes_multipart() || request.writes(".tar");
        let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        proxy.fault(at, Fault::CutAnswer(0));
        proxy.fault(at, Fault::Answer("403 Forbidden", denied));
        agent
            .complete(&upload_id, &sample)
            .await
            .is_problem(502, "storage_forbidden", &[]);
        assert_eq!(proxy.faults_left(), 0, "the test would prove nothing");
        nothing_is_left(&agent, &bucket).await;
    }
}

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
        () = eventually("the request is on its way", async || proxy.faults_left() == 0) => {}
    }
    agent.kill();
    (Agent::restarted(agent).await, proxy, bucket)
}

#[tokio::test]
async fn a_deletion_that_had_begun_is_ended_after_a_kill() {
    let sample = Sample::small("a1");
    let (agent, _proxy, bucket) =
        killed_while_deleting(&sample, |request| request.deletes(".tar")).await;
    nothing_is_left(&agent, &bucket).await;
}

#[tokio::test]
async fn a_deletion_that_had_not_begun_leaves_the_backup_as_it_was() {
    let sample = Sample::small("a1");
    let (agent, _proxy, bucket) =
        killed_while_deleting(&sample, |request| request.deletes(".metadata.json")).await;
    only_this_is_left(&agent, &bucket, &sample).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn a_deletion_spares_another_backup_that_has_the_name_by_now() {
    let (agent, bucket) = agent_and_bucket().await;
    let (old, new) = (Sample::small("a1"), Sample::small("b2"));
    agent.upload("garage", &old).await;
    assert_eq!(agent.listed("garage").await, ["a1"]);
    // Another agent on the same folder deletes the one and uploads the other.
    bucket.put_backup("", &old.stem(), &new).await;
    assert_eq!(
        agent.delete_backup("garage", "a1").await.status,
        204,
        "what was wanted is so"
    );
    assert_eq!(
        agent.refreshed("garage").await["backups"][0]["backup_id"],
        "b2"
    );
    only_this_is_left(&agent, &bucket, &new).await;
}

#[tokio::test]
async fn a_backup_that_has_another_name_by_now_is_read_and_deleted_all_the_same() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    // As another agent on the same folder does when it uploads the backup again.
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
    bucket.comes_to_be_empty().await;
}

#[tokio::test]
async fn a_new_copy_replaces_its_own_earlier_one_and_not_what_has_the_name_by_now() {
    let (agent, bucket) = agent_and_bucket().await;
    let (again, other) = (Sample::small("a1"), Sample::small("b2"));
    agent.upload("garage", &again).await;
    let upload_id = agent.begin("garage", &again).await;
    assert_eq!(
        agent.content(&upload_id, again.tar.clone()).await.status,
        200
    );
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    agent.upload("garage", &other).await;
    assert_eq!(
        bucket.json(&keys(&other)[0]).await["backup_id"],
        "b2",
        "the test would prove nothing"
    );
    assert_eq!(agent.complete(&upload_id, &again).await.status, 200);
    eventually("nothing is left to be done", async || {
        journals(&agent).is_empty()
    })
    .await;
    let mut listed = agent.listed("garage").await;
    listed.sort();
    assert_eq!(listed, ["a1", "b2"]);
    assert!(agent.download("garage", "b2").await.unwrap().body == other.tar);
}

/// An agent that was killed when the tar was in its place and its metadata was not, and is there again.
async fn killed_before_the_metadata(sample: &Sample) -> (Agent, Proxy, Bucket) {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let upload_id = agent.begin("garage", sample).await;
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    let _gate = proxy.hold(|request| request.writes(".metadata.json"));
    tokio::select! {
        answer = agent.complete(&upload_id, sample) => panic!("{answer:?}"),
        () = eventually("the metadata is on its way", async || proxy.faults_left() == 0) => {}
    }
    agent.kill();
    assert_eq!(
        bucket.keys().await,
        [keys(sample)[1].clone()],
        "the test would prove nothing"
    );
    (Agent::restarted(agent).await, proxy, bucket)
}

#[tokio::test]
async fn an_upload_that_goes_on_does_not_write_over_what_has_its_name_by_now() {
    let (sample, other) = (Sample::small("a1"), Sample::small("b2"));
    let (agent, _proxy, bucket) = killed_before_the_metadata(&sample).await;
    let upload_id = agent.begin("garage", &sample).await;
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    bucket.put_backup("", &sample.stem(), &other).await;
    agent.complete(&upload_id, &sample).await.is_problem(
        502,
        "storage_error",
        &["Something else wrote"],
    );
    assert_eq!(
        agent.refreshed("garage").await["backups"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    only_this_is_left(&agent, &bucket, &other).await;
    assert_eq!(agent.get("/v1/uploads").await.json()["uploads"], json!([]));
}

/// The journal tells of parts that are a tar by now, and nobody can say so.
#[tokio::test]
async fn what_a_kill_left_is_made_good_by_a_key_that_may_not_list_parts() {
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
    assert_eq!(proxy.faults_left(), 0, "the test would prove nothing");
    only_this_is_left(&agent, &bucket, &sample).await;
}

/// The setup of a command that was killed in the middle of an upload, with one part stored.
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
        "the test would prove nothing"
    );
    ages(&setup.path("state/uploads"));
    (setup, proxy, bucket)
}

#[tokio::test]
async fn what_a_killed_command_left_goes_with_the_next_one_that_writes() {
    let (setup, _proxy, bucket) =
        a_command_was_killed(&Sample::new("a1", "Killed", 11 * MIB)).await;
    let file = setup.path("backup.tar");
    std::fs::write(&file, Sample::small("b2").tar).unwrap();
    setup.run(&["list", "garage"]).await.ended_with(0);
    assert_eq!(bucket.unfinished().await.len(), 1, "a look changes nothing");
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
async fn what_a_killed_command_left_goes_when_the_agent_looks() {
    let (setup, _proxy, bucket) =
        a_command_was_killed(&Sample::new("a1", "Killed", 11 * MIB)).await;
    let agent = setup.serve().await;
    nothing_is_left(&agent, &bucket).await;
}

/// The same state directory, at the same time: neither takes what the other is at.
#[tokio::test]
async fn a_command_beside_the_agent_leaves_its_upload_alone() {
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
    only_this_is_left(&agent, &bucket, &ours).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == ours.tar);
}
