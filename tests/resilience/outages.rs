//! Outages: permanent, short, during lists; and full storage.

mod beginning;
mod broken_downloads;
mod waiting;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::lab::call::{content_path, ids};
use crate::lab::garage::away_for;
use crate::lab::swift::Swift;
use crate::lab::{
    Garage, HalfSent, Location, MIB, Request, Sample, Setup, Stopwatch, agent_behind_proxy,
    eventually, garage,
};

#[tokio::test]
async fn upload_survives_restart_of_garage() {
    let garage = Garage::new().await;
    let bucket = garage.bucket().await;
    let agent = Setup::of(Location::of(&bucket)).serve().await;
    let sample = Sample::new("a1", "Patient", 30 * MIB);
    agent
        .upload_through("garage", &sample, away_for(&garage, 3))
        .await;
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

/// As after a power cut, when the router is slower than the agent.
#[tokio::test]
async fn upload_begins_once_the_name_resolves() {
    let bucket = garage::shared().bucket().await;
    let location = Location {
        endpoint: bucket.endpoint.replace("127.0.0.1", "storage.test"),
        ..Location::of(&bucket)
    };
    let hosts = tempfile::NamedTempFile::new().unwrap();
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let mut setup = Setup::of(location);
    // A list of names for the agent alone.
    let mount = format!(
        "mount --bind {} /etc/hosts && exec \"$0\" \"$@\"",
        hosts.path().display()
    );
    setup.before = format!("exec unshare --map-root-user --mount sh -c '{mount}' \"$0\" \"$@\"");
    let agent = setup.serve().await;
    let sample = Sample::new("a1", "Early", 12 * MIB);
    let resolves = async {
        eventually("the name is unknown", async || {
            agent.printed().contains("storage.test") && agent.printed().contains("retrying")
        })
        .await;
        fs::write(&hosts, "127.0.0.1 localhost storage.test\n").unwrap();
    };
    tokio::join!(agent.upload("garage", &sample), resolves);
    let stem = format!("backups/{}", sample.stem());
    bucket.wait_until_only(&stem, &sample).await;
}

/// Swift has four services, and keeps parts as separate objects.
#[tokio::test]
async fn upload_survives_restart_of_swift() {
    let swift = Swift::start();
    let bucket = swift.bucket().await;
    let location = Location {
        provider: "swift".into(),
        ..Location::of(&bucket)
    };
    let agent = Setup::of(location).verbose().serve().await;
    let sample = Sample::new("a1", "Patient", 30 * MIB);
    let away = async {
        swift.kill();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!swift.answers().await, "test precondition not met");
        swift.start_again();
    };
    agent.upload_through("garage", &sample, away).await;
    assert!(
        agent.printed().contains("retrying"),
        "the outage went unnoticed"
    );
    assert!(bucket.get(&format!("backups/{}.tar", sample.stem())).await == sample.tar);
    assert!(bucket.unfinished().await.is_empty());
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn full_directory_keeps_nothing_of_a_failed_upload() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let location = Location::directory(folder.path());
    let mut setup = Setup::of(location);
    // A file system visible to the agent alone.
    let mount = format!("mount -t tmpfs -o size=1m,mode=700 tmpfs {path} && exec \"$0\" \"$@\"");
    setup.before = format!("exec unshare --map-root-user --mount sh -c '{mount}' \"$0\" \"$@\"");
    let agent = setup.serve().await;
    let inside = format!("/proc/{}/root{path}/backups", agent.pid());
    let held = || fs::read_dir(Path::new(&inside)).map_or(0, Iterator::count);
    for size in [2 * MIB, 12 * MIB] {
        let large = Sample::new("a1", "Too large", size);
        let upload_id = agent.begin("disk", &large).await;
        // Content up to one part is written at the end.
        let arrived = agent.content(&upload_id, large.tar.clone()).await;
        let answer = if arrived.status == 200 {
            agent.complete(&upload_id, &large).await
        } else {
            arrived
        };
        answer.is_problem(507, "storage_full", &[&large.stem()]);
        eventually("nothing remains of it", async || held() == 0).await;
    }
    let small = Sample::new("b2", "Small", 100 * 1024);
    agent.upload("disk", &small).await;
    assert_eq!(held(), 2, "it is not on that file system");
    assert_eq!(agent.listed("disk").await, ["b2"]);
    assert!(agent.download("disk", "b2").await.unwrap().body == small.tar);
}

#[tokio::test]
async fn upload_fails_after_outage() {
    let garage = Garage::new().await;
    let bucket = garage.bucket().await;
    let agent = Setup::of(Location {
        outage_seconds: 3,
        ..Location::of(&bucket)
    })
    .serve()
    .await;
    let sample = Sample::new("a1", "Impatient", 30 * MIB);
    let HalfSent {
        mut sending,
        mut events,
        rest,
        ..
    } = agent.half_sent("garage", &sample, 1).await;
    garage.kill();
    sending.send(&rest).await;
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

    // An object that the agent cannot delete during the outage stays unlisted afterwards, and
    // blocks nothing.
    let parts = "could not abort the parts";
    eventually("it fails and reports it", async || {
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
async fn failed_upload_is_cleaned_up_after_outage() {
    let (agent, proxy, bucket) = agent_behind_proxy(|location| location.outage_seconds = 6).await;
    let sample = Sample::new("a1", "Impatient", 30 * MIB);
    let HalfSent {
        mut sending,
        mut events,
        rest,
        ..
    } = agent.half_sent("garage", &sample, 1).await;
    proxy.set_away(true);
    sending.send(&rest).await;
    events.upload("failed").await;
    assert_eq!(
        bucket.unfinished().await.len(),
        1,
        "test precondition not met"
    );
    proxy.set_away(false);
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn download_fails_visibly_after_outage() {
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
        "{received} bytes arrived as a complete download"
    );
    proxy.set_away(false);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn stale_list_is_served_during_outage() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::small("a1");
    bucket.put_backup("", "x", &sample).await;
    assert_eq!(agent.list("garage").await["stale"], false);
    let mut events = agent.events().await;
    proxy.set_away(true);
    let watch = Stopwatch::start(&agent);
    let list = agent.refreshed("garage").await;
    watch.assert_below(Duration::from_secs(22), "a list during the outage");
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
        "a cached state says nothing about the bucket"
    );

    proxy.set_away(false);
    let list = agent.refreshed("garage").await;
    assert_eq!(
        (&list["stale"], &list["error"]),
        (&json!(false), &serde_json::Value::Null)
    );
    // The initial state, then one change to error and one back, without flapping.
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
async fn silent_bucket_blocks_callers_only_briefly() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    bucket.put_backup("", "x", &Sample::small("a1")).await;
    agent.list("garage").await;
    let _held = [proxy.hold(Request::is_list), proxy.hold(Request::is_list)];
    let watch = Stopwatch::start(&agent);
    let (refreshed, listed) = tokio::join!(agent.refreshed("garage"), agent.list("garage"));
    watch.assert_below(Duration::from_secs(25), "lists of a silent bucket");
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
async fn outage_without_cached_list_returns_the_error() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    proxy.set_away(true);
    let answer = agent.get("/v1/locations/garage/backups").await;
    answer.is_problem(503, "storage_unreachable", &["endpoint"]);
    proxy.set_away(false);
    assert_eq!(agent.list("garage").await["backups"], json!([]));
}
