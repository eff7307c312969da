//! Backups that are verified by themselves, where somebody asks for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use s3_backup_agent::agent::model::VerifyMode;
use s3_backup_agent::{agent, config};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::lab::{
    Agent, Bucket, Fault, Location, Proxy, Request, Sample, Setup, eventually, garage, goes_by,
};

/// A location behind a proxy, with a bucket that holds these backups.
async fn holding(options: &[(&str, &str)], ids: &[&str]) -> (Location, Proxy, Bucket) {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let plain = Setup::of(Location::of(&bucket)).serve().await;
    for id in ids {
        plain.upload("garage", &Sample::new(id, id, 40_960)).await;
    }
    let location = Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    };
    (
        options
            .iter()
            .fold(location, |location, (key, value)| location.with(key, value)),
        proxy,
        bucket,
    )
}

/// An agent that verifies, and a bucket that holds these backups when it starts.
async fn verifying(options: &[(&str, &str)], ids: &[&str]) -> (Agent, Proxy, Bucket) {
    let (location, proxy, bucket) = holding(options, ids).await;
    (Setup::of(location).serve().await, proxy, bucket)
}

fn settings(location: &Location) -> config::Location {
    config::Location::from_json(&location.json()).unwrap().0
}

/// An agent in this process, with a location that Home Assistant registered before the first look at the schedules.
fn inside(location: &Location, state: &Path) -> Arc<agent::Agent> {
    let agent = agent::Agent::new(vec![settings(location)], state).unwrap();
    agent.keep_tidy();
    agent
}

async fn damage(bucket: &Bucket, id: &str) {
    let sample = Sample::new(id, id, 40_960);
    let mut tar = sample.tar.to_vec();
    tar[2000] ^= 1;
    bucket
        .put(&format!("backups/{}.tar", sample.stem()), tar)
        .await;
}

async fn verification(agent: &Agent) -> Value {
    agent.location("garage").await["verification"].clone()
}

async fn verified(agent: &Agent) -> Value {
    eventually("they are verified", async || {
        !verification(agent).await["verified_at"].is_null()
    })
    .await;
    verification(agent).await
}

/// Waits until the schedule comes to its end once more.
async fn verified_again(agent: &Agent) {
    let start = chrono::Utc::now().timestamp() - 1;
    eventually("it is verified again", async || {
        let at = verification(agent).await["verified_at"]
            .as_str()
            .unwrap()
            .to_owned();
        at.parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
            .timestamp()
            >= start
    })
    .await;
}

async fn look_at(agent: &Agent, id: &str, mode: &str) {
    let path = format!("/v1/locations/garage/backups/{id}/verify");
    assert_eq!(agent.post(&path, &json!({"mode": mode})).await.status, 200);
}

fn record(agent: &Agent) -> PathBuf {
    agent.setup.path("state/verified.json")
}

