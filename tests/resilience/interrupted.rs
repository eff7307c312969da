//! Interrupted uploads: stored parts wait a day for the same backup. Invalid or cancelled uploads
//! are discarded immediately.

mod discarded;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream;
use s3_backup_agent::error::Kind;
use s3_backup_agent::{agent, config};
use serde_json::{Value, json};

use crate::lab::call::Sending;
use crate::lab::{
    Agent, Bucket, Imitation, Location, MIB, Proxy, Sample, Server, Setup, agent_behind_proxy,
    eventually, time_passes,
};

fn journals(agent: &Agent) -> Vec<PathBuf> {
    let folder = agent.setup.path("state/uploads");
    fs::read_dir(folder).map_or_else(
        |_| Vec::new(),
        |files| files.map(|file| file.unwrap().path()).collect(),
    )
}

/// Sends the first 13 MiB; returns the stored bytes once at least two parts of 5 MiB are stored.
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

/// Waits until the upload of a disconnected sender is suspended.
async fn interrupted(agent: &Agent) {
    eventually("the upload is over", async || {
        agent.get("/v1/uploads").await.json()["uploads"] == json!([])
    })
    .await;
}

/// Sends the complete backup and asserts the bucket's content.
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
        "the tar in the bucket differs"
    );
    assert_eq!(journals(agent), Vec::<PathBuf>::new());
    created["stored_bytes"].as_u64().unwrap()
}

#[tokio::test]
async fn shutdown_keeps_stored_parts_for_resume() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Stopped", 20 * MIB);
    let (upload_id, mut sending, stored) = half_sent(&agent, "garage", &sample).await;
    let mut events = agent.events().await;
    agent.signal("TERM");
    // The sender continues to the end, like Home Assistant, which does not notice.
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
        "only the missing parts are sent"
    );
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_stalled_sender() {
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
async fn unconfirmed_tar_survives_agent_shutdown() {
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
    // It disconnects again, before a full part.
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
async fn upload_resumes_after_client_disconnect_on_garage() {
    a_sender_that_leaves_goes_on_where_it_was(Server::Garage).await;
}

#[tokio::test]
async fn upload_resumes_after_client_disconnect_on_swift() {
    a_sender_that_leaves_goes_on_where_it_was(Server::Swift).await;
}

/// A connection may be dead for its sender long before the agent notices.
#[tokio::test]
async fn returning_sender_takes_over_before_the_disconnect_is_noticed() {
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
async fn tar_of_another_size_does_not_resume() {
    let (agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Other size", 20 * MIB);
    half_sent(&agent, "garage", &sample).await.1.gone().await;
    interrupted(&agent).await;
    let other = Sample::new("a1", "Other size", 21 * MIB);
    assert_eq!(sent_again(&agent, "garage", &bucket, &other).await, 0);
}

/// Newly sent parts cannot change the encryption of stored ones.
#[tokio::test]
async fn changed_storage_options_restart_the_upload() {
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
async fn idle_upload_expires_after_ten_minutes() {
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
        time_passes(Duration::from_mins(before)).await;
        let received = agent
            .receive(&upload.id, stream::iter([Ok(sample.tar.clone())]))
            .await;
        time_passes(Duration::from_mins(after)).await;
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
