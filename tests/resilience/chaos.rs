//! Connections that break at the worst moment: stored and received bytes are correct.

use http::Method;
use serde_json::json;

use crate::lab::agent::Agent;
use crate::lab::{Bucket, Fault, MIB, Proxy, Request, Sample, agent_behind_proxy};

/// Uploads through the faults set by `arm`, and compares the bucket's content.
async fn upload_survives(size: u64, arm: impl FnOnce(&Proxy)) -> (Agent, Proxy, Bucket, Sample) {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Chaos", size);
    arm(&proxy);
    agent.upload("garage", &sample).await;
    assert_eq!(proxy.faults_left(), 0, "test precondition not met");
    let stem = format!("backups/{}", sample.stem());
    assert!(
        bucket.get(&format!("{stem}.tar")).await == sample.tar,
        "the tar in the bucket differs"
    );
    assert_eq!(
        bucket.json(&format!("{stem}.metadata.json")).await["s3_backup_agent"]["sha256"],
        sample.sha256()
    );
    assert_eq!(bucket.keys().await.len(), 2);
    (agent, proxy, bucket, sample)
}

#[tokio::test]
async fn connection_breaking_between_parts_is_survived() {
    let (_agent, proxy, bucket, _) = upload_survives(20 * MIB, |proxy| {
        proxy.fault(
            |request| request.stores_part(1),
            Fault::CutRequest(3_000_000),
        );
        proxy.fault(|request| request.stores_part(3), Fault::CutRequest(0));
        proxy.fault(
            |request| request.stores_part(3),
            Fault::CutRequest(5_000_000),
        );
    })
    .await;
    assert_eq!(proxy.count(|request| request.stores_part(1)), 2);
    assert_eq!(proxy.count(|request| request.stores_part(3)), 3);
    assert!(bucket.unfinished().await.is_empty());
}

#[tokio::test]
async fn part_with_lost_answer_is_sent_again() {
    let (_agent, proxy, bucket, _) = upload_survives(11 * MIB, |proxy| {
        proxy.fault(|request| request.stores_part(2), Fault::CutAnswer(0));
    })
    .await;
    assert_eq!(proxy.count(|request| request.stores_part(2)), 2);
    assert!(bucket.unfinished().await.is_empty());
}

#[tokio::test]
async fn completion_with_lost_answer_is_confirmed() {
    let (agent, _proxy, bucket, sample) = upload_survives(11 * MIB, |proxy| {
        proxy.fault(Request::completes_multipart, Fault::CutAnswer(0));
    })
    .await;
    assert!(bucket.unfinished().await.is_empty());
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn writes_with_lost_answers_are_retried() {
    upload_survives(40_960, |proxy| {
        proxy.fault(|request| request.writes(".tar"), Fault::CutAnswer(0));
        proxy.fault(|request| request.writes(".tar"), Fault::CutRequest(20_000));
        proxy.fault(
            |request| request.writes(".metadata.json"),
            Fault::CutAnswer(0),
        );
        proxy.fault(|request| request.method == "HEAD", Fault::CutAnswer(0));
    })
    .await;
}

#[tokio::test]
async fn internal_errors_of_the_provider_are_retried() {
    let internal = "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>";
    let slow_down =
        "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let (_agent, _proxy, bucket, _) = upload_survives(11 * MIB, |proxy| {
        proxy.fault(
            Request::starts_multipart,
            Fault::Answer("503 Slow Down", slow_down),
        );
        proxy.fault(
            |request| request.stores_part(1),
            Fault::Answer("500 Internal Server Error", internal),
        );
        proxy.fault(
            |request| request.stores_part(2),
            Fault::Answer("429 Too Many Requests", ""),
        );
        // Amazon may fail this request with status 200.
        proxy.fault(
            Request::completes_multipart,
            Fault::Answer("200 OK", internal),
        );
        proxy.fault(
            |request| request.writes(".metadata.json"),
            Fault::Answer("502 Bad Gateway", "<html>"),
        );
    })
    .await;
    assert!(bucket.unfinished().await.is_empty());
}

