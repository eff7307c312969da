//! An agent that is killed in the middle: what was stored is not sent again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use s3_backup_agent::store::Algorithm;
use serde_json::{Value, json};

use crate::lab::{
    Agent, Bucket, Location, MIB, Proxy, Sample, Setup, StateOn, agent_behind_proxy, eventually,
};

/// Of 20 MiB in parts of 5 MiB, an agent is killed when some are stored. Gives the bytes that were.
pub(crate) async fn killed_in_the_middle(agent: &mut Agent, sample: &Sample) -> u64 {
    let mut events = agent.events().await;
    let upload_id = agent.begin("garage", sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..13 * 1024 * 1024)).await;
    let stored = events
        .until(|event| event["stored_bytes"].as_u64() >= Some(10 * MIB))
        .await;
    agent.kill();
    assert!(sending.ended().await.is_err());
    stored.last().unwrap()["stored_bytes"].as_u64().unwrap()
}

async fn complete(agent: &Agent, sample: &Sample, upload_id: &str) {
    let arrived = agent.content(upload_id, sample.tar.clone()).await;
    assert_eq!(
        (arrived.status, arrived.json()["sha256"].as_str()),
        (200, Some(sample.sha256().as_str()))
    );
    assert_eq!(agent.complete(upload_id, sample).await.status, 200);
}

async fn stored_whole(bucket: &Bucket, sample: &Sample) {
    let stem = format!("backups/{}", sample.stem());
    bucket
        .comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
    assert!(bucket.get(&format!("{stem}.tar")).await == sample.tar);
}

pub(crate) fn journals(agent: &Agent) -> Vec<PathBuf> {
    let folder = agent.setup.path("state/uploads");
    fs::read_dir(folder).map_or_else(
        |_| Vec::new(),
        |files| files.map(|file| file.unwrap().path()).collect(),
    )
}

/// What an agent that has ended noted is more than a day old.
pub(crate) fn a_day_passes(agent: &Agent) {
    ages(&agent.setup.path("state/uploads"));
}

/// The files in a folder come to be 25 hours old.
pub(crate) fn ages(folder: &Path) {
    let yesterday = SystemTime::now() - Duration::from_hours(25);
    for file in fs::read_dir(folder).into_iter().flatten() {
        File::options()
            .write(true)
            .open(file.unwrap().path())
            .unwrap()
            .set_modified(yesterday)
            .unwrap();
    }
}

#[tokio::test]
async fn an_upload_goes_on_where_a_killed_agent_stopped() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Killed", 20 * MIB);
    let stored = killed_in_the_middle(&mut agent, &sample).await;
    let sent_before = proxy.part_bytes();
    let agent = Agent::restarted(agent).await;
    assert!(agent.listed("garage").await.is_empty());
    let created = agent.create("garage", &sample).await.json();
    assert!(
        created["stored_bytes"].as_u64() >= Some(stored),
        "{created} {stored}"
    );
    complete(&agent, &sample, created["upload_id"].as_str().unwrap()).await;
    let sent_again = sent_before + proxy.part_bytes() - 20 * MIB;
    // Only parts that were on their way when it was killed.
    assert!(
        sent_again <= 20 * MIB - stored,
        "{sent_again} bytes travelled twice, {stored} were stored"
    );
    stored_whole(&bucket, &sample).await;
    assert_eq!(journals(&agent), Vec::<PathBuf>::new());
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn upload_of_version_0_1_resumes() {
    for has_size in [true, false] {
        let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
        let sample = Sample::new("a1", "Upgraded", 20 * MIB);
        let stored = killed_in_the_middle(&mut agent, &sample).await;
        let place = format!("bucket \"{}\" at {}/", bucket.name, proxy.endpoint());
        let journal = journals(&agent).pop().unwrap();
        let text = as_of_0_1(
            &fs::read_to_string(&journal).unwrap(),
            &place,
            has_size,
            &sample,
        );
        fs::write(&journal, text).unwrap();
        let sent_before = proxy.part_bytes();
        let agent = Agent::restarted(agent).await;
        let created = agent.create("garage", &sample).await.json();
        assert!(
            created["stored_bytes"].as_u64() >= Some(stored),
            "{created} {stored}"
        );
        complete(&agent, &sample, created["upload_id"].as_str().unwrap()).await;
        let sent_again = sent_before + proxy.part_bytes() - 20 * MIB;
        assert!(
            sent_again <= 20 * MIB - stored,
            "{sent_again} bytes travelled twice, {stored} were stored"
        );
        stored_whole(&bucket, &sample).await;
        assert_eq!(journals(&agent), Vec::<PathBuf>::new());
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
async fn another_stream_of_the_same_backup_replaces_what_differs() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let first = Sample::new("a1", "Encrypted anew", 20 * MIB);
    killed_in_the_middle(&mut agent, &first).await;
    let agent = Agent::restarted(agent).await;
    // The same but for one byte in the second part.
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
        .filter(|line| line.contains("another stream than before"))
        .count();
    assert_eq!(said, 1, "{}", agent.printed());
    let sent = proxy.part_bytes() - before;
    assert!((10 * MIB..20 * MIB).contains(&sent), "{sent}");
    stored_whole(&bucket, &second).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == second.tar);
}

