//! Uploads that begin while storage is away: they wait as long as those that it leaves in the middle.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::lab::{
    Agent, Bucket, Fault, HalfSent, Location, MIB, Proxy, Sample, Setup, Stopwatch,
    agent_behind_proxy, eventually, garage,
};

/// Bound for the answer to an announcement.
const ANNOUNCED_WITHIN: Duration = Duration::from_mins(1);

/// When a waiting upload is shown, with room for a busy machine.
const SHOWN_WITHIN: Duration = Duration::from_secs(12);

/// More requests than an upload makes while storage is away.
const MANY: usize = 500;

/// Answers every request in place of the server, until the faults are forgotten.
fn answer_all(proxy: &Proxy, answer: &Fault) {
    for _ in 0..MANY {
        proxy.fault(|_| true, answer.clone());
    }
}

fn mend(proxy: &Proxy) {
    proxy.set_away(false);
    proxy.forget_faults();
}

/// An upload that begins while `breaks` is in effect, and ends well after `mends`.
async fn begins_during(codes: &[&str], breaks: impl FnOnce(&Proxy), mends: impl FnOnce(&Proxy)) {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Early", 12 * MIB);
    let mut events = agent.events().await;
    breaks(&proxy);
    let watch = Stopwatch::start(&agent);
    let shown = async {
        let shown = events.until(|event| !event["waiting"].is_null()).await;
        watch.assert_below(SHOWN_WITHIN, "the news that the upload waits");
        let shown = shown.last().unwrap().clone();
        assert_eq!(
            (&shown["state"], &shown["error"]),
            (&json!("receiving"), &json!(null)),
            "{shown}"
        );
        let code = shown["waiting"]["code"].as_str().unwrap();
        assert!(codes.contains(&code), "{shown}");
        assert!(shown["waiting"]["since"].is_string(), "{shown}");
        eventually("the log tells of it", async || {
            agent.printed().contains("retrying for up to 1 min")
        })
        .await;
        shown
    };
    let (created, shown) = tokio::join!(agent.create("garage", &sample), shown);
    watch.assert_below(ANNOUNCED_WITHIN, "the answer to an announcement");
    assert_eq!(created.status, 201, "{created:?}");
    let created = created.json();
    assert_eq!(created["upload_id"], shown["upload_id"]);
    assert_eq!(
        (&created["part_size"], &created["stored_bytes"]),
        (&json!(5 * MIB), &json!(0))
    );
    let upload_id = created["upload_id"].as_str().unwrap();
    let sending = agent.sending(upload_id);
    mends(&proxy);
    ends_well(&agent, &bucket, &sample, upload_id, sending).await;
    let keys = bucket.keys().await;
    assert!(keys.iter().any(|key| created["key"] == **key), "{keys:?}");
    assert_eq!(agent.location("garage").await["status"], "ok");
}

async fn ends_well(
    agent: &Agent,
    bucket: &Bucket,
    sample: &Sample,
    upload_id: &str,
    mut sending: crate::lab::call::Sending,
) {
    sending.send(&sample.tar).await;
    let arrived = sending.ended().await.unwrap();
    assert_eq!(arrived.status, 200, "{arrived:?}");
    assert_eq!(agent.complete(upload_id, sample).await.status, 200);
    assert!(agent.download("garage", sample.id()).await.unwrap().body == sample.tar);
    assert!(bucket.unfinished().await.is_empty());
}

#[tokio::test]
async fn upload_begins_while_storage_refuses_connections() {
    begins_during(&["storage_unreachable"], |proxy| proxy.set_away(true), mend).await;
}

#[tokio::test]
async fn upload_begins_while_storage_answers_503() {
    let page = Fault::Answer("503 Service Unavailable", "<html>maintenance</html>");
    begins_during(
        &["storage_throttled", "storage_unreachable"],
        |proxy| answer_all(proxy, &page),
        mend,
    )
    .await;
}

#[tokio::test]
async fn upload_begins_while_storage_throttles() {
    let slow =
        "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let slow = Fault::Answer("503 Slow Down", slow);
    begins_during(
        &["storage_throttled"],
        |proxy| answer_all(proxy, &slow),
        mend,
    )
    .await;
}

#[tokio::test]
async fn upload_begins_before_the_clock_is_set() {
    let skewed = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the \
        current time is too large.</Message></Error>";
    let skewed = Fault::Answer("403 Forbidden", skewed);
    begins_during(&["clock_skew"], |proxy| answer_all(proxy, &skewed), mend).await;
}

#[tokio::test]
async fn upload_begins_while_storage_hangs() {
    let gate = Arc::new(Semaphore::new(0));
    let hangs = Fault::Hold(Arc::clone(&gate));
    begins_during(
        &["storage_timeout"],
        |proxy| answer_all(proxy, &hangs),
        |proxy| {
            mend(proxy);
            gate.add_permits(MANY);
        },
    )
    .await;
}

#[tokio::test]
async fn refused_key_fails_an_announcement_at_once() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    answer_all(&proxy, &Fault::Answer("403 Forbidden", denied));
    let watch = Stopwatch::start(&agent);
    let answer = agent.create("garage", &Sample::small("a1")).await;
    watch.assert_below(Duration::from_secs(3), "the answer to a refused key");
    answer.is_problem(502, "storage_forbidden", &[]);
    assert_eq!(agent.get("/v1/uploads").await.json()["uploads"], json!([]));
}

