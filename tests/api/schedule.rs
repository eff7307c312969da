//! Scheduled verification.

mod results;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use s3_backup_agent::{agent, config};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::lab::{
    Agent, Bucket, Fault, Location, Proxy, Request, Sample, Setup, eventually, garage, time_passes,
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

/// A verifying agent, and a bucket that holds these backups at its start.
async fn verifying(options: &[(&str, &str)], ids: &[&str]) -> (Agent, Proxy, Bucket) {
    let (location, proxy, bucket) = holding(options, ids).await;
    (Setup::of(location).serve().await, proxy, bucket)
}

fn settings(location: &Location) -> config::Location {
    config::Location::from_json(&location.json()).unwrap().0
}

/// An agent in this process, whose location is registered before the schedules are first evaluated.
fn inside(location: &Location, state: &Path) -> Arc<agent::Agent> {
    let agent = agent::Agent::new(vec![settings(location)], state);
    agent.start_maintenance();
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

/// Waits until the schedule completes another run.
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

async fn verify_now(agent: &Agent, id: &str, mode: &str) {
    let path = format!("/v1/locations/garage/backups/{id}/verify");
    assert_eq!(agent.post(&path, &json!({"mode": mode})).await.status, 200);
}

fn record(agent: &Agent) -> PathBuf {
    agent.setup.path("state/verified.json")
}

/// Restarts the agent with a changed verification record.
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

/// Restarts the agent as if its last run was this many days ago.
async fn restarted_after(agent: Agent, days: i64) -> Agent {
    restarted_with(agent, |place| ran_before(place, days)).await
}

#[tokio::test]
async fn verification_is_off_by_default() {
    let (agent, proxy, _bucket) = verifying(&[], &["a1"]).await;
    assert_eq!(verification(&agent).await, Value::Null);
    assert_eq!(proxy.count(|request| request.reads(".tar")), 0);
    assert!(!record(&agent).exists());
}

#[tokio::test]
async fn missed_run_starts_at_boot_and_early_run_is_skipped() {
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
    assert!(before > 0, "test precondition not met");
    let agent = restarted_after(agent, 6).await;
    agent.listed("garage").await;
    assert_eq!(read(), before);
    let agent = restarted_after(agent, 8).await;
    eventually("the missed run happens", async || read() > before).await;
    drop(agent);
}

#[tokio::test]
async fn sampled_verification_covers_every_backup_in_turn() {
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
        assert!(reads > 0, "{id} was never verified");
    }
}

#[tokio::test]
async fn unreadable_backup_does_not_stop_the_verification_run() {
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
            // A never verified backup comes first.
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
        eventually("the run ends", async || {
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
            "an unreadable backup is not a damaged one"
        );
        assert_eq!(found["unread"], json!(["bad"]));
        // Reported after a restart too, until the next verification.
        let agent = restarted_after(agent, 1).await;
        assert_eq!(verification(&agent).await["unread"], json!(["bad"]));
        let metrics = agent.get("/metrics").await;
        let metrics = str::from_utf8(&metrics.body).unwrap();
        assert!(
            metrics.contains("s3_backup_agent_location_unread_backups{location=\"garage\"} 1\n"),
            "{metrics}"
        );
        proxy.forget_faults();
        verify_now(&agent, "bad", "quick").await;
        assert_eq!(verification(&agent).await["unread"], json!([]));
    }
}

#[tokio::test]
async fn verification_waits_for_uploads_in_flight() {
    let every = [("verify_every", "7d"), ("verify_sample", "all")];
    let (agent, proxy, _bucket) = verifying(&every, &["a", "b"]).await;
    verified(&agent).await;
    let gate = proxy.hold(|request| request.reads(".tar"));
    let agent = restarted_after(agent, 8).await;
    eventually("the first backup is being verified", async || {
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
    eventually("the first result is recorded", async || looks() == 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(looks(), 1, "verification read during an upload");
    assert_eq!(agent.cancel(&upload_id).await.status, 204);
    eventually("it resumes", async || looks() == 2).await;
}

#[tokio::test]
async fn unresponsive_location_does_not_delay_other_verifications() {
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
    eventually("the other location is verified", async || {
        !agent.location("other").await["verification"]["verified_at"].is_null()
    })
    .await;
    assert_eq!(
        verification(&agent).await["verified_at"],
        Value::Null,
        "test precondition not met"
    );
}

#[tokio::test]
async fn verification_run_ends_after_its_location_changes() {
    let every = [("verify_every", "7d"), ("verify_sample", "all")];
    for (what, reads) in [("removed", 1), ("moved", 1), ("less", 1), ("renamed", 2)] {
        let (location, proxy, _bucket) = holding(&every, &["a", "b"]).await;
        let (state, gate) = (
            tempfile::tempdir().unwrap(),
            proxy.hold(|request| request.reads(".tar")),
        );
        let agent = inside(&location, state.path());
        eventually("the first backup is being verified", async || {
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
        eventually("the first result is recorded", async || {
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
async fn long_verification_run_is_not_started_twice() {
    let (location, proxy, _bucket) = holding(&[("verify_every", "7d")], &["a"]).await;
    let (state, gate) = (
        tempfile::tempdir().unwrap(),
        proxy.hold(|request| request.reads(".tar")),
    );
    let agent = inside(&location, state.path());
    eventually("the backup is verified", async || proxy.faults_left() == 0).await;
    time_passes(Duration::from_secs(61)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(proxy.count(Request::is_list), 1);
    drop(gate);
    agent.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn unknown_verification_mode_is_refused() {
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
