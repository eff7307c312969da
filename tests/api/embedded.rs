//! The embedded location: a directory on the agent's machine, until there is a bucket.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::lab::{Agent, Location, Sample, Setup, eventually, garage};

async fn ids(agent: &Agent) -> Vec<String> {
    let locations = agent.get("/v1/locations").await.json();
    let locations = locations["locations"].as_array().unwrap().clone();
    locations
        .iter()
        .map(|location| location["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn bucket() -> Location {
    Location::of(&garage::shared().bucket().await)
}

#[tokio::test]
async fn empty_directory_is_no_location_beside_a_bucket() {
    let agent = Setup::with([]).serve().await;
    assert_eq!(ids(&agent).await, ["local"]);
    agent.register("garage", &bucket().await.json()).await;
    assert_eq!(ids(&agent).await, ["garage"]);
}

#[tokio::test]
async fn backups_in_the_directory_stay_reachable_beside_a_bucket() {
    let agent = Setup::with([]).serve().await;
    let sample = Sample::small("a1");
    agent.upload("local", &sample).await;
    agent.register("garage", &bucket().await.json()).await;
    assert_eq!(ids(&agent).await, ["local", "garage"]);
    assert!(agent.download("local", "a1").await.unwrap().body == sample.tar);
    // A deletion elsewhere is no reason to say it again.
    agent.upload("garage", &Sample::small("b1")).await;
    assert_eq!(agent.delete_backup("garage", "b1").await.status, 204);
    let printed = agent.printed();
    let told = printed.matches("holds backups from before the first bucket");
    assert_eq!(told.count(), 1, "{printed}");
    assert_eq!(agent.delete_backup("local", "a1").await.status, 204);
    assert_eq!(ids(&agent).await, ["garage"]);
}

/// The configuration names a bucket, and no longer the directory.
#[tokio::test]
async fn backups_in_the_directory_stay_reachable_beside_a_configured_bucket() {
    let mut agent = Setup::with([]).serve().await;
    let sample = Sample::small("a1");
    agent.upload("local", &sample).await;
    agent.kill();
    agent.setup.set_locations([bucket().await]);
    let mut agent = Agent::restarted(agent).await;
    assert_eq!(ids(&agent).await, ["garage", "local"]);
    eventually("the log says where they are", async || {
        agent.printed().contains("/state/local\" holds backups")
    })
    .await;
    agent
        .setup
        .run(&["copy", "local", "garage"])
        .await
        .ended_with(0);
    agent
        .setup
        .run(&["delete", "local", "a1"])
        .await
        .ended_with(0);
    agent.kill();
    let agent = Agent::restarted(agent).await;
    assert_eq!(ids(&agent).await, ["garage"]);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn directory_that_cannot_be_listed_stays_a_location() {
    let agent = Setup::with([]).serve().await;
    assert!(agent.listed("local").await.is_empty());
    let stored = agent.setup.path("state/local/backups");
    drop(fs::remove_dir(&stored));
    // A link to itself: each access fails.
    symlink(&stored, &stored).unwrap();
    agent.register("garage", &bucket().await.json()).await;
    assert_eq!(ids(&agent).await, ["local", "garage"]);
}

#[tokio::test]
async fn directory_with_parts_of_an_upload_stays_a_location() {
    let agent = Setup::with([]).serve().await;
    let stored = agent.setup.path("state/local/backups");
    fs::create_dir_all(&stored).unwrap();
    fs::write(stored.join("a.tar#1"), "part").unwrap();
    agent.register("garage", &bucket().await.json()).await;
    assert_eq!(ids(&agent).await, ["local", "garage"]);
}

#[tokio::test]
async fn directory_is_a_location_until_its_upload_ends() {
    let agent = Setup::with([]).serve().await;
    let upload = agent.begin("local", &Sample::small("a1")).await;
    agent.register("garage", &bucket().await.json()).await;
    assert_eq!(ids(&agent).await, ["local", "garage"]);
    assert_eq!(agent.cancel(&upload).await.status, 204);
    eventually("it is removed", async || ids(&agent).await == ["garage"]).await;
}

#[tokio::test]
async fn embedded_location_is_removed_on_request() {
    let agent = Setup::with([]).serve().await;
    agent.upload("local", &Sample::small("a1")).await;
    let stored = agent.setup.path("state/local/backups");
    assert_eq!(agent.delete("/v1/locations/local").await.status, 204);
    assert!(ids(&agent).await.is_empty());
    assert_eq!(fs::read_dir(stored).unwrap().count(), 2, "its backups stay");
}

#[tokio::test]
async fn named_directory_is_a_location_like_any_other() {
    let setup = Setup::with([]);
    let directory = Location {
        id: "local".into(),
        ..Location::directory(&setup.path("state/local"))
    };
    let mut setup = setup;
    setup.set_locations([directory, bucket().await]);
    let agent = setup.serve().await;
    agent.upload("local", &Sample::small("a1")).await;
    assert_eq!(ids(&agent).await, ["local", "garage"]);
    assert_eq!(
        agent.location("local").await["source"],
        json!("configuration")
    );
}
