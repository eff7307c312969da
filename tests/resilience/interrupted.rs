//! Uploads that stop in the middle: what was stored waits for a day, for the same backup to come again. What is wrong, or
//! cancelled by somebody, is removed at once.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream;
use s3_backup_agent::error::Kind;
use s3_backup_agent::{agent, config};
use serde_json::{Value, json};

use crate::lab::call::Sending;
use crate::lab::{
    Agent, Bucket, Fault, Imitation, Location, MIB, Proxy, Sample, Server, Setup,
    agent_behind_proxy, eventually, garage, goes_by,
};

fn journals(agent: &Agent) -> Vec<PathBuf> {
    let folder = agent.setup.path("state/uploads");
    fs::read_dir(folder).map_or_else(
        |_| Vec::new(),
        |files| files.map(|file| file.unwrap().path()).collect(),
    )
}

/// Sends the first 13 MiB, and gives what is stored when that is two parts of 5 MiB at least.
async fn half_sent(agent: &Agent, location: &str, sample: &Sample) -> (String, Sending, u64) {
    let mut events = agent.events().await;
    let upload_id = agent.begin(location, sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..13 << 20)).await;
    let is_enough = |event: &Value| {
        event["upload_id"] == upload_id && event["stored_bytes"].as_u64() >= Some(10 * MIB)
    };
    let stored = events.until(is_enough).await.pop().unwrap()["stored_bytes"]
        .as_u64()
        .unwrap();
    (upload_id, sending, stored)
}

/// Waits until the upload of a sender that left is in nobody's hands.
async fn interrupted(agent: &Agent) {
    eventually("the upload is over", async || {
        agent.get("/v1/uploads").await.json()["uploads"] == json!([])
    })
    .await;
}

/// Sends all of it, and looks at what is in the bucket then.
async fn sent_again(agent: &Agent, location: &str, bucket: &Bucket, sample: &Sample) -> u64 {
    let created = agent.create(location, sample).await.json();
    let upload_id = created["upload_id"].as_str().unwrap();
    assert_eq!(
        agent.content(upload_id, sample.tar.clone()).await.status,
        200
    );
    assert_eq!(agent.complete(upload_id, sample).await.status, 200);
    let stem = format!("backups/{}", sample.stem());
    bucket
        .comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
    assert!(
        bucket.get(&format!("{stem}.tar")).await == sample.tar,
        "the tar in the bucket is another one"
    );
    assert_eq!(journals(agent), Vec::<PathBuf>::new());
    created["stored_bytes"].as_u64().unwrap()
}

#[tokio::test]
async fn told_to_stop_it_leaves_what_is_stored_for_the_next_time() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Stopped", 20 * MIB);
    let (upload_id, mut sending, stored) = half_sent(&agent, "garage", &sample).await;
    let mut events = agent.events().await;
    agent.signal("TERM");
    // The sender goes on to its end, as Home Assistant does that knows nothing of it.
    sending.send(&sample.tar.slice(13 << 20..)).await;
    sending
        .ended()
        .await
        .expect("its sender is told")
        .is_problem(503, "shutting_down", &["stopping"]);
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(event);
    }
    assert!(
        !told
            .iter()
            .any(|event| event["upload_id"] == upload_id && event["state"] == "cancelled"),
        "{told:#?}"
    );
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
    assert_eq!(
        (bucket.unfinished().await.len(), journals(&agent).len()),
        (1, 1)
    );
    assert_eq!(bucket.keys().await, Vec::<String>::new());

    let agent = Agent::restarted(agent).await;
    let before = proxy.part_bytes();
    let resumed = sent_again(&agent, "garage", &bucket, &sample).await;
    assert!(resumed >= stored, "{resumed} {stored}");
    assert_eq!(
        proxy.part_bytes() - before,
        20 * MIB - resumed,
        "only the missing parts travel"
    );
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn told_to_stop_it_does_not_wait_for_a_sender_that_stalls() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Stalled", 20 * MIB);
    let (_, sending, _) = half_sent(&agent, "garage", &sample).await;
    let start = std::time::Instant::now();
    agent.signal("TERM");
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
    // A container is killed after ten.
    assert!(
        start.elapsed() < std::time::Duration::from_secs(9),
        "{:?}",
        start.elapsed()
    );
    if let Ok(answer) = sending.ended().await {
        answer.is_problem(503, "shutting_down", &[]);
    }
    assert_eq!(
        (bucket.unfinished().await.len(), journals(&agent).len()),
        (1, 1)
    );
    let agent = Agent::restarted(agent).await;
    let before = proxy.part_bytes();
    let resumed = sent_again(&agent, "garage", &bucket, &sample).await;
    assert_eq!(
        (resumed >= 10 * MIB, proxy.part_bytes() - before),
        (true, 20 * MIB - resumed)
    );
}

