//! Interrupted uploads that cannot be resumed.

use std::fs;

use serde_json::json;

use crate::lab::{HalfSent, Location, MIB, Sample, Setup, agent_behind_proxy, eventually, garage};

#[tokio::test]
async fn invalid_upload_is_discarded_immediately() {
    let (agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Wrong", 20 * MIB);
    let is_gone = async || {
        bucket.wait_until_empty().await;
        agent.wait_until_no_journal().await;
    };
    for is_resumed in [false, true] {
        if is_resumed {
            agent.disconnected_half_way("garage", &sample).await;
            assert_eq!(
                bucket.unfinished().await.len(),
                1,
                "test precondition not met"
            );
        }
        // A sender that ends too early, as after a failed cipher.
        let upload_id = agent.begin("garage", &sample).await;
        let short = agent
            .content(&upload_id, sample.tar.slice(..12 << 20))
            .await;
        short.is_problem(409, "size_mismatch", &["The agent discarded the backup"]);
        is_gone().await;
        let upload_id = agent.received("garage", &sample).await;
        let other = Sample::new("a1", "Another", 20 * MIB);
        agent.complete(&upload_id, &other).await.is_problem(
            409,
            "checksum_mismatch",
            &["The agent discarded the backup"],
        );
        is_gone().await;
    }
    agent.disconnected_half_way("garage", &sample).await;
    let upload_id = agent.begin("garage", &sample).await;
    agent
        .content(&upload_id, "")
        .await
        .is_problem(409, "size_mismatch", &[]);
    is_gone().await;
}

#[tokio::test]
async fn cancelled_upload_is_discarded_immediately() {
    let (agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Cancelled", 20 * MIB);
    let HalfSent {
        upload_id, sending, ..
    } = agent.half_sent("garage", &sample, 10 * MIB).await;
    assert_eq!(agent.cancel(&upload_id).await.status, 204);
    sending.gone().await;
    bucket.wait_until_empty().await;
    agent.wait_until_no_journal().await;
}

/// Without a journal, a later run could neither resume nor sweep it.
#[tokio::test]
async fn unjournaled_upload_is_discarded_on_disconnect() {
    let bucket = garage::shared().bucket().await;
    let setup = Setup::of(Location::of(&bucket));
    fs::create_dir_all(setup.path("state")).unwrap();
    fs::write(setup.path("state/uploads"), "a file in the folder's place").unwrap();
    let agent = setup.serve().await;
    let sample = Sample::new("a1", "Unnoted", 20 * MIB);
    agent
        .half_sent("garage", &sample, 10 * MIB)
        .await
        .sending
        .gone()
        .await;
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn directory_keeps_nothing_of_an_interrupted_upload() {
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
        "test precondition not met"
    );
    sending.gone().await;
    eventually("the directory is empty", async || {
        fs::read_dir(&folder).unwrap().count() == 0
    })
    .await;
}

#[tokio::test]
async fn removed_location_discards_interrupted_uploads() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::with([]).keeping_secret(&bucket.secret).serve().await;
    let settings = Location::of(&bucket).json();
    let register = async || {
        agent.register("garage", &settings).await;
    };
    register().await;
    let sample = Sample::new("a1", "Forgotten", 20 * MIB);
    agent.disconnected_half_way("garage", &sample).await;
    // Registered again, as Home Assistant does on every connection.
    register().await;
    assert_eq!(
        (bucket.unfinished().await.len(), agent.journals().len()),
        (1, 1)
    );
    assert_eq!(agent.delete("/v1/locations/garage").await.status, 204);
    bucket.wait_until_empty().await;
    agent.wait_until_no_journal().await;
}

#[tokio::test]
async fn moved_location_leaves_nothing_behind() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::with([]).keeping_secret(&bucket.secret).serve().await;
    let mut settings = Location::of(&bucket).json();
    agent.register("garage", &settings).await;
    let sample = Sample::new("a1", "Moved", 20 * MIB);
    agent.disconnected_half_way("garage", &sample).await;
    assert_eq!(
        (bucket.unfinished().await.len(), agent.journals().len()),
        (1, 1)
    );
    settings["prefix"] = json!("elsewhere");
    agent.register("garage", &settings).await;
    bucket.wait_until_empty().await;
    agent.wait_until_no_journal().await;
}

#[tokio::test]
async fn interrupted_upload_of_a_moved_location_is_discarded() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::with([]).keeping_secret(&bucket.secret).serve().await;
    let mut settings = Location::of(&bucket).json();
    agent.register("garage", &settings).await;
    let sample = Sample::new("a1", "Moved", 20 * MIB);
    let HalfSent { sending, .. } = agent.half_sent("garage", &sample, 10 * MIB).await;
    settings["prefix"] = json!("elsewhere");
    agent.register("garage", &settings).await;
    assert_eq!(bucket.unfinished().await.len(), 1, "it resumes");
    sending.gone().await;
    bucket.wait_until_empty().await;
    agent.wait_until_no_journal().await;
}

#[tokio::test]
async fn interrupted_command_leaves_nothing() {
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
    bucket.wait_until_empty().await;
    // The event may precede the journal.
    assert_eq!(
        fs::read_dir(setup.path("state/uploads")).map_or(0, Iterator::count),
        0
    );
}
