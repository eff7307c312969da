//! Storage that goes away in the middle: for good, for a moment, while listing; or that is full.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::lab::call::{content_path, ids};
use crate::lab::garage::away_for;
use crate::lab::swift::Swift;
use crate::lab::{
    Fault, Garage, Location, MIB, Request, Sample, Setup, agent_behind_proxy, eventually, garage,
};

#[tokio::test]
async fn an_upload_sits_out_a_restart_of_the_server() {
    let garage = Garage::new().await;
    let bucket = garage.bucket().await;
    let agent = Setup::of(Location::of(&bucket)).serve().await;
    let mut events = agent.events().await;
    let sample = Sample::new("a1", "Patient", 30 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() > Some(0))
        .await;
    let rest = sample.tar.slice(12 * 1024 * 1024..);
    tokio::join!(away_for(&garage, 3), sending.send(&rest));
    let arrived = sending.ended().await.unwrap();
    assert_eq!(
        (arrived.status, &arrived.json()["sha256"]),
        (200, &json!(sample.sha256())),
        "{arrived:?}"
    );
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
    assert!(bucket.get(&format!("backups/{}.tar", sample.stem())).await == sample.tar);
    assert!(bucket.unfinished().await.is_empty());

    // And once more on the way back.
    let mut answer = agent
        .request(http::Method::GET, &content_path("garage", "a1"))
        .send()
        .await
        .unwrap();
    let mut body = answer.chunk().await.unwrap().unwrap().to_vec();
    garage.kill();
    let rest = async {
        while let Some(chunk) = answer.chunk().await.unwrap() {
            body.extend_from_slice(&chunk);
        }
    };
    let back = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        garage.start().await;
    };
    tokio::join!(rest, back);
    assert!(body == sample.tar, "the download differs after the restart");
}

/// Its storage is another maker's: four services, which keep parts as objects of their own.
#[tokio::test]
async fn an_upload_sits_out_a_restart_of_swift() {
    let swift = Swift::start();
    let bucket = swift.bucket().await;
    let location = Location {
        provider: "swift".into(),
        ..Location::of(&bucket)
    };
    let agent = Setup::of(location).serve().await;
    let mut events = agent.events().await;
    let sample = Sample::new("a1", "Patient", 30 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() > Some(0))
        .await;
    let away = async {
        swift.kill();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!swift.answers().await, "the test would prove nothing");
        swift.start_again();
    };
    let rest = sample.tar.slice(12 * 1024 * 1024..);
    tokio::join!(away, sending.send(&rest));
    let arrived = sending.ended().await.unwrap();
    assert_eq!(
        (arrived.status, &arrived.json()["sha256"]),
        (200, &json!(sample.sha256())),
        "{arrived:?}"
    );
    assert!(agent.printed().contains("retrying"), "it did not notice");
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
    assert!(bucket.get(&format!("backups/{}.tar", sample.stem())).await == sample.tar);
    assert!(bucket.unfinished().await.is_empty());
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn a_directory_that_is_full_keeps_nothing_of_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let location = Location {
        id: "disk".into(),
        provider: String::new(),
        endpoint: format!("file://{path}"),
        region: String::new(),
        bucket: String::new(),
        key_id: String::new(),
        secret: String::new(),
        ..Location::of(&garage::shared().bucket().await)
    };
    let mut setup = Setup::of(location);
    // A file system that the agent alone sees.
    let mount = format!("mount -t tmpfs -o size=1m,mode=700 tmpfs {path} && exec \"$0\" \"$@\"");
    setup.before = format!("exec unshare --map-root-user --mount sh -c '{mount}' \"$0\" \"$@\"");
    let agent = setup.serve().await;
    let inside = format!("/proc/{}/root{path}/backups", agent.pid());
    let held = || fs::read_dir(Path::new(&inside)).map_or(0, Iterator::count);
    for size in [2 * MIB, 12 * MIB] {
        let large = Sample::new("a1", "Too large", size);
        let upload_id = agent.begin("disk", &large).await;
        // What is no larger than a part is written at the end.
        let arrived = agent.content(&upload_id, large.tar.clone()).await;
        let answer = if arrived.status == 200 {
            agent.complete(&upload_id, &large).await
        } else {
            arrived
        };
        answer.is_problem(507, "storage_full", &[&large.stem()]);
        eventually("nothing of it is left", async || held() == 0).await;
    }
    let small = Sample::new("b2", "Small", 100 * 1024);
    agent.upload("disk", &small).await;
    assert_eq!(held(), 2, "it is not on that file system");
    assert_eq!(agent.listed("disk").await, ["b2"]);
    assert!(agent.download("disk", "b2").await.unwrap().body == small.tar);
}