#[tokio::test]
async fn a_tar_that_waits_to_be_confirmed_survives_the_agents_end() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Unconfirmed", 20 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    agent.signal("TERM");
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
    let agent = Agent::restarted(agent).await;
    let before = proxy.part_bytes();
    assert_eq!(
        sent_again(&agent, "garage", &bucket, &sample).await,
        20 * MIB
    );
    assert_eq!(proxy.part_bytes(), before);
}

async fn a_sender_that_leaves_goes_on_where_it_was(server: Server) {
    let bucket = server.bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..server.location(&bucket)
    };
    let agent = Setup::of(location).serve().await;
    let sample = Sample::new("a1", "Left", 20 * MIB);
    let (_, sending, stored) = half_sent(&agent, "home", &sample).await;
    let mut events = agent.events().await;
    sending.gone().await;
    let failed = events.upload("failed").await;
    assert_eq!(failed["error"]["code"], "invalid_request", "{failed}");
    interrupted(&agent).await;
    assert_eq!(
        (bucket.unfinished().await.len(), journals(&agent).len()),
        (1, 1)
    );
    assert!(agent.listed("home").await.is_empty());
    // It leaves once more, before it has sent a whole part.
    let mut sending = agent.sending(&agent.begin("home", &sample).await);
    sending.send(&sample.tar.slice(..1 << 20)).await;
    events.upload("receiving").await;
    sending.gone().await;
    interrupted(&agent).await;
    let before = proxy.part_bytes();
    let resumed = sent_again(&agent, "home", &bucket, &sample).await;
    assert!(resumed >= stored, "{resumed} {stored}");
    assert_eq!(proxy.part_bytes() - before, 20 * MIB - resumed);
}

#[tokio::test]
async fn a_sender_that_leaves_goes_on_where_it_was_on_garage() {
    a_sender_that_leaves_goes_on_where_it_was(Server::Garage).await;
}

#[tokio::test]
async fn a_sender_that_leaves_goes_on_where_it_was_on_swift() {
    a_sender_that_leaves_goes_on_where_it_was(Server::Swift).await;
}

/// A connection may be dead for its sender long before the agent hears of it.
#[tokio::test]
async fn a_sender_that_comes_again_before_its_end_was_noticed_takes_over() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Twice", 20 * MIB);
    let (_, sending, stored) = half_sent(&agent, "garage", &sample).await;
    let before = proxy.part_bytes();
    let resumed = sent_again(&agent, "garage", &bucket, &sample).await;
    assert!(resumed >= stored, "{resumed} {stored}");
    assert!(proxy.part_bytes() - before <= 20 * MIB - stored);
    if let Ok(answer) = sending.ended().await {
        answer.is_problem(409, "cancelled", &[]);
    }
}

#[tokio::test]
async fn a_tar_of_another_size_does_not_go_on_with_it() {
    let (agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Other size", 20 * MIB);
    half_sent(&agent, "garage", &sample).await.1.gone().await;
    interrupted(&agent).await;
    let other = Sample::new("a1", "Other size", 21 * MIB);
    assert_eq!(sent_again(&agent, "garage", &bucket, &other).await, 0);
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
    half_sent(&agent, "garage", &sample).await.1.gone().await;
    interrupted(&agent).await;
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
        bucket.unfinished().await.is_empty() && journals(&agent).is_empty()
    })
    .await;
    assert!(agent.download("garage", "a1").await.unwrap().body == other.tar);
}

