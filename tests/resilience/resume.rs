//! Uploads resume after a crash: stored parts are not sent again.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use s3_backup_agent::store::Algorithm;
use serde_json::{Value, json};

use crate::lab::{
    Agent, Bucket, HalfSent, Location, MIB, Proxy, Sample, Setup, StateOn, agent_behind_proxy,
    eventually,
};

async fn complete(agent: &Agent, sample: &Sample, upload_id: &str) {
    let arrived = agent.content(upload_id, sample.tar.clone()).await;
    assert_eq!(
        (arrived.status, arrived.json()["sha256"].as_str()),
        (200, Some(sample.sha256().as_str()))
    );
    assert_eq!(agent.complete(upload_id, sample).await.status, 200);
}

async fn assert_stored(bucket: &Bucket, sample: &Sample) {
    let stem = format!("backups/{}", sample.stem());
    bucket.wait_until_only(&stem, sample).await;
}

/// Restarts a killed agent, uploads the backup again, and asserts that the `stored` bytes are not
/// sent again.
async fn assert_resumes(
    killed: Agent,
    proxy: &Proxy,
    bucket: &Bucket,
    sample: &Sample,
    stored: u64,
) {
    let sent_before = proxy.part_bytes();
    let agent = Agent::restarted(killed).await;
    assert!(agent.listed("garage").await.is_empty());
    let created = agent.create("garage", sample).await.json();
    assert!(
        created["stored_bytes"].as_u64() >= Some(stored),
        "{created} {stored}"
    );
    complete(&agent, sample, created["upload_id"].as_str().unwrap()).await;
    let sent_again = sent_before + proxy.part_bytes() - sample.size();
    // Only the parts in flight at the kill are sent again.
    assert!(
        sent_again <= sample.size() - stored,
        "{sent_again} bytes were sent twice, {stored} were stored"
    );
    assert_stored(bucket, sample).await;
    assert_eq!(agent.journals(), Vec::<PathBuf>::new());
    assert!(agent.download("garage", sample.id()).await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn upload_resumes_after_agent_restart() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Killed", 20 * MIB);
    let stored = agent.killed_half_way(&sample).await;
    assert_resumes(agent, &proxy, &bucket, &sample, stored).await;
}

#[tokio::test]
async fn upload_of_version_0_1_resumes() {
    for has_size in [true, false] {
        let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
        let sample = Sample::new("a1", "Upgraded", 20 * MIB);
        let stored = agent.killed_half_way(&sample).await;
        let place = format!("bucket \"{}\" at {}/", bucket.name, proxy.endpoint());
        let journal = agent.journals().pop().unwrap();
        let text = as_of_0_1(
            &fs::read_to_string(&journal).unwrap(),
            &place,
            has_size,
            &sample,
        );
        fs::write(&journal, text).unwrap();
        assert_resumes(agent, &proxy, &bucket, &sample, stored).await;
    }
}

/// A journal as version 0.1 writes it; the earliest ones had no size.
fn as_of_0_1(journal: &str, place: &str, has_size: bool, sample: &Sample) -> String {
    let mut lines = journal.lines();
    let first: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let upload = &first["upload"];
    assert_eq!(upload["version"], 2);
    let mut first = json!({"upload": {"place": place, "key": upload["key"], "backup_id": upload["backup_id"],
        "upload_id": upload["upload_id"], "part_size": upload["part_size"], "size": upload["size"],
        "kept": upload["kept"]}});
    if !has_size {
        first["upload"].as_object_mut().unwrap().remove("size");
    }
    let mut text = vec![first.to_string()];
    for line in lines {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let size = usize::try_from(line["part"]["size"].as_u64().unwrap()).unwrap();
        let start = usize::try_from(line["part"]["number"].as_u64().unwrap()).unwrap() * size;
        let hash = Algorithm::Crc64Nvme.digest(&sample.tar[start..start + size]);
        line["part"]["hash"] = hash.to_string().into();
        text.push(line.to_string());
    }
    text.join("\n") + "\n"
}

#[tokio::test]
async fn different_stream_replaces_changed_parts() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let first = Sample::new("a1", "Another byte", 20 * MIB);
    agent.killed_half_way(&first).await;
    let agent = Agent::restarted(agent).await;
    // Equal except for one byte in the second part.
    let mut tar = first.tar.to_vec();
    tar[6_000_000] ^= 1;
    let second = first.with_tar(tar);
    let before = proxy.part_bytes();
    let mut events = agent.events().await;
    let created = agent.create("garage", &second).await.json();
    complete(&agent, &second, created["upload_id"].as_str().unwrap()).await;
    let told = events.upload("complete").await;
    assert_eq!(
        (&told["differs"], &told["resumed_bytes"]),
        (&true.into(), &created["stored_bytes"]),
        "{told}"
    );
    let said = agent
        .printed()
        .lines()
        .filter(|line| line.contains("changed parts are stored again"))
        .count();
    assert_eq!(said, 1, "{}", agent.printed());
    let sent = proxy.part_bytes() - before;
    assert!((10 * MIB..20 * MIB).contains(&sent), "{sent}");
    assert_stored(&bucket, &second).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == second.tar);
}