#[tokio::test]
async fn an_upload_that_the_bucket_has_forgotten_starts_over() {
    let (mut agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Forgotten", 20 * MIB);
    killed_in_the_middle(&mut agent, &sample).await;
    bucket.abort_unfinished().await;
    let agent = Agent::restarted(agent).await;
    let created = agent.create("garage", &sample).await.json();
    assert_eq!(created["stored_bytes"], 0);
    complete(&agent, &sample, created["upload_id"].as_str().unwrap()).await;
    stored_whole(&bucket, &sample).await;
    assert_eq!(journals(&agent), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_resumed_upload_that_is_cancelled_leaves_nothing() {
    let (mut agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Cancelled", 20 * MIB);
    killed_in_the_middle(&mut agent, &sample).await;
    let agent = Agent::restarted(agent).await;
    assert_eq!(
        bucket.unfinished().await.len(),
        1,
        "the test would prove nothing"
    );
    let upload_id = agent.begin("garage", &sample).await;
    assert_eq!(agent.cancel(&upload_id).await.status, 204);
    bucket.comes_to_be_empty().await;
    eventually("the journal is gone", async || journals(&agent).is_empty()).await;
}

#[tokio::test]
async fn a_tar_whose_metadata_was_never_written_is_taken_for_its_own() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    for sample in [Sample::small("a1"), Sample::new("b2", "Large", 12 * MIB)] {
        let upload_id = agent.begin("garage", &sample).await;
        assert_eq!(
            agent.content(&upload_id, sample.tar.clone()).await.status,
            200
        );
        let _gate = proxy.hold(|request| request.writes(".metadata.json"));
        let (client, id, copy) = (agent.client.clone(), upload_id.clone(), sample.clone());
        let completing = tokio::spawn(async move { client.complete(&id, &copy).await });
        eventually("the metadata is about to be written", async || {
            proxy.faults_left() == 0
        })
        .await;
        agent.kill();
        completing.abort();
        let before = bucket.keys().await;
        assert!(
            before.contains(&format!("backups/{}.tar", sample.stem())),
            "the test would prove nothing: {before:?}"
        );
        agent = Agent::restarted(agent).await;
        agent.upload("garage", &sample).await;
        assert_eq!(
            bucket.keys().await.len(),
            before.len() + 1,
            "the tar is not there under two names"
        );
        assert!(agent.download("garage", sample.id()).await.unwrap().body == sample.tar);
        assert_eq!(journals(&agent), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn what_nobody_went_on_with_for_a_day_is_removed() {
    let (mut agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Left", 20 * MIB);
    killed_in_the_middle(&mut agent, &sample).await;
    let mut agent = Agent::restarted(agent).await;
    assert_eq!(agent.location("garage").await["id"], "garage");
    assert_eq!(
        (bucket.unfinished().await.len(), journals(&agent).len()),
        (1, 1),
        "removed too early"
    );
    agent.kill();
    a_day_passes(&agent);
    let agent = Agent::restarted(agent).await;
    bucket.comes_to_be_empty().await;
    eventually("the journal is gone", async || journals(&agent).is_empty()).await;
}

#[tokio::test]
async fn without_a_place_for_its_journal_an_upload_succeeds_all_the_same() {
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
async fn a_disk_that_is_full_or_cannot_be_written_costs_the_resume_and_nothing_else() {
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
        // The disk is full when half of the first one has come, and from the start of the second one.
        for (id, name) in [("a1", "One"), ("b2", "Two")] {
            let sample = Sample::new(id, name, 20 * MIB);
            let mut events = agent.events().await;
            let upload_id = agent.begin("garage", &sample).await;
            let mut sending = agent.sending(&upload_id);
            sending.send(&sample.tar.slice(..13 << 20)).await;
            events
                .until(|event| event["stored_bytes"].as_u64() >= Some(10 * MIB))
                .await;
            if is_full && id == "a1" {
                fill_up(&agent);
            }
            sending.send(&sample.tar.slice(13 << 20..)).await;
            assert_eq!(sending.ended().await.unwrap().status, 200);
            assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
            assert!(agent.download("garage", id).await.unwrap().body == sample.tar);
            if is_full {
                // What was begun before the disk was full is gone all the same.
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
            .filter(|line| line.contains("uploads go on"))
            .count();
        assert_eq!(warnings, 1, "{}", agent.printed());
        assert_eq!(bucket.unfinished().await, Vec::<String>::new());
        what_verifying_finds_is_known_all_the_same(&agent, &bucket).await;
    }
}

/// Whether or not it can be written down, and beside a command that verifies as well.
async fn what_verifying_finds_is_known_all_the_same(agent: &Agent, bucket: &Bucket) {
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

/// Leaves no room on the disk, and none in the last page of the one journal, which spaces do not harm.
fn fill_up(agent: &Agent) {
    let journals: Vec<_> = fs::read_dir(agent.inside("state/uploads"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(journals.len(), 1, "the test would prove nothing");
    let size = usize::try_from(fs::metadata(&journals[0]).unwrap().len()).unwrap();
    let mut journal = File::options().append(true).open(&journals[0]).unwrap();
    journal.write_all(&vec![b' '; 4090 - size]).unwrap();
    fs::write(agent.inside("state/filler"), vec![0; 2 << 20]).unwrap_err();
}
