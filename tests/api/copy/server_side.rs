//! Copies inside one server, without a transfer through the agent.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use s3_backup_agent::agent::copy::{
    CopyOutcome as Outcome, CopyRequest as Request, Done, InsideLimits, Layout,
};
use s3_backup_agent::config::Config;
use serde_json::{Value, json};

use super::{assert_same_backups, lines, new, old, summary, upload};
use crate::lab::{Bucket, Location, MIB, Proxy, Sample, Server, Setup, eventually, garage};

#[tokio::test]
async fn one_server_copies_server_side() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let proxy = Proxy::before(&to.endpoint).await;
    let behind = |location: Location| Location {
        endpoint: proxy.endpoint(),
        ..location
    };
    let setup = Setup::with([behind(old(&from)), behind(new(&to))]);
    let (ours, name) = (
        Sample::new("a1", "Ours", 23 * MIB),
        "Fremd ä+b%20c #1 \"x\"",
    );
    upload(&setup, "old", &ours).await;
    from.put_backup("then/", name, &Sample::new("b2", "Foreign", 20_480))
        .await;
    let (reads, parts) = (
        || proxy.count(|request| request.reads(".tar")),
        proxy.part_bytes(),
    );
    let read = reads();
    let ran = setup
        .run(&["copy", "old", "new", "--json"])
        .await
        .ended_with(0);
    assert!(
        lines(&ran)[..2]
            .iter()
            .all(|line| line["result"] == "copied_inside"),
        "{}",
        ran.text()
    );
    // Of the foreign one, the headers were read, which tell what it lacks.
    assert_eq!(
        (reads() - read, proxy.part_bytes() - parts),
        (1, 0),
        "a tar was streamed through the agent"
    );
    assert_same_backups(&from, &to).await;
    let metadata = to
        .json(&format!("now/backups/{}.metadata.json", ours.stem()))
        .await;
    assert_eq!(
        metadata["s3_backup_agent"]["sha256"],
        ours.sha256(),
        "the verification record is kept"
    );
    let metadata = to.json(&format!("now/backups/{name}.metadata.json")).await;
    let added = &metadata["s3_backup_agent"];
    assert_eq!(
        (&added["sha256"], added.get("crc32"), &added["part_size"]),
        (&Value::Null, None, &Value::Null),
        "unverified parts are not claimed"
    );
    for sample in [&ours, &Sample::new("b2", "Foreign", 20_480)] {
        setup
            .run(&["download", "new", sample.id(), "-o", "back.tar", "--force"])
            .await
            .ended_with(0);
        assert!(fs::read(setup.path("back.tar")).unwrap() == sample.tar);
    }
}

#[tokio::test]
async fn copy_streams_through_the_agent_without_cross_bucket_permission() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let (key_id, secret) = garage::shared()
        .key_for(&to, json!({"read": true, "write": true}))
        .await;
    let setup = Setup::with([
        old(&from),
        Location {
            key_id,
            secret,
            ..new(&to)
        },
    ]);
    for id in ["a1", "b2"] {
        upload(&setup, "old", &Sample::new(id, id, 7 * MIB)).await;
    }
    let ran = setup
        .run(&["copy", "old", "new", "--json"])
        .await
        .ended_with(0);
    assert!(
        lines(&ran)[..2]
            .iter()
            .all(|line| line["result"] == "copied"),
        "{}",
        ran.text()
    );
    assert_eq!(
        ran.stderr.matches("does not copy by itself").count(),
        1,
        "{}",
        ran.stderr
    );
    assert_same_backups(&from, &to).await;
    to.wait_until_keys_are(
        &to.keys()
            .await
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    )
    .await;
}

/// Copies in this process, with lower limits.
async fn copied_in_parts(setup: &Setup) -> Vec<Outcome> {
    let config = Config::load(Some(&setup.path("agent.toml"))).unwrap();
    let agent = s3_backup_agent::agent::Agent::new(config.locations, &config.state_dir);
    let inside = InsideLimits {
        single: 5 << 20,
        part_size: 5 << 20,
    };
    let (from, to) = ("old".into(), "new".into());
    let request = Request {
        from,
        layout: Layout::Agent,
        to,
        backup_ids: Vec::new(),
        inside,
    };
    let plan = agent.plan_copy(&request).await.unwrap();
    let copied = Arc::clone(&agent).copy(plan).collect().await;
    agent.stop(Duration::from_secs(10)).await;
    copied
}

#[tokio::test]
async fn large_server_side_copy_uses_parts_and_resumes() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let proxy = Proxy::before(&to.endpoint).await;
    let behind = |location: Location| Location {
        endpoint: proxy.endpoint(),
        outage_seconds: 1,
        ..location
    };
    let setup = Setup::with([
        behind(old(&from)),
        Location {
            concurrency: 1,
            ..behind(new(&to))
        },
    ]);
    let sample = Sample::new("a1", "Very large", 23 * MIB);
    upload(&setup, "old", &sample).await;
    let copied = |number| {
        proxy.count(|request| request.stores_part(number) && request.path.contains(&to.name))
    };
    // An outage in the middle, longer than the agent waits.
    let gate = proxy.hold(|request| request.stores_part(3) && request.length == 0);
    let away = async {
        eventually("two parts are copied", async || proxy.faults_left() == 0).await;
        proxy.set_away(true);
        gate.add_permits(1);
    };
    let (outcomes, ()) = tokio::join!(copied_in_parts(&setup), away);
    assert!(outcomes[0].result.is_err(), "test precondition not met");
    assert_eq!((to.keys().await.len(), to.unfinished().await.len()), (0, 1));
    proxy.set_away(false);
    let outcomes = copied_in_parts(&setup).await;
    assert_eq!(outcomes[0].result.as_ref().unwrap(), &Done::CopiedInside);
    assert_eq!(
        [1, 2, 4, 5].map(copied),
        [1, 1, 1, 1],
        "copied backups are not copied again"
    );
    assert_same_backups(&from, &to).await;
    assert!(to.unfinished().await.is_empty());
    let metadata = to
        .json(&format!("now/backups/{}.metadata.json", sample.stem()))
        .await;
    assert_eq!(metadata["s3_backup_agent"]["sha256"], sample.sha256());
}

#[tokio::test]
async fn swift_copies_server_side() {
    let (from, to) = (Server::Swift.bucket().await, Server::Swift.bucket().await);
    let location = |id: &str, bucket: &Bucket| Location {
        id: id.into(),
        ..Server::Swift.location(bucket)
    };
    let setup = Setup::with([location("old", &from), location("new", &to)]);
    // The second has several parts, and an ETag that is not an MD5.
    for sample in [Sample::small("a1"), Sample::new("b2", "Large", 23 * MIB)] {
        upload(&setup, "old", &sample).await;
    }
    let ran = setup
        .run(&["copy", "old", "new", "--json"])
        .await
        .ended_with(0);
    assert_eq!(summary(&ran)[..3], [2, 0, 0], "{}", ran.text());
    assert_eq!(from.contents().await.len(), 4);
    for ((key, one), (_, other)) in from.contents().await.iter().zip(&to.contents().await) {
        assert!(
            key.ends_with(".metadata.json") || one == other,
            "{key} differs"
        );
    }
    let file = setup.path("back.tar");
    setup
        .run(&["download", "new", "b2", "-o", file.to_str().unwrap()])
        .await
        .ended_with(0);
}