#[tokio::test]
async fn upload_unknown_to_the_bucket_restarts() {
    let (mut agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Forgotten", 20 * MIB);
    agent.killed_half_way(&sample).await;
    bucket.abort_unfinished().await;
    let agent = Agent::restarted(agent).await;
    let created = agent.create("garage", &sample).await.json();
    assert_eq!(created["stored_bytes"], 0);
    complete(&agent, &sample, created["upload_id"].as_str().unwrap()).await;
    assert_stored(&bucket, &sample).await;
    assert_eq!(agent.journals(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn cancelled_resumed_upload_leaves_nothing() {
    let (mut agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Cancelled", 20 * MIB);
    agent.killed_half_way(&sample).await;
    let agent = Agent::restarted(agent).await;
    assert_eq!(
        bucket.unfinished().await.len(),
        1,
        "test precondition not met"
    );
    let upload_id = agent.begin("garage", &sample).await;
    assert_eq!(agent.cancel(&upload_id).await.status, 204);
    bucket.wait_until_empty().await;
    agent.wait_until_no_journal().await;
}

#[tokio::test]
async fn own_tar_without_metadata_is_recognised() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    for sample in [Sample::small("a1"), Sample::new("b2", "Large", 12 * MIB)] {
        let upload_id = agent.received("garage", &sample).await;
        let _gate = proxy.hold(|request| request.writes(".metadata.json"));
        let (client, id, copy) = (agent.client.clone(), upload_id.clone(), sample.clone());
        let completing = tokio::spawn(async move { client.complete(&id, &copy).await });
        eventually("the metadata write is pending", async || {
            proxy.faults_left() == 0
        })
        .await;
        agent.kill();
        completing.abort();
        let before = bucket.keys().await;
        assert!(
            before.contains(&format!("backups/{}.tar", sample.stem())),
            "test precondition not met: {before:?}"
        );
        agent = Agent::restarted(agent).await;
        agent.upload("garage", &sample).await;
        assert_eq!(
            bucket.keys().await.len(),
            before.len() + 1,
            "the tar exists under two names"
        );
        assert!(agent.download("garage", sample.id()).await.unwrap().body == sample.tar);
        assert_eq!(agent.journals(), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn abandoned_upload_is_removed_after_a_day() {
    let (mut agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Left", 20 * MIB);
    agent.killed_half_way(&sample).await;
    let mut agent = Agent::restarted(agent).await;
    assert_eq!(agent.location("garage").await["id"], "garage");
    assert_eq!(
        (bucket.unfinished().await.len(), agent.journals().len()),
        (1, 1),
        "removed too early"
    );
    agent.kill();
    agent.expire_journals();
    let agent = Agent::restarted(agent).await;
    bucket.wait_until_empty().await;
    agent.wait_until_no_journal().await;
}

#[tokio::test]
async fn upload_succeeds_without_journal_storage() {
    let bucket = crate::lab::garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let setup = Setup::of(Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    });
    fs::create_dir_all(setup.path("state")).unwrap();
    fs::write(setup.path("state/uploads"), "a file in the folder's place").unwrap();
    let agent = setup.serve().await;
    for (id, name) in [("a1", "One"), ("b2", "Two")] {
        let sample = Sample::new(id, name, 12 * MIB);
        agent.upload("garage", &sample).await;
        assert!(agent.download("garage", id).await.unwrap().body == sample.tar);
    }
    let warnings = agent
        .printed()
        .lines()
        .filter(|line| line.contains("state/uploads"))
        .count();
    assert_eq!(warnings, 1, "{}", agent.printed());
}

#[tokio::test]
async fn unwritable_disk_costs_only_the_resume() {
    for state in [StateOn::OneMebibyte, StateOn::ReadOnly] {
        let bucket = crate::lab::garage::shared().bucket().await;
        let proxy = Proxy::before(&bucket.endpoint).await;
        let mut setup = Setup::of(Location {
            endpoint: proxy.endpoint(),
            ..Location::of(&bucket)
        });
        fs::create_dir_all(setup.path("state")).unwrap();
        setup.state_on = Some(state);
        let agent = setup.serve().await;
        let is_full = matches!(state, StateOn::OneMebibyte);
        // The disk fills up in the middle of the first, and before the second.
        for (id, name) in [("a1", "One"), ("b2", "Two")] {
            let sample = Sample::new(id, name, 20 * MIB);
            let HalfSent {
                upload_id,
                mut sending,
                rest,
                ..
            } = agent.half_sent("garage", &sample, 10 * MIB).await;
            if is_full && id == "a1" {
                fill_up(&agent);
            }
            sending.send(&rest).await;
            assert_eq!(sending.ended().await.unwrap().status, 200);
            assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
            assert!(agent.download("garage", id).await.unwrap().body == sample.tar);
            if is_full {
                // An upload started before the disk was full is removed too.
                assert_eq!(
                    fs::read_dir(agent.inside("state/uploads")).unwrap().count(),
                    0
                );
                drop(fs::write(agent.inside("state/more"), vec![0; 2 << 20]));
            }
        }
        let warnings = agent
            .printed()
            .lines()
            .filter(|line| line.contains("uploads continue"))
            .count();
        assert_eq!(warnings, 1, "{}", agent.printed());
        assert_eq!(bucket.unfinished().await, Vec::<String>::new());
        assert_damage_is_reported(&agent, &bucket).await;
    }
}

/// Holds with and without a writable record, and beside a concurrent verification command.
async fn assert_damage_is_reported(agent: &Agent, bucket: &Bucket) {
    let sample = Sample::new("b2", "Two", 20 * MIB);
    let mut damaged = sample.tar.to_vec();
    damaged[10_000_000] ^= 1;
    bucket
        .put(&format!("backups/{}.tar", sample.stem()), damaged)
        .await;
    agent
        .setup
        .run(&["verify", "garage", "b2", "--full"])
        .await
        .ended_with(5);
    for id in ["a1", "b2"] {
        let path = format!("/v1/locations/garage/backups/{id}/verify");
        let answer = agent.post(&path, &json!({"mode": "full"})).await;
        let last = answer
            .body
            .split(|&byte| byte == b'\n')
            .rev()
            .nth(1)
            .unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(last).unwrap()["ok"],
            id == "a1",
            "{answer:?}"
        );
    }
    assert_eq!(
        agent.location("garage").await["verification"]["damaged"],
        json!(["b2"])
    );
    assert_eq!(agent.get("/v1/info").await.status, 200);
    let warnings = agent
        .printed()
        .lines()
        .filter(|line| line.contains("verify::records"))
        .count();
    assert_eq!(warnings, 1, "{}", agent.printed());
}

/// Fills the disk, and the last page of the only journal with spaces, which JSON ignores.
fn fill_up(agent: &Agent) {
    let journals: Vec<_> = fs::read_dir(agent.inside("state/uploads"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(journals.len(), 1, "test precondition not met");
    let size = usize::try_from(fs::metadata(&journals[0]).unwrap().len()).unwrap();
    let mut journal = File::options().append(true).open(&journals[0]).unwrap();
    journal.write_all(&vec![b' '; 4090 - size]).unwrap();
    fs::write(agent.inside("state/filler"), vec![0; 2 << 20]).unwrap_err();
}
