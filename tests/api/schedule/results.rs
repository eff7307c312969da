//! Results of scheduled and manual verification.

use std::time::Duration;

use s3_backup_agent::agent::model::VerifyMode;
use serde_json::{Value, json};

use super::{
    damage, holding, inside, restarted_after, settings, verification, verified, verified_again,
    verify_now, verifying,
};
use crate::lab::{Fault, Location, Sample, eventually, time_passes};

#[tokio::test]
async fn damage_is_reported_until_the_backup_is_gone() {
    let (agent, _proxy, bucket) = verifying(
        &[("verify_every", "7d"), ("verify_sample", "all")],
        &["good", "bad", "other"],
    )
    .await;
    assert_eq!(verified(&agent).await["damaged"], json!([]));
    damage(&bucket, "bad").await;
    let agent = restarted_after(agent, 8).await;
    let mut events = agent.events().await;
    events
        .until(|event| event["location"]["verification"]["damaged"] == json!(["bad"]))
        .await;
    eventually("the run ends", async || {
        verification(&agent).await["backups"] == 3
    })
    .await;
    let found = verification(&agent).await;
    assert_eq!(
        (&found["mode"], &found["error"]),
        (&json!("full"), &Value::Null),
        "{found}"
    );
    assert!(found["read_bytes"].as_u64() >= Some(3 * 40_960), "{found}");
    let metrics = agent.get("/metrics").await;
    let metrics = str::from_utf8(&metrics.body).unwrap();
    assert!(
        metrics.contains("s3_backup_agent_location_damaged_backups{location=\"garage\"} 1\n"),
        "{metrics}"
    );
    assert!(
        metrics
            .contains("s3_backup_agent_location_verified_timestamp_seconds{location=\"garage\"} "),
        "{metrics}"
    );
    assert!(
        agent.printed().contains("The SHA-256 of"),
        "the log names the backup"
    );

    // Reported after a restart too, without another read; cleared with the backup.
    let agent = restarted_after(agent, 1).await;
    assert_eq!(verification(&agent).await["damaged"], json!(["bad"]));
    assert_eq!(agent.delete_backup("garage", "bad").await.status, 204);
    assert_eq!(verification(&agent).await["damaged"], json!([]));
    agent
        .upload("garage", &Sample::new("bad", "bad", 40_960))
        .await;
    assert_eq!(agent.listed("garage").await, ["bad", "good", "other"]);
    assert_eq!(
        verification(&agent).await["damaged"],
        json!([]),
        "the location has changed"
    );
}

#[tokio::test]
async fn outage_is_reported_and_the_verification_stays_due() {
    let (agent, proxy, bucket) = verifying(&[("verify_every", "7d")], &["a1"]).await;
    verified(&agent).await;
    damage(&bucket, "a1").await;
    proxy.set_away(true);
    let agent = restarted_after(agent, 8).await;
    eventually("the error is reported", async || {
        !verification(&agent).await["error"].is_null()
    })
    .await;
    let failed = verification(&agent).await;
    assert_eq!(
        (&failed["error"]["code"], &failed["damaged"]),
        (&json!("storage_unreachable"), &json!([])),
        "{failed}"
    );
    proxy.set_away(false);
    let agent = restarted_after(agent, 8).await;
    eventually("the damage is found", async || {
        verification(&agent).await["damaged"] == json!(["a1"])
    })
    .await;
}

#[tokio::test]
async fn manual_verification_result_is_recorded() {
    let (agent, _proxy, bucket) = verifying(&[], &["a1"]).await;
    damage(&bucket, "a1").await;
    verify_now(&agent, "a1", "full").await;
    let found = verification(&agent).await;
    assert_eq!(
        (&found["damaged"], &found["next_at"]),
        (&json!(["a1"]), &Value::Null),
        "{found}"
    );
}

#[tokio::test]
async fn manual_result_during_a_verification_run_is_kept() {
    let (agent, proxy, bucket) =
        verifying(&[("verify_every", "7d"), ("verify_sample", "all")], &["a"]).await;
    verified(&agent).await;
    let gate = proxy.hold(|request| request.reads(".tar"));
    let agent = restarted_after(agent, 8).await;
    eventually("the first backup is being verified", async || {
        proxy.faults_left() == 0
    })
    .await;
    agent
        .upload("garage", &Sample::new("new", "new", 40_960))
        .await;
    damage(&bucket, "new").await;
    verify_now(&agent, "new", "full").await;
    assert_eq!(verification(&agent).await["damaged"], json!(["new"]));
    gate.add_permits(1);
    verified_again(&agent).await;
    assert_eq!(verification(&agent).await["damaged"], json!(["new"]));
}

