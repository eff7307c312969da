//! Verification of stored backups, quick and full.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::lab::{
    Agent, Bucket, Fault, Location, MIB, Proxy, Sample, Server, Setup, agent_and_bucket,
    agent_behind_proxy, eventually,
};

fn path(backup_id: &str) -> String {
    format!("/v1/locations/garage/backups/{backup_id}/verify")
}

/// All lines of the answer.
async fn lines(agent: &Agent, backup_id: &str, mode: &str) -> Vec<Value> {
    let answer = agent.post(&path(backup_id), &json!({"mode": mode})).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/x-ndjson"),
        "{answer:?}"
    );
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The result, and the codes of its problems.
async fn verified(agent: &Agent, backup_id: &str, mode: &str) -> (Value, Vec<String>) {
    let last = lines(agent, backup_id, mode).await.pop().unwrap();
    assert_eq!(
        (&last["type"], &last["mode"]),
        (&json!("result"), &json!(mode)),
        "{last:#}"
    );
    let problems = last["problems"].as_array().unwrap().clone();
    assert_eq!(last["ok"], json!(problems.is_empty()), "{last:#}");
    (
        last,
        problems
            .iter()
            .map(|problem| problem["code"].as_str().unwrap().to_owned())
            .collect(),
    )
}

async fn uploaded(size: u64) -> (Agent, Proxy, Bucket, Sample) {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Verified", size);
    agent.upload("garage", &sample).await;
    (agent, proxy, bucket, sample)
}

#[tokio::test]
async fn sound_backup_verifies() {
    for size in [40_960, 12 * MIB + 10_240] {
        let (agent, proxy, _bucket, sample) = uploaded(size).await;
        let (result, _) = verified(&agent, "a1", "quick").await;
        assert_eq!(
            (&result["ok"], &result["sha256"]),
            (&json!(true), &Value::Null)
        );
        assert_eq!(result["size_bytes"], sample.size());
        assert!(result["read_bytes"].as_u64().unwrap() < 100_000, "{result}");
        assert!(
            proxy.count(|request| request.reads(".tar")) <= 3,
            "quick verification takes more than a few requests"
        );
        let steps = lines(&agent, "a1", "full").await;
        assert_eq!(
            steps[0],
            json!({"type": "progress", "read_bytes": 0, "total_bytes": sample.size()})
        );
        let result = steps.last().unwrap();
        let expected = json!({
            "type": "result", "ok": true, "mode": "full", "size_bytes": sample.size(), "read_bytes": sample.size(),
            "sha256": sample.sha256(), "problems": [], "notes": [],
        });
        assert_eq!(*result, expected);
    }
}

#[tokio::test]
async fn full_verification_finds_a_changed_byte() {
    let (agent, _proxy, bucket, sample) = uploaded(12 * MIB).await;
    let mut damaged = sample.tar.to_vec();
    damaged[6_000_000] ^= 1;
    bucket
        .put(&format!("backups/{}.tar", sample.stem()), damaged.clone())
        .await;
    assert_eq!(
        verified(&agent, "a1", "quick").await.1,
        Vec::<String>::new(),
        "the changed byte was read"
    );
    let (result, problems) = verified(&agent, "a1", "full").await;
    assert_eq!(problems, ["checksum_mismatch"]);
    assert_eq!(result["sha256"], sample.with_tar(damaged).sha256());
    assert!(
        agent.printed().contains("SHA-256 of"),
        "{}",
        agent.printed()
    );
}

#[tokio::test]
async fn quick_verification_finds_a_truncated_tar_of_any_writer() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Cut", 6 * MIB);
    // Lacks the manifest's last block and the end; has the size stated in the metadata.
    let mut cut = sample.tar.to_vec();
    let end = cut.len() - 2048;
    cut[end..].fill(7);
    bucket
        .put_backup("", "x", &sample.clone().with_tar(cut))
        .await;
    for mode in ["quick", "full"] {
        assert_eq!(
            verified(&agent, "a1", mode).await.1,
            ["invalid_tar"],
            "{mode}"
        );
    }
    bucket
        .put("backups/x.tar", sample.tar.slice(..3 * 1024 * 1024))
        .await;
    for mode in ["quick", "full"] {
        assert_eq!(
            verified(&agent, "a1", mode).await.1,
            ["size_mismatch", "invalid_tar"],
            "{mode}"
        );
    }
}