/// A name that does not resolve; the sender has no answer yet when it leaves, or waits with its content.
#[tokio::test]
async fn waiting_upload_is_cancelled_at_once() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::of(Location {
        endpoint: "http://storage.invalid:3900".into(),
        outage_seconds: 600,
        ..Location::of(&bucket)
    })
    .serve()
    .await;
    let sample = Sample::small("a1");
    let uploads = async || agent.get("/v1/uploads").await.json()["uploads"].clone();

    let leaves = tokio::time::timeout(Duration::from_secs(2), agent.create("garage", &sample));
    assert!(leaves.await.is_err(), "test precondition not met");
    eventually("the upload of a sender that left ends", async || {
        uploads().await == json!([])
    })
    .await;

    let upload_id = agent.begin("garage", &sample).await;
    assert_eq!(
        uploads().await[0]["waiting"]["reason"],
        "host_unknown",
        "{:#}",
        uploads().await
    );
    let cancel = async {
        eventually("the content waits", async || {
            agent.complete(&upload_id, &sample).await.status == 400
        })
        .await;
        let watch = Stopwatch::start(&agent);
        assert_eq!(agent.cancel(&upload_id).await.status, 204);
        watch
    };
    let content = agent.content(&upload_id, sample.tar.clone());
    let (answer, watch) = tokio::join!(content, cancel);
    watch.assert_below(Duration::from_secs(3), "a cancellation");
    answer.is_problem(409, "cancelled", &[]);
    assert_eq!(uploads().await, json!([]));
}

/// The error of an upload whose name was not found in time waits for the next call.
#[tokio::test]
async fn outage_longer_than_the_upload_waits_is_told_to_the_sender() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|location| location.outage_seconds = 45).await;
    let sample = Sample::small("a1");
    let mut events = agent.events().await;
    proxy.set_away(true);
    let upload_id = agent.begin("garage", &sample).await;
    let failed = events.upload("failed").await;
    assert_eq!(failed["error"]["code"], "storage_unreachable", "{failed}");
    let answer = agent.content(&upload_id, sample.tar.clone()).await;
    answer.is_problem(503, "storage_unreachable", &["endpoint"]);
    assert_eq!(agent.get("/v1/uploads").await.json()["uploads"], json!([]));
    proxy.set_away(false);
    agent.upload("garage", &sample).await;
}

#[tokio::test]
async fn interrupted_upload_resumes_when_storage_is_back() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Resumed", 30 * MIB);
    let HalfSent { sending, .. } = agent.half_sent("garage", &sample, 2).await;
    sending.gone().await;
    agent.suspended().await;
    let sent = proxy.part_bytes();
    let mut events = agent.events().await;
    proxy.set_away(true);
    let upload_id = agent.begin("garage", &sample).await;
    let sending = agent.sending(&upload_id);
    mend(&proxy);
    ends_well(&agent, &bucket, &sample, &upload_id, sending).await;
    let complete = events.upload("complete").await;
    assert!(
        complete["resumed_bytes"].as_u64().unwrap() >= 5 * MIB,
        "{complete}"
    );
    assert!(proxy.part_bytes() - sent < sample.tar.len() as u64);
}

/// Both want the same name, and neither can see the other in the bucket.
#[tokio::test]
async fn uploads_that_wait_together_get_two_names() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let samples = ["a1", "b2"].map(|id| Sample::new(id, "Twins", 40_960));
    proxy.set_away(true);
    let [one, other] = &samples;
    let announced = async |sample| {
        let answer = agent.create_named("garage", sample, "Twins.tar").await;
        answer.json()["upload_id"].as_str().unwrap().to_owned()
    };
    let uploads = tokio::join!(announced(one), announced(other));
    mend(&proxy);
    for (sample, upload_id) in samples.iter().zip([uploads.0, uploads.1]) {
        let sending = agent.sending(&upload_id);
        ends_well(&agent, &bucket, sample, &upload_id, sending).await;
    }
    assert_eq!(bucket.keys().await.len(), 4);
}

#[tokio::test]
async fn command_line_waits_for_storage() {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let behind = |id: &str, prefix: &str| Location {
        id: id.into(),
        prefix: prefix.into(),
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    };
    let setup = Setup::with([behind("garage", ""), behind("other", "other")]);
    let sample = Sample::small("a1");
    let file = setup.path("a1.tar");
    fs::write(&file, &sample.tar).unwrap();
    for arguments in [
        ["upload", "garage", file.to_str().unwrap()],
        ["copy", "garage", "other"],
    ] {
        proxy.set_away(true);
        let back = async {
            // Longer than a user waits in front of a screen.
            tokio::time::sleep(Duration::from_secs(14)).await;
            proxy.set_away(false);
        };
        let (ran, ()) = tokio::join!(setup.run(&arguments), back);
        let told = ran.stderr.matches("retrying for up to 1 min").count();
        let locations = arguments.iter().filter(|it| setup.has(it)).count();
        assert_eq!(told, locations, "once for each location: {}", ran.stderr);
        ran.ended_with(0);
    }
    assert_eq!(bucket.keys().await.len(), 4);
}
