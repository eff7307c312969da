//! Uploads that wait for storage.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::lab::{Fault, HalfSent, MIB, Request, Sample, Stopwatch, agent_behind_proxy};

#[tokio::test]
async fn waiting_upload_is_shown_as_waiting() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Waiting", 30 * MIB);
    let HalfSent {
        upload_id,
        mut sending,
        mut events,
        rest,
        ..
    } = agent.half_sent("garage", &sample, 1).await;
    proxy.set_away(true);
    let back = async {
        let waits = events
            .until(|event| event["upload_id"] == upload_id && !event["waiting"].is_null())
            .await;
        let shown = waits.last().unwrap();
        assert_eq!(
            (&shown["state"], &shown["error"]),
            (&json!("receiving"), &serde_json::Value::Null),
            "{shown}"
        );
        assert_eq!(shown["waiting"]["code"], "storage_unreachable", "{shown}");
        assert!(shown["waiting"]["since"].as_str().is_some(), "{shown}");
        let listed = agent.get("/v1/uploads").await.json()["uploads"][0]["waiting"].clone();
        assert_eq!(
            (&listed["code"], &listed["since"]),
            (&shown["waiting"]["code"], &shown["waiting"]["since"])
        );
        let location = agent.location("garage").await;
        assert_eq!(
            (&location["status"], &location["error"]["code"]),
            (&json!("error"), &json!("storage_unreachable"))
        );
        proxy.set_away(false);
        let goes_on = events
            .until(|event| event["upload_id"] == upload_id && event["waiting"].is_null())
            .await;
        assert_eq!(goes_on.last().unwrap()["state"], "receiving");
        assert_eq!(agent.location("garage").await["status"], "ok");
    };
    tokio::join!(back, sending.send(&rest));
    assert_eq!(sending.ended().await.unwrap().status, 200);
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

/// The storage is healthy, but a proxy answers for it: the upload waits, a list fails at once.
async fn upload_waits_for(answer: Fault, code: &str) {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    assert_eq!(agent.list("garage").await["stale"], false);
    let sample = Sample::new("a1", "Waiting", 30 * MIB);
    let HalfSent {
        upload_id,
        mut sending,
        mut events,
        rest,
        ..
    } = agent.half_sent("garage", &sample, 1).await;
    for _ in 0..100 {
        proxy.fault(
            |request| request.path.contains("partNumber="),
            answer.clone(),
        );
        proxy.fault(Request::is_list, answer.clone());
    }
    let back = async {
        let waits = events
            .until(|event| event["upload_id"] == upload_id && !event["waiting"].is_null())
            .await;
        assert_eq!(waits.last().unwrap()["waiting"]["code"], code, "{waits:#?}");
        let (watch, asked) = (Stopwatch::start(&agent), proxy.count(Request::is_list));
        let list = agent.refreshed("garage").await;
        watch.assert_below(Duration::from_secs(5), "a list that fails at once");
        assert_eq!(
            (&list["stale"], &list["error"]["code"]),
            (&json!(true), &json!(code))
        );
        assert_eq!(proxy.count(Request::is_list), asked + 1);
        proxy.forget_faults();
    };
    tokio::join!(back, sending.send(&rest));
    assert_eq!(sending.ended().await.unwrap().status, 200);
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn clock_skew_is_waited_out() {
    let skewed = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the \
        current time is too large.</Message></Error>";
    upload_waits_for(Fault::Answer("403 Forbidden", skewed), "clock_skew").await;
}

/// The answer of a reverse proxy that lost its server.
#[tokio::test]
async fn web_page_in_place_of_storage_is_waited_out() {
    upload_waits_for(
        Fault::Answer("404 Not Found", "404 page not found"),
        "storage_error",
    )
    .await;
}

/// The first part is in flight before the multipart upload is created.
#[tokio::test]
async fn outage_before_the_first_part_is_waited_out() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Early", 12 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    proxy.set_away(true);
    let back = async {
        // Longer than a user waits in front of a screen.
        tokio::time::sleep(Duration::from_secs(14)).await;
        proxy.set_away(false);
    };
    let (arrived, ()) = tokio::join!(agent.content(&upload_id, sample.tar.clone()), back);
    assert_eq!(arrived.status, 200, "{arrived:?}");
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
}

/// A proxy cut off from the server reports a new object as missing. An answer to HEAD looks the
/// same from either.
#[tokio::test]
async fn fresh_object_missing_at_first_is_looked_up_again() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    for (id, size) in [("a1", 12 * MIB), ("b2", 40_960)] {
        let sample = Sample::new(id, id, size);
        let upload_id = agent.received("garage", &sample).await;
        // The first lookup tests whether the name is free.
        let looks = AtomicUsize::new(0);
        let is_second = move |request: &Request| {
            request.looks_at(".tar") && looks.fetch_add(1, Ordering::SeqCst) == 1
        };
        proxy.fault(is_second, Fault::Answer("404 Not Found", ""));
        assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
        assert_eq!(proxy.faults_left(), 0);
        assert!(agent.download("garage", id).await.unwrap().body == sample.tar);
    }
    assert_eq!(bucket.keys().await.len(), 4);
}
