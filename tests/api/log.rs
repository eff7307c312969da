//! The agent's log records in Home Assistant's log.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::lab::events::Events;
use crate::lab::{Agent, MIB, Sample, agent_and_bucket, eventually};

/// Concurrent requests in a burst, and requests per client.
const ASKERS: usize = 20;
const ASKED_BY_EACH: usize = 500;

/// Records up to that of a call, which is answered first.
async fn up_to_call(events: &mut Events, path: &str) -> Vec<Value> {
    let is_record = |event: &Value| event["type"] == "log";
    let seen = events
        .until(|event| is_record(event) && event["fields"]["path"] == path)
        .await;
    seen.into_iter().filter(is_record).collect()
}

fn has_debug(agent: &Agent, since: usize) -> bool {
    agent.printed()[since..].contains("DEBUG")
}

#[tokio::test]
async fn log_stream_delivers_the_requested_level() {
    let (agent, _bucket) = agent_and_bucket().await;
    let (mut debug, mut warn) = (agent.log("debug").await, agent.log("warn").await);
    agent.refreshed("garage").await;
    agent.get("/v1/providers").await;
    let records = up_to_call(&mut debug, "/v1/providers").await;
    let listed = records
        .iter()
        .find(|record| record["target"] == "s3_backup_agent::agent::catalog::scan")
        .unwrap();
    assert_eq!(
        (&listed["level"], &listed["fields"]["backups"]),
        (&"debug".into(), &"0".into()),
        "{listed}"
    );
    chrono::DateTime::parse_from_rfc3339(listed["time"].as_str().unwrap()).unwrap();
    assert!(
        listed["message"]
            .as_str()
            .unwrap()
            .starts_with("listed bucket "),
        "{listed}"
    );
    assert!(has_debug(&agent, 0), "standard error has the records too");

    let sample = Sample::small("a1");
    let upload_id = agent
        .begin("garage", &sample.clone().announced_as(sample.size() + 1))
        .await;
    agent.content(&upload_id, sample.tar).await;
    let is_record = |event: &Value| event["type"] == "log";
    let seen = warn.until(is_record).await;
    assert_eq!(seen[seen.len() - 1]["level"], "warn");
    assert!(
        seen.iter().any(|event| event["type"] == "upload"),
        "other events continue: {seen:#?}"
    );
}

#[tokio::test]
async fn log_level_is_restored_after_stream_closes() {
    let (agent, _bucket) = agent_and_bucket().await;
    let falls_back = async |what: &str| {
        eventually(what, async || {
            let since = agent.printed().len();
            agent.get("/v1/providers").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            !has_debug(&agent, since)
        })
        .await;
    };
    let mut first = agent.log("debug").await;
    let second = agent.log("trace").await;
    agent.get("/v1/providers").await;
    up_to_call(&mut first, "/v1/providers").await;
    drop(second);
    agent.get("/v1/locations").await;
    up_to_call(&mut first, "/v1/locations").await;
    eventually("the log has the calls", async || has_debug(&agent, 0)).await;
    drop(first);
    falls_back("both streams are closed").await;

    // The level was set in the meantime: it falls back to that level.
    let third = agent.log("trace").await;
    assert_eq!(
        agent.put("/v1/log", r#"{"level": "error"}"#).await.json(),
        json!({"level": "error"})
    );
    let since = agent.printed().len();
    agent.get("/v1/providers").await;
    eventually("the stream's level still counts", async || {
        has_debug(&agent, since)
    })
    .await;
    drop(third);
    falls_back("the third stream is closed").await;
    assert_eq!(
        agent.put("/v1/log", r#"{"level": null}"#).await.json(),
        json!({"level": "info"})
    );
    eventually("the configured level is back", async || {
        agent.printed().contains("log level changed level=Info")
    })
    .await;
}

#[tokio::test]
async fn unknown_log_level_is_refused() {
    let (agent, _bucket) = agent_and_bucket().await;
    agent
        .get("/v1/events?log=loud")
        .await
        .is_problem(400, "invalid_request", &["loud"]);
    for body in ["{}", r#"{"level": "loud"}"#, r#"{"level": 5}"#] {
        agent
            .put("/v1/log", body)
            .await
            .is_problem(400, "invalid_request", &["cannot be read"]);
    }
}

#[tokio::test]
async fn log_burst_is_bounded_counted_and_isolated_from_other_events() {
    let (agent, _bucket) = agent_and_bucket().await;
    let mut events = agent.log("trace").await;
    let start = Instant::now();
    let asking = join_all((0..ASKERS).map(|_| async {
        for _ in 0..ASKED_BY_EACH {
            assert_eq!(agent.get("/v1/health").await.status, 200);
        }
    }));
    let sample = Sample::new("a1", "In the storm", 21 * MIB);
    let reading = async {
        let mut seen = events.until(|event| event["state"] == "complete").await;
        let (mut records, mut lost) = counted(&seen);
        // The last dropped records are reported within a second.
        while records + lost < ASKERS * ASKED_BY_EACH {
            seen.push(events.next().await.unwrap());
            let (record, more) = counted(&seen[seen.len() - 1..]);
            (records, lost) = (records + record, lost + more);
        }
        (seen, start.elapsed())
    };
    let (_, _, (seen, elapsed)) = tokio::join!(asking, agent.upload("garage", &sample), reading);
    let (records, lost) = counted(&seen);
    let allowed = 500 + 100 * usize::try_from(elapsed.as_secs() + 1).unwrap();
    assert!(records <= allowed, "{records} records in {elapsed:?}");
    assert!(
        records + lost >= ASKERS * ASKED_BY_EACH && lost > 0,
        "{records} records, {lost} lost"
    );
    let told = seen
        .iter()
        .filter(|event| event["type"] == "log_lost")
        .count();
    assert!(
        told <= usize::try_from(elapsed.as_secs()).unwrap() + 2,
        "reported {told} times in {elapsed:?}"
    );
    println!("{records} records and {lost} lost, told {told} times, in {elapsed:?}");

    assert!(
        seen.iter().all(|event| event["type"] != "lost"),
        "other events were lost"
    );
    let stored: Vec<_> = seen
        .iter()
        .filter(|event| event["type"] == "upload")
        .collect();
    let steps: Vec<_> = stored
        .iter()
        .map(|event| event["stored_bytes"].as_u64().unwrap())
        .collect();
    // Four full parts and a small one, which may be stored before the last full one.
    let parts = steps
        .iter()
        .filter(|step| **step > 0)
        .collect::<BTreeSet<_>>()
        .len();
    assert!(
        steps.is_sorted() && parts == 5 && steps[steps.len() - 1] == sample.size(),
        "{steps:?}"
    );
}

/// Received records, and the number of dropped ones.
fn counted(events: &[Value]) -> (usize, usize) {
    let records = events.iter().filter(|event| event["type"] == "log").count();
    let lost = events
        .iter()
        .filter_map(|event| event["records"].as_u64())
        .sum::<u64>();
    (records, usize::try_from(lost).unwrap())
}