#[tokio::test]
async fn what_is_wrong_is_removed_at_once() {
    let (agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Wrong", 20 * MIB);
    let is_gone = async || {
        bucket.comes_to_be_empty().await;
        eventually("the journal is gone", async || journals(&agent).is_empty()).await;
    };
    for is_resumed in [false, true] {
        if is_resumed {
            half_sent(&agent, "garage", &sample).await.1.gone().await;
            interrupted(&agent).await;
            assert_eq!(
                bucket.unfinished().await.len(),
                1,
                "the test would prove nothing"
            );
        }
        // A sender that ends too early, as a cipher that failed does.
        let upload_id = agent.begin("garage", &sample).await;
        let short = agent
            .content(&upload_id, sample.tar.slice(..12 << 20))
            .await;
        short.is_problem(409, "size_mismatch", &["Nothing was kept"]);
        is_gone().await;
        let upload_id = agent.begin("garage", &sample).await;
        assert_eq!(
            agent.content(&upload_id, sample.tar.clone()).await.status,
            200
        );
        let other = Sample::new("a1", "Another", 20 * MIB);
        agent.complete(&upload_id, &other).await.is_problem(
            409,
            "checksum_mismatch",
            &["Nothing was kept"],
        );
        is_gone().await;
    }
    half_sent(&agent, "garage", &sample).await.1.gone().await;
    interrupted(&agent).await;
    let upload_id = agent.begin("garage", &sample).await;
    agent
        .content(&upload_id, "")
        .await
        .is_problem(409, "size_mismatch", &[]);
    is_gone().await;
}

#[tokio::test]
async fn what_somebody_cancels_is_removed_at_once() {
    let (agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Cancelled", 20 * MIB);
    let (upload_id, sending, _) = half_sent(&agent, "garage", &sample).await;
    assert_eq!(agent.cancel(&upload_id).await.status, 204);
    sending.gone().await;
    bucket.comes_to_be_empty().await;
    eventually("the journal is gone", async || journals(&agent).is_empty()).await;
}

/// Without a journal nobody would know of it later.
#[tokio::test]
async fn what_cannot_be_noted_is_removed_when_its_sender_leaves() {
    let bucket = garage::shared().bucket().await;
    let setup = Setup::of(Location::of(&bucket));
    fs::create_dir_all(setup.path("state")).unwrap();
    fs::write(setup.path("state/uploads"), "a file in the folder's place").unwrap();
    let agent = setup.serve().await;
    let sample = Sample::new("a1", "Unnoted", 20 * MIB);
    half_sent(&agent, "garage", &sample).await.1.gone().await;
    bucket.comes_to_be_empty().await;
}

#[tokio::test]
async fn a_directory_keeps_nothing_of_it() {
    let agent = Setup::with([]).serve().await;
    let sample = Sample::new("a1", "Local", 40 * MIB);
    let mut events = agent.events().await;
    let mut sending = agent.sending(&agent.begin("local", &sample).await);
    sending.send(&sample.tar.slice(..30 << 20)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() > Some(0))
        .await;
    let folder = agent.setup.path("state/local/backups");
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        1,
        "the test would prove nothing"
    );
    sending.gone().await;
    eventually("the directory is empty", async || {
        fs::read_dir(&folder).unwrap().count() == 0
    })
    .await;
}

#[tokio::test]
async fn a_location_that_is_forgotten_takes_what_was_left_with_it() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::with([]).keeping_secret(&bucket.secret).serve().await;
    let settings = Location::of(&bucket).json();
    let register = async || {
        assert_eq!(
            agent
                .put("/v1/locations/garage", settings.to_string())
                .await
                .status,
            200
        );
    };
    register().await;
    let sample = Sample::new("a1", "Forgotten", 20 * MIB);
    half_sent(&agent, "garage", &sample).await.1.gone().await;
    interrupted(&agent).await;
    // Said again, as Home Assistant does whenever it connects.
    register().await;
    assert_eq!(
        (bucket.unfinished().await.len(), journals(&agent).len()),
        (1, 1)
    );
    assert_eq!(agent.delete("/v1/locations/garage").await.status, 204);
    bucket.comes_to_be_empty().await;
    eventually("the journal is gone", async || journals(&agent).is_empty()).await;
}

#[tokio::test]
async fn a_location_that_moves_leaves_nothing_behind() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::with([]).keeping_secret(&bucket.secret).serve().await;
    let mut settings = Location::of(&bucket).json();
    assert_eq!(
        agent
            .put("/v1/locations/garage", settings.to_string())
            .await
            .status,
        200
    );
    let sample = Sample::new("a1", "Moved", 20 * MIB);
    half_sent(&agent, "garage", &sample).await.1.gone().await;
    interrupted(&agent).await;
    assert_eq!(
        (bucket.unfinished().await.len(), journals(&agent).len()),
        (1, 1)
    );
    settings["prefix"] = json!("elsewhere");
    assert_eq!(
        agent
            .put("/v1/locations/garage", settings.to_string())
            .await
            .status,
        200
    );
    bucket.comes_to_be_empty().await;
    eventually("the journal is gone", async || journals(&agent).is_empty()).await;
}