/// Restarts it with what it knows of its one location changed.
async fn restarted_with(mut agent: Agent, change: impl Fn(&mut Value)) -> Agent {
    agent.kill();
    let mut record: Value =
        serde_json::from_slice(&fs::read(self::record(&agent)).unwrap()).unwrap();
    record["folders"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .for_each(change);
    fs::write(self::record(&agent), record.to_string()).unwrap();
    Agent::restarted(agent).await
}

fn ran_before(place: &mut Value, days: i64) {
    place["last_run"]["at"] =
        json!((chrono::Utc::now() - chrono::TimeDelta::days(days)).to_rfc3339());
}

/// Restarts it as if it had last followed its schedule so many days ago.
async fn restarted_after(agent: Agent, days: i64) -> Agent {
    restarted_with(agent, |place| ran_before(place, days)).await
}

#[tokio::test]
async fn nothing_is_read_unless_somebody_asks_for_it() {
    let (agent, proxy, _bucket) = verifying(&[], &["a1"]).await;
    assert_eq!(verification(&agent).await, Value::Null);
    assert_eq!(proxy.count(|request| request.reads(".tar")), 0);
    assert!(!record(&agent).exists());
}

#[tokio::test]
async fn what_is_damaged_is_found_and_said_until_it_is_gone() {
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
    eventually("it comes to its end", async || {
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
        "the log names it"
    );

    // Said after a restart too, without reading anything again; gone with the backup.
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
        "this is another one"
    );
}

#[tokio::test]
async fn a_run_that_is_not_due_is_not_made_and_one_that_was_missed_is() {
    let (agent, proxy, _bucket) = verifying(&[("verify_every", "7d")], &["a1"]).await;
    let first = verified(&agent).await;
    let next: chrono::DateTime<chrono::Utc> = first["next_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        (next - chrono::Utc::now()).num_hours(),
        7 * 24 - 1,
        "{first}"
    );
    let read = || proxy.count(|request| request.reads(".tar"));
    let before = read();
    assert!(before > 0, "the test would prove nothing");
    let agent = restarted_after(agent, 6).await;
    agent.listed("garage").await;
    assert_eq!(read(), before);
    let agent = restarted_after(agent, 8).await;
    eventually("what was missed is done", async || read() > before).await;
    drop(agent);
}

#[tokio::test]
async fn a_sample_comes_to_every_backup_in_turn() {
    let (mut agent, proxy, _bucket) = verifying(
        &[("verify_every", "1d"), ("verify_mode", "quick")],
        &["a", "b", "c"],
    )
    .await;
    verified(&agent).await;
    for _ in 0..2 {
        agent = restarted_after(agent, 2).await;
        verified_again(&agent).await;
        assert_eq!(verification(&agent).await["backups"], 1);
    }
    for id in ["a", "b", "c"] {
        let stem = Sample::new(id, id, 40_960).stem();
        let reads = proxy.count(|request| request.reads(&format!("{stem}.tar")));
        assert!(reads > 0, "{id} was never looked at");
    }
}

#[tokio::test]
async fn storage_that_is_away_is_said_and_the_run_is_still_due() {
    let (agent, proxy, bucket) = verifying(&[("verify_every", "7d")], &["a1"]).await;
    verified(&agent).await;
    damage(&bucket, "a1").await;
    proxy.set_away(true);
    let agent = restarted_after(agent, 8).await;
    eventually("it says why", async || {
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
    eventually("it is found", async || {
        verification(&agent).await["damaged"] == json!(["a1"])
    })
    .await;
}

#[tokio::test]
async fn a_backup_that_cannot_be_read_does_not_hide_the_others() {
    const ARCHIVED: &str =
        "<Error><Code>InvalidObjectState</Code><Message>It is archived.</Message></Error>";
    const LOST: &str =
        "<Error><Code>InternalError</Code><Message>A block is lost.</Message></Error>";
    for (status, body) in [
        ("403 Forbidden", ARCHIVED),
        ("500 Internal Server Error", LOST),
    ] {
        let every = [
            ("verify_every", "7d"),
            ("verify_mode", "quick"),
            ("verify_sample", "all"),
        ];
        let (agent, proxy, _bucket) = verifying(&every, &["a", "bad", "b"]).await;
        assert_eq!(verified(&agent).await["backups"], 3);
        let tar = format!("{}.tar", Sample::new("bad", "bad", 40_960).stem());
        for _ in 0..100 {
            let tar = tar.clone();
            proxy.fault(
                move |request| request.reads(&tar),
                Fault::Answer(status, body),
            );
        }
        let agent = restarted_with(agent, |place| {
            ran_before(place, 8);
            // One that nobody ever looked at comes first.
            assert!(
                place["backups"]
                    .as_object_mut()
                    .unwrap()
                    .remove("bad")
                    .is_some(),
                "{place}"
            );
        })
        .await;
        eventually("it comes to its end", async || {
            verification(&agent).await["backups"] == 2
        })
        .await;
        let found = verification(&agent).await;
        assert!(
            found["error"]["detail"]
                .as_str()
                .is_some_and(|said| said.contains(&tar)),
            "{found}"
        );
        assert_eq!(
            found["damaged"],
            json!([]),
            "what cannot be read is not what was read to be damaged"
        );
        assert_eq!(found["unread"], json!(["bad"]));
        // Said after a restart too, until somebody looks at it.
        let agent = restarted_after(agent, 1).await;
        assert_eq!(verification(&agent).await["unread"], json!(["bad"]));
        let metrics = agent.get("/metrics").await;
        let metrics = str::from_utf8(&metrics.body).unwrap();
        assert!(
            metrics.contains("s3_backup_agent_location_unread_backups{location=\"garage\"} 1\n"),
            "{metrics}"
        );
        proxy.forget_faults();
        look_at(&agent, "bad", "quick").await;
        assert_eq!(verification(&agent).await["unread"], json!([]));
    }
}

#[tokio::test]
async fn each_look_waits_until_no_upload_is_under_way() {
    let every = [("verify_every", "7d"), ("verify_sample", "all")];
    let (agent, proxy, _bucket) = verifying(&every, &["a", "b"]).await;
    verified(&agent).await;
    let gate = proxy.hold(|request| request.reads(".tar"));
    let agent = restarted_after(agent, 8).await;
    eventually("the first one is looked at", async || {
        proxy.faults_left() == 0
    })
    .await;
    let upload_id = agent.begin("garage", &Sample::new("c", "c", 40_960)).await;
    gate.add_permits(1);
    let looks = || {
        agent
            .printed()
            .lines()
            .filter(|line| line.contains("no problem found"))
            .count()
    };
    eventually("the first one is known", async || looks() == 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(looks(), 1, "an upload has the line to itself");
    assert_eq!(agent.cancel(&upload_id).await.status, 204);
    eventually("it goes on", async || looks() == 2).await;
}

#[tokio::test]
async fn what_a_person_finds_out_is_kept_as_well() {
    let (agent, _proxy, bucket) = verifying(&[], &["a1"]).await;
    damage(&bucket, "a1").await;
    look_at(&agent, "a1", "full").await;
    let found = verification(&agent).await;
    assert_eq!(
        (&found["damaged"], &found["next_at"]),
        (&json!(["a1"]), &Value::Null),
        "{found}"
    );
}

#[tokio::test]
async fn what_a_person_finds_out_during_a_run_is_kept_at_its_end() {
    let (agent, proxy, bucket) =
        verifying(&[("verify_every", "7d"), ("verify_sample", "all")], &["a"]).await;
    verified(&agent).await;
    let gate = proxy.hold(|request| request.reads(".tar"));
    let agent = restarted_after(agent, 8).await;
    eventually("the first one is looked at", async || {
        proxy.faults_left() == 0
    })
    .await;
    agent
        .upload("garage", &Sample::new("new", "new", 40_960))
        .await;
    damage(&bucket, "new").await;
    look_at(&agent, "new", "full").await;
    assert_eq!(verification(&agent).await["damaged"], json!(["new"]));
    gate.add_permits(1);
    verified_again(&agent).await;
    assert_eq!(verification(&agent).await["damaged"], json!(["new"]));
}

#[tokio::test]
async fn what_a_list_leaves_out_since_it_could_not_be_read_is_not_forgotten() {
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
    look_at(&agent, "bad", "full").await;
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
        "the test would prove nothing"
    );
    proxy.forget_faults();
    let agent = restarted_after(agent, 1).await;
    assert_eq!(agent.listed("garage").await, ["bad", "good"]);
    assert_eq!(verification(&agent).await["damaged"], json!(["bad"]));
}

#[tokio::test]
async fn what_was_written_over_since_the_list_is_said_to_be_damaged() {
    for mode in ["quick", "full"] {
        let (agent, _proxy, bucket) = verifying(&[], &["a1"]).await;
        assert_eq!(agent.listed("garage").await, ["a1"]);
        let sample = Sample::new("a1", "a1", 40_960);
        let key = format!("backups/{}.tar", sample.stem());
        bucket.put(&key, Sample::new("b2", "b2", 40_960).tar).await;
        look_at(&agent, "a1", mode).await;
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
            "{mode}: it is another one now"
        );
    }
}

#[tokio::test]
async fn a_location_that_does_not_answer_keeps_no_other_from_its_turn() {
    let every = [("verify_every", "7d")];
    let ((hanging, proxy, _), (other, _through, _)) =
        (holding(&every, &["a"]).await, holding(&every, &["a"]).await);
    let other = Location {
        id: "other".into(),
        ..other
    };
    let gate = Arc::new(Semaphore::new(0));
    for _ in 0..100 {
        proxy.fault(
            |request| request.reads(".tar"),
            Fault::Hold(Arc::clone(&gate)),
        );
    }
    let agent = Setup::with([hanging, other]).serve().await;
    eventually("the other one is verified", async || {
        !agent.location("other").await["verification"]["verified_at"].is_null()
    })
    .await;
    assert_eq!(
        verification(&agent).await["verified_at"],
        Value::Null,
        "the test would prove nothing"
    );
}

#[tokio::test]
async fn a_run_ends_where_its_location_is_another_one() {
    let every = [("verify_every", "7d"), ("verify_sample", "all")];
    for (what, reads) in [("removed", 1), ("moved", 1), ("less", 1), ("renamed", 2)] {
        let (location, proxy, _bucket) = holding(&every, &["a", "b"]).await;
        let (state, gate) = (
            tempfile::tempdir().unwrap(),
            proxy.hold(|request| request.reads(".tar")),
        );
        let agent = inside(&location, state.path());
        eventually("the first one is looked at", async || {
            proxy.faults_left() == 0
        })
        .await;
        let changed = match what {
            "moved" => Some(Location {
                prefix: "elsewhere".into(),
                ..location
            }),
            "less" => Some(location.with("verify_mode", "quick")),
            "renamed" => Some(location.with("name", "In the cellar")),
            _ => None,
        };
        match changed {
            Some(changed) => drop(agent.put_location(settings(&changed)).await.unwrap()),
            None => agent.remove_location("garage").await.unwrap(),
        }
        gate.add_permits(1);
        eventually("the first one is known", async || {
            state.path().join("verified.json").exists()
        })
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            proxy.count(|request| request.reads(".tar")),
            reads,
            "{what}"
        );
        agent.stop(Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn a_run_that_lasts_is_not_begun_twice() {
    let (location, proxy, _bucket) = holding(&[("verify_every", "7d")], &["a"]).await;
    let (state, gate) = (
        tempfile::tempdir().unwrap(),
        proxy.hold(|request| request.reads(".tar")),
    );
    let agent = inside(&location, state.path());
    eventually("it is looked at", async || proxy.faults_left() == 0).await;
    goes_by(Duration::from_secs(61)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(proxy.count(Request::is_list), 1);
    drop(gate);
    agent.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn what_kept_a_schedule_from_its_end_is_said_until_the_schedule_says_otherwise() {
    for moves in [false, true] {
        let (location, proxy, _bucket) = holding(&[("verify_every", "7d")], &["a1"]).await;
        proxy.set_away(true);
        let state = tempfile::tempdir().unwrap();
        let agent = inside(&location, state.path());
        let shown = || agent.locations()[0].verification.clone().unwrap();
        eventually("it says why", async || shown().error.is_some()).await;
        proxy.set_away(false);
        if moves {
            let moved = Location {
                prefix: "elsewhere".into(),
                ..location
            };
            agent.put_location(settings(&moved)).await.unwrap();
            assert_eq!(shown().error, None, "this is another one");
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
        assert!(
            shown().error.is_some(),
            "the schedule did not come to its end by that"
        );
        for settings in [
            settings(&location),
            settings(&location.clone().with("name", "In the cellar")),
        ] {
            agent.put_location(settings).await.unwrap();
            assert!(shown().error.is_some(), "nothing is mended by that");
        }
        goes_by(Duration::from_mins(61)).await;
        eventually("it comes to its end", async || {
            shown().verified_at.is_some()
        })
        .await;
        assert_eq!(shown().error, None);
        agent.stop(Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn a_schedule_that_is_none_is_named() {
    for (key, value, word) in [
        ("verify_every", "weekly", "verify_every"),
        ("verify_sample", "0", "verify_sample"),
        ("verify_mode", "half", "verify_mode"),
    ] {
        let location = Location::of(&garage::shared().bucket().await).with(key, value);
        let ran = Setup::of(location).run(&["check"]).await.ended_with(2);
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
}