#[tokio::test]
async fn refused_upload_leaves_nothing() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let full = "<Error><Code>QuotaExceeded</Code><Message>Bucket quota exceeded.</Message></Error>";
    for broken in 0..3 {
        let sample = Sample::new("a1", "Full", 11 * MIB);
        let answer = Fault::Answer("403 Forbidden", full);
        match broken {
            0 => proxy.fault(|request| request.stores_part(2), answer),
            1 => proxy.fault(Request::completes_multipart, answer),
            _ => proxy.fault(|request| request.writes(".metadata.json"), answer),
        }
        let upload_id = agent.begin("garage", &sample).await;
        let mut sending = agent.sending(&upload_id);
        sending.send(&sample.tar).await;
        let mut last = sending.ended().await;
        if broken > 0 {
            assert_eq!(last.unwrap().status, 200);
            last = Ok(agent.complete(&upload_id, &sample).await);
        }
        if let Ok(answer) = last {
            answer.is_problem(
                507,
                "storage_full",
                &["Bucket quota exceeded", "Free space"],
            );
            assert_eq!(answer.json()["provider_code"], "QuotaExceeded");
        }
        bucket.wait_until_empty().await;
        assert!(agent.listed("garage").await.is_empty());
    }
}

#[tokio::test]
async fn interrupted_download_resumes() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Chaos", 20 * MIB);
    bucket.put_backup("", "b", &sample).await;
    agent.list("garage").await;
    for bytes in [3_000_000, 0, 100, 5_000_000] {
        proxy.fault(|request| request.reads(".tar"), Fault::CutAnswer(bytes));
    }
    proxy.fault(
        |request| request.reads(".tar"),
        Fault::Answer("503 Service Unavailable", ""),
    );
    let answer = agent.download("garage", "a1").await.unwrap();
    assert!(answer.body == sample.tar, "the download differs");
    assert_eq!(proxy.faults_left(), 0, "test precondition not met");
}

#[tokio::test]
async fn interrupted_range_resumes() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Chaos", 12 * MIB);
    bucket.put_backup("", "b", &sample).await;
    agent.list("garage").await;
    proxy.fault(|request| request.reads(".tar"), Fault::CutAnswer(2_000_000));
    let path = crate::lab::call::content_path("garage", "a1");
    let request = agent
        .request(Method::GET, &path)
        .header("range", "bytes=1000-8000000");
    let answer = agent.send(request).await.unwrap();
    assert!(
        answer.status == 206 && answer.body == sample.tar[1000..=8_000_000],
        "the range differs"
    );
    assert_eq!(proxy.faults_left(), 0, "test precondition not met");
}

#[tokio::test]
async fn tar_replaced_during_download_is_never_mixed() {
    let (agent, proxy, bucket) = agent_behind_proxy(|location| location.concurrency = 1).await;
    let (sample, other) = (
        Sample::new("a1", "Old", 20 * MIB),
        Sample::new("b2", "New", 20 * MIB),
    );
    bucket.put_backup("", "b", &sample).await;
    agent.list("garage").await;
    proxy.fault(|request| request.reads(".tar"), Fault::CutAnswer(3_000_000));
    let path = crate::lab::call::content_path("garage", "a1");
    let mut answer = agent.request(Method::GET, &path).send().await.unwrap();
    bucket.put("backups/b.tar", other.tar.clone()).await;
    let mut body = Vec::new();
    let complete = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(!complete, "the download mixes two backups");
    assert!(sample.tar.starts_with(&body));
}

#[tokio::test]
async fn deletion_with_lost_answer_succeeds() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    bucket.put_backup("", "b", &Sample::small("a1")).await;
    agent.list("garage").await;
    proxy.fault(|request| request.method == "DELETE", Fault::CutAnswer(0));
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    bucket.wait_until_empty().await;
    assert_eq!(agent.list("garage").await["backups"], json!([]));
}