/// What is stored already is not encrypted by the parts that come.
#[tokio::test]
async fn what_is_to_be_kept_in_another_way_starts_over() {
    let server = Imitation::with([]).await;
    let bucket = server.bucket();
    let agent = Setup::with([]).keeping_secret(&server.secret).serve().await;
    let mut settings = Location::of(&bucket).json();
    assert_eq!(
        agent
            .put("/v1/locations/garage", settings.to_string())
            .await
            .status,
        200
    );
    let sample = Sample::new("a1", "Kept", 20 * MIB);
    half_sent(&agent, "garage", &sample).await.1.gone().await;
    interrupted(&agent).await;
    settings["storage_class"] = json!("STANDARD_IA");
    assert_eq!(
        agent
            .put("/v1/locations/garage", settings.to_string())
            .await
            .status,
        200
    );
    assert_eq!(sent_again(&agent, "garage", &bucket, &sample).await, 0);
    assert_eq!(bucket.unfinished().await.len(), 0);
}

#[tokio::test]
async fn what_is_interrupted_after_its_location_moved_is_not_waited_for() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::with([]).keeping_secret(&bucket.secret).serve().await;
    let mut settings = Location::of(&bucket).json();
    assert_eq!(
        agent
            .put("/v1/locations/garage", settings.to_string())
            .await
            .status,
        200
    );
    let sample = Sample::new("a1", "Moved", 20 * MIB);
    let (_, sending, _) = half_sent(&agent, "garage", &sample).await;
    settings["prefix"] = json!("elsewhere");
    assert_eq!(
        agent
            .put("/v1/locations/garage", settings.to_string())
            .await
            .status,
        200
    );
    assert_eq!(bucket.unfinished().await.len(), 1, "it goes on");
    sending.gone().await;
    bucket.comes_to_be_empty().await;
    eventually("the journal is gone", async || journals(&agent).is_empty()).await;
}

#[tokio::test]
async fn a_command_that_is_interrupted_leaves_nothing() {
    let bucket = garage::shared().bucket().await;
    let setup = Setup::of(Location::of(&bucket).with("upload_limit", "4 MiB"));
    let file = setup.path("in.tar");
    fs::write(&file, Sample::new("a1", "Interrupted", 60 * MIB).tar).unwrap();
    let mut command = setup.command();
    let mut process = command
        .args(["upload", "garage", file.to_str().unwrap()])
        .spawn()
        .unwrap();
    eventually("the upload has begun", async || {
        !bucket.unfinished().await.is_empty()
    })
    .await;
    let interrupt = format!("kill -INT {}", process.id());
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &interrupt])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(process.wait().unwrap().code(), Some(1));
    bucket.comes_to_be_empty().await;
    // It may have been told before it had anything to note.
    assert_eq!(
        fs::read_dir(setup.path("state/uploads")).map_or(0, Iterator::count),
        0
    );
}

#[tokio::test]
async fn what_nobody_goes_on_with_ends_ten_minutes_after_the_last_thing_that_happened() {
    let (server, state) = (Imitation::with([]).await, tempfile::tempdir().unwrap());
    let (location, _) = config::Location::from_json(&server.location().json()).unwrap();
    let agent = agent::Agent::new(vec![location], state.path()).unwrap();
    let sample = Sample::new("a1", "Nightly", 20_480);
    for (before, after, is_in_time) in [(9, 9, true), (0, 11, false), (11, 0, false)] {
        let backup = serde_json::from_value(sample.metadata.clone()).unwrap();
        let upload = agent
            .create_upload("other", backup, &sample.filename())
            .await
            .unwrap();
        goes_by(Duration::from_mins(before)).await;
        let received = agent
            .receive(&upload.id, stream::iter([Ok(sample.tar.clone())]))
            .await;
        goes_by(Duration::from_mins(after)).await;
        let ended = agent
            .complete_upload(&upload.id, sample.size(), sample.crc32())
            .await;
        let kind = received
            .map(|_| ())
            .and(ended.map(|_| ()))
            .map_err(|error| error.kind());
        let expected = if is_in_time {
            Ok(())
        } else {
            Err(Kind::UploadNotFound)
        };
        assert_eq!(
            kind, expected,
            "{before} minutes until the content, {after} until the end"
        );
    }
}