#[tokio::test]
async fn an_upload_ends_with_an_error_when_the_server_stays_away() {
    let garage = Garage::new().await;
    let bucket = garage.bucket().await;
    let agent = Setup::of(Location {
        outage_seconds: 3,
        ..Location::of(&bucket)
    })
    .serve()
    .await;
    let mut events = agent.events().await;
    let sample = Sample::new("a1", "Impatient", 30 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() > Some(0))
        .await;
    garage.kill();
    sending.send(&sample.tar.slice(12 * 1024 * 1024..)).await;
    if let Ok(answer) = sending.ended().await {
        answer.is_problem(503, "storage_unreachable", &[&bucket.endpoint, "endpoint"]);
        assert_eq!(answer.json()["retryable"], true);
    }
    let failed = events.upload("failed").await;
    assert_eq!(failed["error"]["code"], "storage_unreachable", "{failed}");
    let shown = agent.location("garage").await;
    assert_eq!(
        (&shown["status"], &shown["error"]["code"]),
        (&json!("error"), &json!("storage_unreachable"))
    );
    agent
        .create("garage", &sample)
        .await
        .is_problem(503, "storage_unreachable", &[]);

    // What the agent may not touch while the server is away is invisible when it is back, and in nobody's way.
    let parts = "are left behind";
    eventually("it gives up, and says so", async || {
        agent.printed().contains(parts)
    })
    .await;
    garage.start().await;
    assert!(agent.listed("garage").await.is_empty());
    agent.upload("garage", &sample).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    assert_eq!(agent.location("garage").await["status"], "ok");
}

#[tokio::test]
async fn a_failed_upload_is_cleaned_up_when_the_server_is_back_in_time() {
    let (agent, proxy, bucket) = agent_behind_proxy(|location| location.outage_seconds = 6).await;
    let mut events = agent.events().await;
    let sample = Sample::new("a1", "Impatient", 30 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() > Some(0))
        .await;
    proxy.set_away(true);
    sending.send(&sample.tar.slice(12 * 1024 * 1024..)).await;
    events.upload("failed").await;
    assert_eq!(
        bucket.unfinished().await.len(),
        1,
        "the test would prove nothing"
    );
    proxy.set_away(false);
    bucket.comes_to_be_empty().await;
}

