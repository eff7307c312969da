//! Downloads that break off in the middle: the cause is logged once, and sent as an event.

use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::json;

use crate::lab::call::content_path;
use crate::lab::{Bucket, Fault, MIB, Proxy, Request, Sample, agent_behind_proxy, eventually};

const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";

/// When the backup breaks.
#[derive(PartialEq, Eq)]
enum Moment {
    BeforeDownload,
    /// Most of it is not read then: 30 MiB are more than all buffers hold.
    AfterHeaders,
}

/// A download that `breaks` ends in the middle, and what the agent tells about it.
async fn breaks_off(code: &str, moment: Moment, breaks: impl AsyncFnOnce(&Proxy, &Bucket, &str)) {
    let (agent, proxy, bucket) = agent_behind_proxy(|location| location.concurrency = 1).await;
    let sample = Sample::new("a1", "Broken", 30 * MIB);
    agent.upload("garage", &sample).await;
    let mut events = agent.events().await;
    let tar = format!("backups/{}.tar", sample.stem());
    let download = agent.request(Method::GET, &content_path("garage", "a1"));
    let mut answer = if moment == Moment::BeforeDownload {
        breaks(&proxy, &bucket, &tar).await;
        download.send().await.unwrap()
    } else {
        let answer = download.send().await.unwrap();
        breaks(&proxy, &bucket, &tar).await;
        answer
    };
    assert_eq!(answer.status(), 200);
    let download_id = answer.headers()["s3-backup-agent-download"]
        .to_str()
        .unwrap()
        .to_owned();
    let is_broken = loop {
        match answer.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(is_broken, "a broken download looks complete");
    let told = events.until(|event| event["type"] == "download").await;
    let told = told.last().unwrap();
    assert_eq!(
        (
            &told["download_id"],
            &told["location"],
            &told["backup_id"],
            &told["error"]["code"]
        ),
        (
            &json!(download_id),
            &json!("garage"),
            &json!("a1"),
            &json!(code)
        ),
        "{told}"
    );
    let detail = told["error"]["detail"].as_str().unwrap();
    let told_of_it = |line: &&str| line.contains("broke off") && line.contains(detail);
    let lines = || agent.printed().lines().filter(told_of_it).count();
    eventually("the log has the cause", async || lines() > 0).await;
    assert_eq!(lines(), 1, "{detail}\n{}", agent.printed());
    let shown = agent.get("/v1/diagnostics").await.json();
    let shown = &shown["locations"][0]["last_broken_download"];
    assert_eq!(
        (&shown["download_id"], &shown["error"]),
        (&told["download_id"], &told["error"])
    );
}

/// Lets the first range pass, and answers the second.
fn answer_later(proxy: &Proxy, answer: Fault) {
    let is_first = AtomicBool::new(true);
    proxy.fault(
        move |request: &Request| request.reads(".tar") && !is_first.swap(false, Ordering::SeqCst),
        answer,
    );
}

#[tokio::test]
async fn revoked_key_is_told() {
    breaks_off(
        "storage_forbidden",
        Moment::BeforeDownload,
        async |proxy, _, _| answer_later(proxy, Fault::Answer("403 Forbidden", DENIED)),
    )
    .await;
}

#[tokio::test]
async fn object_that_is_gone_is_told() {
    breaks_off(
        "backup_not_found",
        Moment::AfterHeaders,
        async |_, bucket, key| bucket.delete(key).await,
    )
    .await;
}

#[tokio::test]
async fn object_that_was_replaced_is_told() {
    breaks_off(
        "storage_error",
        Moment::AfterHeaders,
        async |_, bucket, key| flip(bucket, key).await,
    )
    .await;
}

#[tokio::test]
async fn damaged_object_is_told() {
    breaks_off(
        "checksum_mismatch",
        Moment::BeforeDownload,
        async |_, bucket, key| flip(bucket, key).await,
    )
    .await;
}

/// Writes the object again, with one bit changed.
async fn flip(bucket: &Bucket, key: &str) {
    let mut tar = bucket.get(key).await.to_vec();
    let middle = tar.len() / 2;
    tar[middle] ^= 1;
    bucket.put(key, tar).await;
}
