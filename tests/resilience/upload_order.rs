//! Upload calls in unusual order: cancelled, restarted, repeated, never finished.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::lab::{
    Fault, HalfSent, Location, MIB, Request, Sample, Setup, agent_and_bucket, agent_behind_proxy,
    eventually, garage,
};

#[tokio::test]
async fn upload_is_cancelled_in_flight() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Cancelled", 20 * MIB);
    let HalfSent {
        upload_id,
        sending,
        mut events,
        ..
    } = agent.half_sent("garage", &sample, 1).await;
    assert_eq!(agent.cancel(&upload_id).await.status, 204);
    if let Ok(answer) = sending.ended().await {
        answer.is_problem(409, "cancelled", &["cancelled"]);
    }
    let ended = events.upload("cancelled").await;
    assert_eq!(ended["error"]["code"], "cancelled", "{ended}");
    agent
        .cancel(&upload_id)
        .await
        .is_problem(404, "upload_not_found", &[]);
    bucket.wait_until_empty().await;
    assert!(agent.listed("garage").await.is_empty());
}

#[tokio::test]
async fn upload_is_cancelled_before_and_after_its_content() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in [40_960, 11 * MIB] {
        let sample = Sample::new("a1", "Cancelled", size);
        let before = agent.begin("garage", &sample).await;
        assert_eq!(agent.cancel(&before).await.status, 204);
        let after = agent.begin("garage", &sample).await;
        assert_eq!(agent.content(&after, sample.tar.clone()).await.status, 200);
        assert_eq!(agent.cancel(&after).await.status, 204);
        for upload_id in [before, after] {
            agent
                .complete(&upload_id, &sample)
                .await
                .is_problem(404, "upload_not_found", &[]);
        }
        bucket.wait_until_empty().await;
    }
}

#[tokio::test]
async fn upload_cancelled_at_start_leaves_nothing() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Cancelled", 11 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let gate = Arc::new(Semaphore::new(0));
    proxy.fault(
        Request::starts_multipart,
        Fault::HoldAnswer(Arc::clone(&gate)),
    );
    let mut sending = agent.sending(&upload_id);
    let cancelled = async {
        eventually("the server has started the upload", async || {
            !bucket.unfinished().await.is_empty()
        })
        .await;
        agent.cancel(&upload_id).await
    };
    let (answer, ()) = tokio::join!(cancelled, sending.send(&sample.tar));
    assert_eq!(answer.status, 204);
    drop(sending.ended().await);
    gate.add_permits(1);
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn upload_cancelled_during_commit_is_stored_or_gone() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Cancelled", 11 * MIB);
    let upload_id = agent.received("garage", &sample).await;
    let gate = proxy.hold(Request::completes_multipart);
    let cancelled = async {
        eventually("the upload completes", async || proxy.faults_left() == 0).await;
        let cancelling = agent.cancel(&upload_id);
        let release = async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            gate.add_permits(1);
        };
        tokio::join!(cancelling, release).0
    };
    let (completed, cancelled) = tokio::join!(agent.complete(&upload_id, &sample), cancelled);
    let (completed, cancelled) = (completed.status == 200, cancelled.status == 204);
    assert_ne!(completed, cancelled, "both or neither sender succeeded");
    assert_eq!(agent.listed("garage").await.len(), usize::from(completed));
    if completed {
        assert!(bucket.unfinished().await.is_empty());
    } else {
        bucket.wait_until_empty().await;
    }
}

#[tokio::test]
async fn second_upload_of_a_backup_supersedes_the_first() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Twice", 20 * MIB);
    let HalfSent {
        upload_id: first,
        sending,
        mut events,
        ..
    } = agent.half_sent("garage", &sample, 1).await;
    let second = agent.begin("garage", &sample).await;
    assert_ne!(first, second);
    if let Ok(answer) = sending.ended().await {
        answer.is_problem(409, "cancelled", &[]);
    }
    assert_eq!(events.upload("cancelled").await["upload_id"], first);
    agent
        .complete(&first, &sample)
        .await
        .is_problem(404, "upload_not_found", &[]);
    assert_eq!(agent.content(&second, sample.tar.clone()).await.status, 200);
    assert_eq!(agent.complete(&second, &sample).await.status, 200);
    assert_eq!(agent.listed("garage").await, ["a1"]);
    let stem = format!("backups/{}", sample.stem());
    bucket
        .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
}

