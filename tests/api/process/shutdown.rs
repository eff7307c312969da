//! Graceful shutdown.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use crate::lab::{
    Location, MIB, Proxy, Sample, Setup, agent_and_bucket, agent_behind_proxy, eventually, garage,
};

#[tokio::test]
async fn shutdown_is_immediate_when_idle_and_removes_the_socket() {
    for signal in ["TERM", "INT", "HUP"] {
        let (mut agent, _bucket) = agent_and_bucket().await;
        let mut events = agent.events().await;
        agent.upload("garage", &Sample::small("a1")).await;
        let start = Instant::now();
        agent.signal(signal);
        while events.next().await.is_some() {}
        assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
        // Far below the ten seconds that a container is given.
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{:?}",
            start.elapsed()
        );
        assert!(!agent.setup.socket().exists());
    }
}

/// As `nohup` starts it: the terminal's end is none of its business.
#[tokio::test]
async fn ignored_hangup_stops_nothing() {
    let bucket = garage::shared().bucket().await;
    let mut setup = Setup::of(Location::of(&bucket));
    setup.before = "trap '' HUP".into();
    let mut agent = setup.serve().await;
    agent.signal("HUP");
    agent.upload("garage", &Sample::small("a1")).await;
    assert!(!agent.printed().contains("shutting down"));
    agent.signal("TERM");
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
}

/// A terminal that closes in the middle of a command.
#[tokio::test]
async fn hangup_cleans_up_after_a_command() {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let setup = Setup::of(Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    });
    let sample = Sample::new("a1", "Left", 30 * MIB);
    let file = setup.path("a1.tar");
    std::fs::write(&file, &sample.tar).unwrap();
    let gate = proxy.hold(|request| request.stores_part(3));
    let mut command = setup.command();
    command.args(["upload", "garage", file.to_str().unwrap()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    eventually("a part is in flight", async || proxy.faults_left() == 0).await;
    assert_eq!(
        bucket.unfinished().await.len(),
        1,
        "test precondition not met"
    );
    let hangup = format!("kill -HUP {}", process.id());
    let sent = Command::new("sh").args(["-c", &hangup]).status();
    assert!(sent.unwrap().success());
    let ended = tokio::task::spawn_blocking(move || process.wait().unwrap()).await;
    assert_eq!(ended.unwrap().code(), Some(1));
    assert!(bucket.unfinished().await.is_empty());
    drop(gate);
}

#[tokio::test]
async fn shutdown_lets_a_committing_upload_finish() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::small("a1");
    let upload_id = agent.received("garage", &sample).await;
    let gate = proxy.hold(|request| request.writes(".metadata.json"));
    let stop = async {
        eventually("the metadata is written", async || proxy.faults_left() == 0).await;
        agent.signal("TERM");
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.add_permits(1);
    };
    let (completed, ()) = tokio::join!(agent.complete(&upload_id, &sample), stop);
    assert_eq!(completed.status, 200, "{completed:?}");
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
    assert_eq!(bucket.keys().await.len(), 2);
}

#[tokio::test]
async fn shutdown_completes_at_the_connection_limit() {
    let (mut agent, _bucket) = agent_and_bucket().await;
    // Silent connections; one more than the agent serves concurrently.
    let mut clients = Vec::new();
    for _ in 0..129 {
        clients.push(UnixStream::connect(agent.setup.socket()).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    agent.signal("TERM");
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn shutdown_breaks_downloads_visibly() {
    let (mut agent, _bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Stopped", 30 * MIB);
    agent.upload("garage", &sample).await;
    let path = crate::lab::call::content_path("garage", "a1");
    let mut answer = agent
        .request(http::Method::GET, &path)
        .send()
        .await
        .unwrap();
    let mut received = answer.chunk().await.unwrap().unwrap().len();
    agent.signal("TERM");
    // The client reads nothing more until the agent has ended.
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
    let complete = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => received += chunk.len(),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(
        !complete && received < sample.tar.len(),
        "{received} bytes arrived as a complete download"
    );
}