#[tokio::test]
async fn verification_results_survive_unreadable_metadata() {
    const LOST: &str =
        "<Error><Code>InternalError</Code><Message>A block is lost.</Message></Error>";
    let every = [
        ("verify_every", "7d"),
        ("verify_sample", "all"),
        ("verify_mode", "quick"),
    ];
    let (agent, proxy, bucket) = verifying(&every, &["bad", "good"]).await;
    verified(&agent).await;
    damage(&bucket, "bad").await;
    verify_now(&agent, "bad", "full").await;
    assert_eq!(verification(&agent).await["damaged"], json!(["bad"]));
    let metadata = format!("{}.metadata.json", Sample::new("bad", "bad", 40_960).stem());
    for _ in 0..100 {
        let metadata = metadata.clone();
        proxy.fault(
            move |request| request.reads(&metadata),
            Fault::Answer("500 Internal Server Error", LOST),
        );
    }
    let agent = restarted_after(agent, 8).await;
    verified_again(&agent).await;
    assert_eq!(
        verification(&agent).await["backups"],
        1,
        "test precondition not met"
    );
    proxy.forget_faults();
    let agent = restarted_after(agent, 1).await;
    assert_eq!(agent.listed("garage").await, ["bad", "good"]);
    assert_eq!(verification(&agent).await["damaged"], json!(["bad"]));
}

#[tokio::test]
async fn tar_overwritten_after_listing_is_reported_damaged() {
    for mode in ["quick", "full"] {
        let (agent, _proxy, bucket) = verifying(&[], &["a1"]).await;
        assert_eq!(agent.listed("garage").await, ["a1"]);
        let sample = Sample::new("a1", "a1", 40_960);
        let key = format!("backups/{}.tar", sample.stem());
        bucket.put(&key, Sample::new("b2", "b2", 40_960).tar).await;
        verify_now(&agent, "a1", mode).await;
        assert_eq!(
            verification(&agent).await["damaged"],
            json!(["a1"]),
            "{mode}"
        );
        agent.refreshed("garage").await;
        assert_eq!(
            verification(&agent).await["damaged"],
            json!(["a1"]),
            "{mode}"
        );
        bucket.put(&key, sample.tar).await;
        agent.refreshed("garage").await;
        assert_eq!(
            verification(&agent).await,
            Value::Null,
            "{mode}: the tar was replaced"
        );
    }
}

#[tokio::test]
async fn failed_verification_run_is_reported_until_the_next_success() {
    for moves in [false, true] {
        let (location, proxy, _bucket) = holding(&[("verify_every", "7d")], &["a1"]).await;
        proxy.set_away(true);
        let state = tempfile::tempdir().unwrap();
        let agent = inside(&location, state.path());
        let shown = || agent.locations()[0].verification.clone().unwrap();
        eventually("the error is reported", async || shown().error.is_some()).await;
        proxy.set_away(false);
        if moves {
            let moved = Location {
                prefix: "elsewhere".into(),
                ..location
            };
            agent.put_location(settings(&moved)).await.unwrap();
            assert_eq!(shown().error, None, "the location has changed");
            agent.stop(Duration::from_secs(10)).await;
            continue;
        }
        let mut looking = agent
            .verify("garage", "a1", VerifyMode::Quick)
            .await
            .unwrap();
        while let Some(step) = looking.next().await {
            step.unwrap();
        }
        assert!(shown().error.is_some(), "the run has not completed");
        for settings in [
            settings(&location),
            settings(&location.clone().with("name", "In the cellar")),
        ] {
            agent.put_location(settings).await.unwrap();
            assert!(shown().error.is_some(), "the damage remains");
        }
        time_passes(Duration::from_mins(61)).await;
        eventually("the run ends", async || shown().verified_at.is_some()).await;
        assert_eq!(shown().error, None);
        agent.stop(Duration::from_secs(10)).await;
    }
}