#[tokio::test]
async fn concurrent_backups_of_one_name_are_both_kept() {
    let (agent, _bucket) = agent_and_bucket().await;
    let samples = [Sample::small("a1"), Sample::small("b2")];
    let mut uploads = Vec::new();
    for sample in &samples {
        let upload_id = agent.received("garage", sample).await;
        uploads.push(upload_id);
    }
    for (sample, upload_id) in samples.iter().zip(&uploads) {
        assert_eq!(agent.complete(upload_id, sample).await.status, 200);
    }
    assert_eq!(agent.listed("garage").await, ["a1", "b2"]);
    for sample in samples {
        assert!(agent.download("garage", sample.id()).await.unwrap().body == sample.tar);
    }
}

#[tokio::test]
async fn out_of_order_calls_are_refused_harmlessly() {
    let (agent, _bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Order", 20 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    agent.complete(&upload_id, &sample).await.is_problem(
        400,
        "invalid_request",
        &["not arrived yet"],
    );
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..6 * 1024 * 1024)).await;
    let again = agent.content(&upload_id, "x").await;
    again.is_problem(400, "invalid_request", &["being received already"]);
    sending.send(&sample.tar.slice(6 * 1024 * 1024..)).await;
    assert_eq!(sending.ended().await.unwrap().status, 200);
    agent
        .content(&upload_id, "x")
        .await
        .is_problem(400, "invalid_request", &["arrived already"]);
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
    agent
        .complete(&upload_id, &sample)
        .await
        .is_problem(404, "upload_not_found", &[]);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn client_disconnect_during_commit_keeps_the_backup() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::small("a1");
    let upload_id = agent.received("garage", &sample).await;
    let gate = proxy.hold(|request| request.writes(".metadata.json"));
    let body = json!({"size": sample.size(), "crc32": sample.crc32()});
    let request = agent
        .request(
            http::Method::POST,
            &format!("/v1/uploads/{upload_id}/complete"),
        )
        .json(&body);
    let completing = tokio::spawn(request.send());
    eventually("the metadata is written", async || proxy.faults_left() == 0).await;
    completing.abort();
    gate.add_permits(1);
    eventually("the backup exists", async || {
        agent.listed("garage").await == ["a1"]
    })
    .await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn uploads_beyond_the_limit_are_refused_until_one_ends() {
    let bucket = garage::shared().bucket().await;
    let folder = |prefix: String| Location {
        id: prefix.clone(),
        prefix,
        ..Location::of(&bucket)
    };
    let agent = Setup::with((0..5).map(|number| folder(format!("f{number}"))))
        .serve()
        .await;
    let mut begun = Vec::new();
    for index in 0..16 {
        begun.push(
            agent
                .begin(
                    &format!("f{}", index / 4),
                    &Sample::small(&format!("id{index}")),
                )
                .await,
        );
    }
    // The slots of one location are full, and then those of all together.
    let next = Sample::small("next");
    for location in ["f0", "f4"] {
        agent.create(location, &next).await.is_problem(
            503,
            "too_many_uploads",
            &["4 to one location", "16 in total", "another upload"],
        );
    }
    assert_eq!(agent.cancel(&begun[3]).await.status, 204);
    agent.upload("f0", &next).await;
    assert_eq!(agent.listed("f0").await, ["next"]);
    assert_eq!(bucket.keys().await.len(), 2);
}

#[tokio::test]
async fn name_with_oversized_metadata_counts_as_taken() {
    let (agent, bucket) = agent_and_bucket().await;
    let (sample, huge) = (Sample::small("a1"), vec![b' '; 2 * 1024 * 1024]);
    let taken = format!("backups/{}.metadata.json", sample.stem());
    bucket.put(&taken, huge.clone()).await;
    agent.upload("garage", &sample).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    assert!(bucket.get(&taken).await == huge, "it was overwritten");
    assert_eq!(bucket.keys().await.len(), 3);
}
