//! What a location's status and the log say about its storage.

use std::time::Duration;

use s3_backup_agent::{agent, config};
use serde_json::{Value, json};

use crate::lab::{
    Agent, Fault, Request, Sample, agent_behind_proxy, bucket_behind_proxy, eventually, time_passes,
};

const DENIED: Fault = Fault::Answer(
    "403 Forbidden",
    "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>",
);

async fn status(agent: &Agent) -> (Value, Value) {
    let mut location = agent.location("garage").await;
    (location["status"].take(), location["error"]["code"].take())
}

async fn check(agent: &Agent) -> Value {
    let path = "/v1/locations/garage/check";
    agent.post(path, &json!({})).await.json()
}

async fn last_check(agent: &Agent) -> Value {
    let mut diagnostics = agent.get("/v1/diagnostics").await.json();
    diagnostics["locations"][0]["last_check"].take()
}

/// A key that may list, but not write.
#[tokio::test]
async fn failed_check_is_the_status_until_a_backup_or_a_check_succeeds() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let forbid = || {
        for _ in 0..100 {
            proxy.fault(|request| request.method == "PUT", DENIED);
        }
    };
    agent.list("garage").await;
    assert_eq!(status(&agent).await, (json!("ok"), Value::Null));
    for is_backup in [true, false] {
        let mut events = agent.events().await;
        forbid();
        assert_eq!(check(&agent).await["ok"], false);
        let error = (json!("error"), json!("storage_forbidden"));
        assert_eq!(status(&agent).await, error);
        events
            .until(|event| event["location"]["status"] == "error")
            .await;
        assert_eq!(agent.refreshed("garage").await["stale"], false);
        assert_eq!(status(&agent).await, error, "a list writes nothing");
        assert_eq!(last_check(&agent).await["ok"], false);
        proxy.forget_faults();
        if is_backup {
            agent.upload("garage", &Sample::small("a1")).await;
        } else {
            assert_eq!(check(&agent).await["ok"], true);
        }
        assert_eq!(status(&agent).await, (json!("ok"), Value::Null));
    }
}

#[tokio::test]
async fn check_result_ends_with_the_status_it_was_made_in() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    assert_eq!(check(&agent).await["ok"], true);
    agent.list("garage").await;
    assert_eq!(last_check(&agent).await["ok"], true);
    proxy.set_away(true);
    agent.refreshed("garage").await;
    assert_eq!(status(&agent).await.0, "error");
    assert_eq!(last_check(&agent).await, Value::Null);
}

#[tokio::test]
async fn outage_is_logged_once_with_its_end() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    agent.list("garage").await;
    proxy.set_away(true);
    for _ in 0..3 {
        agent.refreshed("garage").await;
    }
    proxy.set_away(false);
    agent.refreshed("garage").await;
    eventually("the end is logged", async || {
        agent.printed().contains("again after")
    })
    .await;
    let printed = agent.printed();
    let lines: Vec<_> = printed
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("again after"))
        .collect();
    let [begins, ends] = lines[..] else {
        panic!("{printed}");
    };
    assert!(begins.contains("Could not list"), "{begins}");
    assert!(ends.contains("is reachable again after"), "{ends}");
    assert!(!printed.contains("answered with an error"), "{printed}");
}

/// Home Assistant asks every location to delete a backup, also those without it.
#[tokio::test]
async fn deletion_elsewhere_is_no_news() {
    let (agent, _proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let answer = agent.delete_backup("garage", "elsewhere").await;
    answer.is_problem(404, "backup_not_found", &[]);
    let printed = agent.printed();
    assert!(!printed.contains("backup_not_found"), "{printed}");
}

#[tokio::test]
async fn idle_location_is_polled() {
    let (proxy, _bucket, location) = bucket_behind_proxy().await;
    let (location, _) = config::Location::from_json(&location.json()).unwrap();
    let state = tempfile::tempdir().unwrap();
    let agent = agent::Agent::new(vec![location], state.path());
    agent.start_maintenance();
    let status = || agent.locations()[0].status;
    let lists = || proxy.count(Request::is_list);
    // The poll's clock starts with its task.
    time_passes(Duration::from_secs(1)).await;
    time_passes(Duration::from_secs(61)).await;
    eventually("a new location is asked", async || status() == "ok").await;
    let asked = lists();
    for _ in 0..40 {
        time_passes(Duration::from_mins(1)).await;
    }
    assert_eq!(lists(), asked, "asked in vain");
    proxy.set_away(true);
    for _ in 0..40 {
        time_passes(Duration::from_mins(1)).await;
    }
    eventually("the outage is seen", async || status() == "error").await;
    proxy.set_away(false);
    for _ in 0..14 {
        time_passes(Duration::from_mins(1)).await;
    }
    eventually("its end is seen", async || status() == "ok").await;
    agent.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn quick_verification_repeats_what_a_full_one_found() {
    let (mut agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Damaged", 40_960);
    agent.upload("garage", &sample).await;
    let key = format!("backups/{}.tar", sample.stem());
    let mut tar = sample.tar.to_vec();
    tar[20_000] ^= 1;
    bucket.put(&key, tar).await;
    agent.refreshed("garage").await;
    let verify = async |agent: &Agent, mode: &str| {
        let path = "/v1/locations/garage/backups/a1/verify";
        let answer = agent.post(path, &json!({"mode": mode})).await;
        let lines = String::from_utf8(answer.body.to_vec()).unwrap();
        serde_json::from_str::<Value>(lines.lines().last().unwrap()).unwrap()
    };
    assert_eq!(verify(&agent, "quick").await["ok"], true);
    assert_eq!(verify(&agent, "full").await["ok"], false);
    agent.kill();
    let agent = Agent::restarted(agent).await;
    let quick = verify(&agent, "quick").await;
    assert_eq!(
        (&quick["ok"], &quick["problems"][0]["code"]),
        (&json!(false), &json!("found_damaged")),
        "{quick:#}"
    );
    let detail = quick["problems"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("SHA-256"), "{detail}");
    // Another tar is another backup.
    bucket.put(&key, sample.tar.to_vec()).await;
    agent.refreshed("garage").await;
    assert_eq!(verify(&agent, "quick").await["ok"], true);
}