#[tokio::test]
async fn a_download_breaks_loudly_when_the_server_stays_away() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|location| {
        location.outage_seconds = 2;
        location.concurrency = 1;
    })
    .await;
    let sample = Sample::new("a1", "Cut", 30 * MIB);
    agent.upload("garage", &sample).await;
    let mut answer = agent
        .request(http::Method::GET, &content_path("garage", "a1"))
        .send()
        .await
        .unwrap();
    let mut received = answer.chunk().await.unwrap().unwrap().len();
    proxy.set_away(true);
    let broke = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => received += chunk.len(),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(
        broke && received < sample.tar.len(),
        "{received} bytes came as if that were all"
    );
    proxy.set_away(false);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn the_last_good_list_is_served_while_the_bucket_is_away() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::small("a1");
    bucket.put_backup("", "x", &sample).await;
    assert_eq!(agent.list("garage").await["stale"], false);
    let mut events = agent.events().await;
    proxy.set_away(true);
    let start = Instant::now();
    let list = agent.refreshed("garage").await;
    assert!(start.elapsed().as_secs() < 22, "{:?}", start.elapsed());
    assert_eq!(
        (&list["stale"], ids(&list)),
        (&json!(true), vec!["a1".to_owned()])
    );
    assert_eq!(list["error"]["code"], "storage_unreachable");
    assert!(list["error"]["hint"].as_str().unwrap().contains("endpoint"));
    let shown = agent.location("garage").await;
    assert_eq!(
        (&shown["status"], &shown["error"]["code"]),
        (&json!("error"), &json!("storage_unreachable"))
    );
    assert_eq!(
        agent.get("/v1/locations/garage/backups/a1").await.status,
        200
    );
    assert_eq!(
        agent.location("garage").await["status"],
        "error",
        "what is remembered says nothing of the bucket"
    );

    proxy.set_away(false);
    let list = agent.refreshed("garage").await;
    assert_eq!(
        (&list["stale"], &list["error"]),
        (&json!(false), &serde_json::Value::Null)
    );
    // As it stood at first; then it went to error once and back once, without flapping in between.
    let mut states = Vec::new();
    while states.last().is_none_or(|last| last != "ok") || states.len() < 3 {
        let event = events
            .until(|event| event["type"] == "location")
            .await
            .pop()
            .unwrap();
        states.push(event["location"]["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(states, ["ok", "error", "ok"]);
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_keeps_nobody_waiting_for_long() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    bucket.put_backup("", "x", &Sample::small("a1")).await;
    agent.list("garage").await;
    let _held = [proxy.hold(Request::is_list), proxy.hold(Request::is_list)];
    let start = Instant::now();
    let (refreshed, listed) = tokio::join!(agent.refreshed("garage"), agent.list("garage"));
    assert!(start.elapsed().as_secs() < 25, "{:?}", start.elapsed());
    assert_eq!(
        (&refreshed["stale"], &refreshed["error"]["code"]),
        (&json!(true), &json!("storage_timeout"))
    );
    assert_eq!(
        (ids(&refreshed), ids(&listed)),
        (vec!["a1".to_owned()], vec!["a1".to_owned()])
    );
}

#[tokio::test]
async fn without_an_earlier_list_the_error_is_the_answer() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    proxy.set_away(true);
    let answer = agent.get("/v1/locations/garage/backups").await;
    answer.is_problem(503, "storage_unreachable", &["endpoint"]);
    proxy.set_away(false);
    assert_eq!(agent.list("garage").await["backups"], json!([]));
}

#[tokio::test]
async fn who_waits_for_storage_is_shown_to_wait() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let mut events = agent.events().await;
    let sample = Sample::new("a1", "Waiting", 30 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() > Some(0))
        .await;
    proxy.set_away(true);
    let rest = sample.tar.slice(12 * 1024 * 1024..);
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

/// The storage itself is well, and what is between answers in its place: the same upload waits for it, and who looks at a
/// list does not.
async fn is_waited_for(answer: Fault, code: &str) {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    assert_eq!(agent.list("garage").await["stale"], false);
    let mut events = agent.events().await;
    let sample = Sample::new("a1", "Waiting", 30 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() > Some(0))
        .await;
    for _ in 0..100 {
        proxy.fault(
            |request| request.path.contains("partNumber="),
            answer.clone(),
        );
        proxy.fault(Request::is_list, answer.clone());
    }
    let rest = sample.tar.slice(12 * 1024 * 1024..);
    let back = async {
        let waits = events
            .until(|event| event["upload_id"] == upload_id && !event["waiting"].is_null())
            .await;
        assert_eq!(waits.last().unwrap()["waiting"]["code"], code, "{waits:#?}");
        let (start, asked) = (Instant::now(), proxy.count(Request::is_list));
        let list = agent.refreshed("garage").await;
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
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
async fn a_clock_that_is_off_is_waited_for() {
    let skewed = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the \
        current time is too large.</Message></Error>";
    is_waited_for(Fault::Answer("403 Forbidden", skewed), "clock_skew").await;
}

/// As a reverse proxy says it that has lost its server.
#[tokio::test]
async fn a_page_where_the_storage_was_is_waited_for() {
    is_waited_for(
        Fault::Answer("404 Not Found", "404 page not found"),
        "storage_error",
    )
    .await;
}

/// The first part is on its way before the bucket is asked for an upload in parts.
#[tokio::test]
async fn storage_that_goes_away_before_the_first_part_is_waited_for() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Early", 12 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    proxy.set_away(true);
    let back = async {
        // Longer than a person in front of a screen would wait.
        tokio::time::sleep(Duration::from_secs(14)).await;
        proxy.set_away(false);
    };
    let (arrived, ()) = tokio::join!(agent.content(&upload_id, sample.tar.clone()), back);
    assert_eq!(arrived.status, 200, "{arrived:?}");
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
}

/// A proxy that does not reach the server says that what was just stored is not there, and nothing in an answer to HEAD
/// tells that from the server's own word.
#[tokio::test]
async fn what_was_just_stored_is_looked_for_again() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    for (id, size) in [("a1", 12 * MIB), ("b2", 40_960)] {
        let sample = Sample::new(id, id, size);
        let upload_id = agent.begin("garage", &sample).await;
        assert_eq!(
            agent.content(&upload_id, sample.tar.clone()).await.status,
            200
        );
        // The first look is whether the name is free.
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
