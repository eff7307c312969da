//! Interrupted uploads: stored parts wait a day for the same backup. Invalid or cancelled uploads
//! are discarded immediately.

mod discarded;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use s3_backup_agent::error::Kind;
use s3_backup_agent::store::{ContentType, Key, Outcome, Patience, Store};
use s3_backup_agent::{agent, config};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::lab::{
    Agent, Bucket, Fault, HalfSent, Imitation, Location, MIB, Proxy, Sample, Server, Setup,
    agent_behind_proxy, garage, home_behind_proxy, time_passes,
};

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
    bucket.wait_until_only(&stem, sample).await;
    assert_eq!(agent.journals(), Vec::<PathBuf>::new());
    created["stored_bytes"].as_u64().unwrap()
}

#[tokio::test]
async fn shutdown_keeps_stored_parts_for_resume() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Stopped", 20 * MIB);
    let HalfSent {
        upload_id,
        mut sending,
        rest,
        stored,
        ..
    } = agent.half_sent("garage", &sample, 10 * MIB).await;
    let mut events = agent.events().await;
    agent.signal("TERM");
    // The sender continues to the end, like Home Assistant, which does not notice.
    sending.send(&rest).await;
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
        (bucket.unfinished().await.len(), agent.journals().len()),
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
    let HalfSent { sending, .. } = agent.half_sent("garage", &sample, 10 * MIB).await;
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
        (bucket.unfinished().await.len(), agent.journals().len()),
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
    agent.received("garage", &sample).await;
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

async fn upload_resumes_after_disconnect(server: Server) {
    let (agent, proxy, bucket) = home_behind_proxy(server).await;
    let sample = Sample::new("a1", "Left", 20 * MIB);
    let HalfSent {
        sending, stored, ..
    } = agent.half_sent("home", &sample, 10 * MIB).await;
    let mut events = agent.events().await;
    sending.gone().await;
    let failed = events.upload("failed").await;
    assert_eq!(failed["error"]["code"], "invalid_request", "{failed}");
    agent.suspended().await;
    assert_eq!(
        (bucket.unfinished().await.len(), agent.journals().len()),
        (1, 1)
    );
    assert!(agent.listed("home").await.is_empty());
    // It disconnects again, before a full part.
    let mut sending = agent.sending(&agent.begin("home", &sample).await);
    sending.send(&sample.tar.slice(..1 << 20)).await;
    events.upload("receiving").await;
    sending.gone().await;
    agent.suspended().await;
    let before = proxy.part_bytes();
    let resumed = sent_again(&agent, "home", &bucket, &sample).await;
    assert!(resumed >= stored, "{resumed} {stored}");
    assert_eq!(proxy.part_bytes() - before, 20 * MIB - resumed);
}

#[tokio::test]
async fn upload_resumes_after_client_disconnect_on_garage() {
    upload_resumes_after_disconnect(Server::Garage).await;
}

#[tokio::test]
async fn upload_resumes_after_client_disconnect_on_swift() {
    upload_resumes_after_disconnect(Server::Swift).await;
}

/// A connection may be dead for its sender long before the agent notices.
#[tokio::test]
async fn returning_sender_takes_over_before_the_disconnect_is_noticed() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Twice", 20 * MIB);
    let HalfSent {
        sending, stored, ..
    } = agent.half_sent("garage", &sample, 10 * MIB).await;
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
    agent.disconnected_half_way("garage", &sample).await;
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
    // The imitation refuses a wrong CRC-64/NVME, and stores the object.
    settings["checksum"] = json!("sha256");
    agent.register("garage", &settings).await;
    let sample = Sample::new("a1", "Kept", 20 * MIB);
    agent.disconnected_half_way("garage", &sample).await;
    settings["storage_class"] = json!("STANDARD_IA");
    agent.register("garage", &settings).await;
    assert_eq!(sent_again(&agent, "garage", &bucket, &sample).await, 0);
    assert_eq!(bucket.unfinished().await.len(), 0);
}

#[tokio::test]
async fn idle_upload_expires_after_ten_minutes() {
    let (server, state) = (Imitation::with([]).await, tempfile::tempdir().unwrap());
    let (location, _) = config::Location::from_json(&server.location().json()).unwrap();
    let agent = agent::Agent::new(vec![location], state.path());
    let sample = Sample::new("a1", "Nightly", 20_480);
    for (before, after, is_in_time) in [(9, 9, true), (0, 11, false), (11, 0, false)] {
        let backup = serde_json::from_value(sample.metadata.clone()).unwrap();
        let upload = agent
            .create_upload(
                "other",
                backup,
                &sample.filename(),
                agent::upload::Uploader::HomeAssistant,
            )
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

/// The second attempt, in the region that the first refusal names, is done, and its answer lost.
#[tokio::test]
async fn lost_answer_in_another_dialect_may_be_a_success() {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        provider: "other".into(),
        region: String::new(),
        ..Location::of(&bucket)
    };
    let location = location.with("idle_seconds", "1");
    let (location, _) = config::Location::from_json(&location.json()).unwrap();
    let store = Store::open(&location);
    for permits in [1, 0] {
        let held = Fault::HoldAnswer(Arc::new(Semaphore::new(permits)));
        proxy.fault(|request| request.writes("/a.txt"), held);
    }
    let (key, text) = (Key::new("a.txt"), Bytes::from_static(b"text"));
    let written = store.write(&key, text, ContentType::Text, Patience::NONE);
    let error = written.await.unwrap_err();
    assert_eq!(proxy.faults_left(), 0, "test precondition not met");
    assert_eq!(error.outcome, Outcome::WrongRegion, "{error}");
    assert_eq!(bucket.get("a.txt").await, "text");
    assert!(error.may_have_succeeded);
}