#[tokio::test]
async fn partial_deletion_is_finished() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    bucket.put_backup("", "b", &Sample::small("a1")).await;
    agent.list("garage").await;
    let denied = "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>";
    proxy.fault(
        |request| request.deletes(".tar"),
        Fault::Answer("403 Forbidden", denied),
    );
    assert_eq!(
        agent.delete_backup("garage", "a1").await.status,
        204,
        "without its metadata there is no backup"
    );
    assert!(agent.listed("garage").await.is_empty());
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn upload_with_uncertain_start_is_restarted() {
    upload_survives(11 * MIB, |proxy| {
        proxy.fault(Request::starts_multipart, Fault::CutAnswer(0));
        proxy.fault(Request::starts_multipart, Fault::CutRequest(0));
    })
    .await;
}

#[tokio::test]
async fn tar_of_uncertain_commit_is_removed_after_failure() {
    let (agent, proxy, bucket) = agent_behind_proxy(|location| location.outage_seconds = 2).await;
    for (size, writes_tar) in [
        (
            40_960,
            (|request| request.writes(".tar")) as fn(&Request) -> bool,
        ),
        (
            11 * MIB,
            Request::completes_multipart as fn(&Request) -> bool,
        ),
    ] {
        let sample = Sample::new("a1", "Unclear", size);
        let upload_id = agent.received("garage", &sample).await;
        // Every answer is lost, that to a retried completion included.
        for _ in 0..40 {
            proxy.fault(
                move |request| writes_tar(request) || request.method == "HEAD",
                Fault::CutAnswer(0),
            );
        }
        agent
            .complete(&upload_id, &sample)
            .await
            .is_problem(503, "storage_unreachable", &[]);
        bucket.wait_until_empty().await;
        assert!(agent.listed("garage").await.is_empty());
        proxy.forget_faults();
    }
}

#[tokio::test]
async fn refused_replacement_keeps_the_old_backup() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let full = "<Error><Code>QuotaExceeded</Code><Message>Bucket quota exceeded.</Message></Error>";
    let first = Sample::new("a1", "Again", 40_960);
    agent.upload("garage", &first).await;
    let keys = bucket.keys().await;
    let of_tar = |request: &Request| request.writes(".tar") || request.completes_multipart();
    for size in [51_200, 11 * MIB] {
        let second = Sample::new("a1", "Again", size);
        proxy.fault(of_tar, Fault::Answer("403 Forbidden", full));
        let upload_id = agent.received("garage", &second).await;
        agent
            .complete(&upload_id, &second)
            .await
            .is_problem(507, "storage_full", &[]);
        bucket
            .wait_until_keys_are(&keys.iter().map(String::as_str).collect::<Vec<_>>())
            .await;
        assert!(
            agent.download("garage", "a1").await.unwrap().body == first.tar,
            "{size}"
        );
    }
}

#[tokio::test]
async fn cleanup_of_a_failed_upload_spares_the_next_one() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let denied = "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>";
    let busy = "<Error><Code>InternalError</Code><Message>Try again.</Message></Error>";
    let sample = Sample::new("a1", "Late failure", 40_960);
    proxy.fault(
        |request| request.writes(".metadata.json"),
        Fault::Answer("403 Forbidden", denied),
    );
    for _ in 0..3 {
        proxy.fault(
            |request| request.method == "DELETE",
            Fault::Answer("500 Internal Server Error", busy),
        );
    }
    let upload_id = agent.received("garage", &sample).await;
    agent.complete(&upload_id, &sample).await.is_problem(
        502,
        "storage_forbidden",
        &["metadata.json"],
    );
    // The first upload's cleanup is still in progress.
    agent.upload("garage", &sample).await;
    let stem = format!("backups/{}_a1", sample.stem());
    bucket
        .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}
