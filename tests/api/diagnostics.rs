//! Diagnostics for bug reports, and metrics for monitoring.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::lab::{
    Fault, HalfSent, Location, MIB, Request, Sample, Setup, agent_and_bucket, agent_behind_proxy,
    garage,
};

/// Returns the settings as written, each with its source.
fn settings_as_written(report: &Value) -> BTreeMap<&str, (&str, &str)> {
    report["configuration"]
        .as_array()
        .unwrap()
        .iter()
        .map(|written| {
            (
                written["key"].as_str().unwrap(),
                (
                    written["value"].as_str().unwrap(),
                    written["source"].as_str().unwrap(),
                ),
            )
        })
        .collect()
}

#[tokio::test]
async fn diagnostics_report_the_agent_state() {
    let bucket = garage::shared().bucket().await;
    let setup = Setup::of(
        Location::of(&bucket)
            .with("upload_limit", "512 MiB")
            .with("region", "${REGION}"),
    );
    let setup = setup
        .with_variable("REGION", &bucket.region)
        .with_variable("S3_BACKUP_AGENT__LOG__LEVEL", "debug");
    let agent = setup.serve().await;
    agent.post("/v1/locations/garage/check", &Value::Null).await;
    bucket.put("backups/alone.metadata.json", "{}").await;
    agent.refreshed("garage").await;
    let sample = Sample::new("a1", "On its way", 20 * MIB);
    let HalfSent {
        upload_id,
        sending: _sending,
        ..
    } = agent.half_sent("garage", &sample, 10 * MIB).await;

    let report = agent.get("/v1/diagnostics").await.json();
    assert_eq!(report["info"], agent.get("/v1/info").await.json());
    assert!(
        report["system"]["memory_bytes"].as_u64() > Some(1 << 20),
        "{}",
        report["system"]
    );
    assert!(
        report["uptime_seconds"].is_u64() && report["system"]["arch"] == std::env::consts::ARCH
    );

    let written = settings_as_written(&report);
    assert_eq!(
        written["log.level"],
        ("debug", "environment variable S3_BACKUP_AGENT__LOG__LEVEL")
    );
    assert_eq!(
        written["locations[0].region"].0, "${REGION}",
        "a variable stays a reference"
    );
    assert!(
        written["locations[0].bucket"].1.ends_with("agent.toml"),
        "{written:?}"
    );
    assert_eq!(
        (
            written["locations[0].secret_access_key"].0,
            written["locations[0].access_key_id"].0
        ),
        ("***", "***")
    );

    let location = &report["locations"][0];
    assert_eq!(location["location"], agent.location("garage").await);
    assert_eq!(
        location["settings"]["storage"]["region"],
        json!({"value": bucket.region, "is_given": true})
    );
    assert_eq!(location["settings"]["storage"]["upload_limit"], 512 * MIB);
    assert_eq!(
        (&location["last_check"]["ok"], &location["list"]["backups"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(
        location["list"]["skipped"][0]["key"],
        "backups/alone.metadata.json"
    );
    assert!(
        location["requests"]["answered"].as_u64() > Some(5),
        "{location}"
    );
    assert_eq!(report["uploads"][0]["upload_id"], upload_id.as_str());
    let journal = &report["journal"][0];
    assert_eq!(
        (
            &journal["backup_id"],
            &journal["parts"],
            &journal["stored_bytes"]
        ),
        (&"a1".into(), &2.into(), &(10 * MIB).into())
    );

    assert_eq!(
        (&report["log"]["level"], &report["log"]["effective_level"]),
        (&"debug".into(), &"debug".into())
    );
    let records = report["log"]["records"].as_array().unwrap();
    assert!(
        records
            .iter()
            .any(|record| record["message"] == "the agent starts"),
        "{records:#?}"
    );
    assert!(records.iter().all(|record| record["level"] != "debug"));
}

#[tokio::test]
async fn diagnostics_include_recent_records_at_any_log_level() {
    let (agent, _bucket) = agent_and_bucket().await;
    agent.put("/v1/log", r#"{"level": "error"}"#).await;
    for index in 0..250 {
        agent.get(&format!("/v1/locations/none{index}")).await;
    }
    let report = agent.get("/v1/diagnostics").await.json();
    let records = report["log"]["records"].as_array().unwrap();
    assert_eq!(records.len(), 200);
    assert!(
        records[199]["message"]
            .as_str()
            .unwrap()
            .contains("none249"),
        "{}",
        records[199]
    );
    assert!(
        !agent.printed().contains("none0"),
        "standard error is not quiet"
    );
}

/// The metrics by name and labels.
fn metrics(text: &str) -> BTreeMap<&str, f64> {
    let values = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap());
    values
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn metrics_count_operations() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let asked = async || String::from_utf8(agent.get("/metrics").await.body.to_vec()).unwrap();
    let before = asked().await;
    assert!(
        !before.contains("location_up") && !before.contains("location_backups"),
        "nothing is known yet: {before}"
    );
    let (sample, failing) = (Sample::new("a1", "Counted", 11 * MIB), Sample::small("a2"));
    agent.upload("garage", &sample).await;
    let upload_id = agent.begin("garage", &failing).await;
    agent.content(&upload_id, failing.tar.slice(..10_240)).await;
    assert_eq!(
        agent
            .cancel(&agent.begin("garage", &failing).await)
            .await
            .status,
        204
    );
    agent.download("garage", "a1").await.unwrap();
    proxy.fault(
        Request::is_list,
        Fault::Answer("503 Service Unavailable", ""),
    );
    agent.refreshed("garage").await;

    let answer = agent.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = asked().await;
    let metrics = metrics(&text);
    let of = |name: &str| metrics[format!("s3_backup_agent_{name}").as_str()];
    #[expect(clippy::cast_precision_loss, reason = "small enough")]
    let size = sample.size() as f64;
    for (name, value) in [
        ("location_up{location=\"garage\"}", 1.0),
        ("location_backups{location=\"garage\"}", 1.0),
        ("location_size_bytes{location=\"garage\"}", size),
        ("last_upload_size_bytes{location=\"garage\"}", size),
        (
            "location_skipped{location=\"garage\",code=\"duplicate\"}",
            0.0,
        ),
        ("uploads_under_way{location=\"garage\"}", 0.0),
        ("uploads_total{location=\"garage\",state=\"complete\"}", 1.0),
        ("uploads_total{location=\"garage\",state=\"failed\"}", 1.0),
        (
            "uploads_total{location=\"garage\",state=\"cancelled\"}",
            1.0,
        ),
        ("uploaded_bytes_total{location=\"garage\"}", size),
        ("downloaded_bytes_total{location=\"garage\"}", size),
        // The probe with a wrong checksum, too.
        (
            "storage_requests_total{location=\"garage\",result=\"refused\"}",
            2.0,
        ),
    ] {
        assert!(
            (of(name) - value).abs() < 0.5,
            "{name}: {}\n{text}",
            of(name)
        );
    }
    assert!(
        of("storage_sent_bytes_total{location=\"garage\"}") >= size
            && of("storage_received_bytes_total{location=\"garage\"}") >= size
    );
    assert!(
        of("last_upload_duration_seconds{location=\"garage\"}") > 0.0
            && metrics["process_resident_memory_bytes"] > 1e6
    );
    assert!(of("location_list_age_seconds{location=\"garage\"}") < 60.0);
    println!("{text}");
}