#[tokio::test]
async fn backup_deleted_after_listing_is_named() {
    let (agent, _proxy, bucket, sample) = uploaded(40_960).await;
    agent.list("garage").await;
    let stem = format!("backups/{}", sample.stem());
    bucket.delete(&format!("{stem}.metadata.json")).await;
    assert_eq!(
        verified(&agent, "a1", "quick").await.1,
        ["metadata_missing"]
    );
    bucket.put(&format!("{stem}.metadata.json"), "[]").await;
    agent
        .post(&path("a1"), &json!({"mode": "quick"}))
        .await
        .is_problem(404, "backup_not_found", &["a1"]);
    bucket
        .put(
            &format!("{stem}.metadata.json"),
            sample.metadata.to_string(),
        )
        .await;
    assert_eq!(agent.listed("garage").await, ["a1"]);
    bucket.delete(&format!("{stem}.tar")).await;
    assert_eq!(verified(&agent, "a1", "full").await.1, ["tar_missing"]);
    assert!(
        agent.list("garage").await["backups"]
            .as_array()
            .unwrap()
            .is_empty(),
        "it stays listed"
    );
}

#[tokio::test]
async fn quick_verification_finds_a_swapped_tar() {
    let (agent, bucket) = agent_and_bucket().await;
    let (sample, other) = (Sample::small("a1"), Sample::small("b2"));
    bucket
        .put_backup("", "x", &sample.clone().with_tar(other.tar))
        .await;
    assert_eq!(verified(&agent, "a1", "quick").await.1, ["other_backup"]);
    let mut sample = sample;
    sample.metadata["protected"] = json!(true);
    bucket.put_backup("", "x", &sample).await;
    agent.refreshed("garage").await;
    assert_eq!(
        verified(&agent, "a1", "quick").await.1,
        ["metadata_differs"]
    );
}

#[tokio::test]
async fn server_checksum_is_compared() {
    let bucket = crate::lab::garage::shared().bucket().await;
    for checksum in ["crc32c", "crc64nvme"] {
        let proxy = Proxy::before(&bucket.endpoint).await;
        let location = Location {
            endpoint: proxy.endpoint(),
            ..Location::of(&bucket)
        }
        .with("checksum", checksum);
        let agent = Setup::of(location).serve().await;
        agent.upload("garage", &Sample::small(checksum)).await;
        assert_eq!(
            verified(&agent, checksum, "full").await.1,
            Vec::<String>::new()
        );
    }
    // Another tool's tar, with a checksum that matches it.
    let agent = Setup::of(Location::of(&bucket)).serve().await;
    let sample = Sample::new("a1", "Replaced", 40_960);
    agent.upload("garage", &sample).await;
    let mut other = sample.tar.to_vec();
    other[700] ^= 1;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &other);
    let checksum = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, digest);
    let key = format!("/backups/{}.tar", sample.stem());
    let headers = [("x-amz-checksum-sha256", checksum.as_str())];
    assert_eq!(
        bucket
            .ask(Method::PUT, &key, &headers, other.into())
            .await
            .status(),
        200
    );
    assert_eq!(
        verified(&agent, "a1", "quick").await.1,
        ["checksum_mismatch"]
    );
}

#[tokio::test]
async fn storage_failure_ends_verification_with_an_error() {
    let (agent, proxy, _bucket, _) = uploaded(12 * MIB).await;
    let denied = "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>";
    proxy.fault(
        |request| request.reads(".tar"),
        Fault::Answer("403 Forbidden", denied),
    );
    let last = lines(&agent, "a1", "full").await.pop().unwrap();
    assert_eq!(
        (&last["type"], &last["code"], &last["status"]),
        (&json!("error"), &json!("storage_forbidden"), &json!(502))
    );
    assert_eq!(last["provider_code"], "AccessDenied");
    agent
        .post(&path("b2"), &json!({"mode": "full"}))
        .await
        .is_problem(404, "backup_not_found", &["b2"]);
    agent
        .post(&path("a1"), &json!({"mode": "brief"}))
        .await
        .is_problem(400, "invalid_request", &["brief"]);
}

#[tokio::test]
async fn verification_ends_with_its_caller_and_with_the_agent() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|location| {
        location.concurrency = 1;
        *location = location.clone().with("download_limit", "4 MiB");
    })
    .await;
    let sample = Sample::new("a1", "Slow", 30 * MIB);
    bucket.put_backup("", "x", &sample).await;
    let begin = async || {
        agent
            .request(Method::POST, &path("a1"))
            .json(&json!({"mode": "full"}))
            .send()
            .await
            .unwrap()
    };
    let mut answer = begin().await;
    let mut text = String::new();
    while text.lines().count() < 3 {
        text += str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap();
    }
    let read = |line: &str| {
        serde_json::from_str::<Value>(line).unwrap()["read_bytes"]
            .as_u64()
            .unwrap()
    };
    assert!(text.lines().map(read).is_sorted(), "{text}");
    drop(answer);
    let reads = || proxy.count(|request| request.reads(".tar"));
    eventually("the agent stops to read", async || {
        let before = reads();
        tokio::time::sleep(Duration::from_secs(3)).await;
        reads() == before
    })
    .await;
    assert!(reads() < 6, "it keeps reading without a client");
    let answer = begin().await;
    agent.signal("TERM");
    let text = answer.text().await.unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["type"], &last["code"]),
        (&json!("error"), &json!("shutting_down"))
    );
    assert_eq!(agent.ended().await.code(), Some(0));
}

#[tokio::test]
async fn verification_works_on_swift() {
    let home = Server::Swift.home().await;
    for sample in [
        Sample::small("small"),
        Sample::new("large", "Large", 12 * MIB),
    ] {
        home.agent.upload("home", &sample).await;
        for mode in ["quick", "full"] {
            let path = format!("/v1/locations/home/backups/{}/verify", sample.id());
            let answer = home.agent.post(&path, &json!({"mode": mode})).await;
            let last: Value = serde_json::from_slice(
                answer
                    .body
                    .split(|&byte| byte == b'\n')
                    .rev()
                    .nth(1)
                    .unwrap(),
            )
            .unwrap();
            assert_eq!(last["ok"], true, "{last:#}");
        }
    }
}

#[tokio::test]
async fn command_line_verifies_one_or_all_backups() {
    let (agent, _proxy, bucket, sample) = uploaded(12 * MIB).await;
    let setup = &agent.setup;
    let ran = setup.run(&["verify"]).await.ended_with(0);
    assert!(
        ran.text().contains("a1: intact (12.00 MiB)")
            && ran.text().contains("1 intact, 0 damaged, 0 not verified."),
        "{}",
        ran.text()
    );
    let ran = setup
        .run(&["verify", "garage", "a1", "--full"])
        .await
        .ended_with(0);
    assert!(ran.text().contains(&sample.sha256()), "{}", ran.text());
    setup
        .run(&["verify", "garage", "missing"])
        .await
        .ended_with(3);
    setup.run(&["verify", "attic"]).await.ended_with(3);
    let mut damaged = sample.tar.to_vec();
    damaged[1_000_000] ^= 1;
    bucket
        .put(&format!("backups/{}.tar", sample.stem()), damaged)
        .await;
    bucket.put_backup("", "good", &Sample::small("b2")).await;
    bucket.put("backups/no tar.metadata.json", "{}").await;
    let ran = setup
        .run(&["--json", "verify", "garage", "--full"])
        .await
        .ended_with(5);
    let lines: Vec<Value> = ran
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |id: &str| lines.iter().find(|line| line["backup_id"] == id).unwrap();
    assert_eq!(
        (&of("a1")["problems"][0]["code"], &of("b2")["ok"]),
        (&json!("checksum_mismatch"), &json!(true))
    );
    assert!(
        lines
            .iter()
            .any(|line| line["skipped"]["code"] == "tar_missing")
    );
    assert_eq!(
        *lines.last().unwrap(),
        json!({"mode": "full", "good": 1, "damaged": 2, "failed": 0})
    );
    let away = Setup::of(Location {
        endpoint: "http://127.0.0.1:9".into(),
        ..Location::of(&bucket)
    });
    away.run(&["verify"]).await.ended_with(4);
}
