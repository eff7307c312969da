//! Races: on one bucket, under one prefix, for one backup. `docs/development/concurrency.md` states the
//! outcomes.

mod two_agents;

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::lab::call::content_path;
use crate::lab::{Agent, MIB, Request, Sample, agent_and_bucket, agent_behind_proxy, eventually};
use two_agents::assert_downloads;

/// Reads the rest of a download; returns whether it completed, and the bytes.
async fn rest(mut answer: reqwest::Response) -> (bool, Vec<u8>) {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return (true, body),
            Err(_) => return (false, body),
        }
    }
}

#[tokio::test]
async fn repeated_upload_during_commit_stores_one_backup() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let [first, second] = [
        Sample::new("a1", "Again", 12 * MIB),
        Sample::new("a1", "Again", 13 * MIB),
    ];
    let upload_id = agent.received("garage", &first).await;
    let gate = proxy.hold(|request| request.writes(".metadata.json"));
    let again = async {
        eventually("the first is committed", async || proxy.faults_left() == 0).await;
        let release = async {
            sleep(Duration::from_millis(300)).await;
            gate.add_permits(1);
        };
        tokio::join!(agent.upload("garage", &second), release).0
    };
    let (completed, _) = tokio::join!(agent.complete(&upload_id, &first), again);
    assert_eq!(completed.status, 200, "{completed:?}");
    assert_eq!(agent.listed("garage").await, ["a1"]);
    assert_downloads(&agent, &second).await;
    eventually("the first is removed", async || {
        bucket.keys().await.len() == 2
    })
    .await;
    assert_downloads(&agent, &second).await;
    assert!(bucket.unfinished().await.is_empty());
}

#[tokio::test]
async fn many_uploads_of_one_backup_store_one_backup() {
    let (agent, bucket) = agent_and_bucket().await;
    let samples: Vec<_> = (0..6)
        .map(|number| Sample::new("a1", "Many", (11 + number) * MIB))
        .collect();
    let uploads = samples.iter().map(async |sample| {
        let created = agent.create("garage", sample).await;
        // A superseded sender receives an error or is disconnected.
        if created.status != 201 {
            created.is_problem(409, "cancelled", &[]);
            return false;
        }
        let upload_id = created.json()["upload_id"].as_str().unwrap().to_owned();
        let arrived = agent.send(
            agent
                .request(Method::PUT, &format!("/v1/uploads/{upload_id}/content"))
                .body(sample.tar.clone()),
        );
        let has_arrived = arrived.await.is_ok_and(|answer| answer.status == 200);
        has_arrived && agent.complete(&upload_id, sample).await.status == 200
    });
    let completed = join_all(uploads).await;
    let last = completed.iter().rposition(|completed| *completed);
    assert!(last.is_some(), "none of them was completed: {completed:?}");
    assert_eq!(agent.listed("garage").await, ["a1"]);
    let body = agent.download("garage", "a1").await.unwrap().body;
    let is_one = samples
        .iter()
        .zip(&completed)
        .any(|(sample, completed)| *completed && sample.tar == body);
    assert!(
        is_one,
        "the stored backup was not acknowledged: {completed:?}"
    );
    eventually("nothing else is left", async || {
        bucket.keys().await.len() == 2 && bucket.unfinished().await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn download_of_a_deleted_backup_fails_or_completes() {
    for read_before in [1, 8 << 20] {
        let (agent, bucket) = agent_and_bucket().await;
        let sample = Sample::new("a1", "Deleted", 48 * MIB);
        bucket.put_backup("", "b", &sample).await;
        agent.list("garage").await;
        let mut answer = agent
            .request(Method::GET, &content_path("garage", "a1"))
            .send()
            .await
            .unwrap();
        let mut body = Vec::new();
        while body.len() < read_before {
            body.extend_from_slice(&answer.chunk().await.unwrap().unwrap());
        }
        assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
        let (is_complete, more) = rest(answer).await;
        body.extend(more);
        assert!(
            sample.tar.starts_with(&body),
            "the bytes are not of the backup"
        );
        assert_eq!(
            is_complete,
            body.len() == sample.tar.len(),
            "a truncated download completed"
        );
        agent
            .download("garage", "a1")
            .await
            .unwrap()
            .is_problem(404, "backup_not_found", &[]);
        bucket.wait_until_empty().await;
    }
}

#[tokio::test]
async fn backup_in_flight_cannot_be_deleted() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "On its way", 12 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    agent
        .delete_backup("garage", "a1")
        .await
        .is_problem(404, "backup_not_found", &[]);
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    agent
        .delete_backup("garage", "a1")
        .await
        .is_problem(404, "backup_not_found", &[]);
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
    assert_downloads(&agent, &sample).await;
    assert_eq!(bucket.keys().await.len(), 2);
}

#[tokio::test]
async fn deletion_waits_for_the_commit() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Put in place", 12 * MIB);
    let upload_id = agent.received("garage", &sample).await;
    let gate = proxy.hold(|request| request.writes(".metadata.json"));
    let deleted = async {
        eventually("it is committed", async || proxy.faults_left() == 0).await;
        let release = async {
            sleep(Duration::from_millis(300)).await;
            gate.add_permits(1);
        };
        tokio::join!(agent.delete_backup("garage", "a1"), release).0
    };
    let (completed, deleted) = tokio::join!(agent.complete(&upload_id, &sample), deleted);
    assert_eq!(
        (completed.status, deleted.status),
        (200, 204),
        "{completed:?} {deleted:?}"
    );
    bucket.wait_until_empty().await;
    assert_eq!(agent.list("garage").await["backups"], json!([]));
}

#[tokio::test]
async fn old_copy_is_deleted_during_the_upload_of_the_new_one() {
    let (agent, bucket) = agent_and_bucket().await;
    let [old, new] = [Sample::small("a1"), Sample::new("a1", "Nightly", 12 * MIB)];
    agent.upload("garage", &old).await;
    let upload_id = agent.begin("garage", &new).await;
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    assert_eq!(agent.listed("garage").await, Vec::<String>::new());
    assert_eq!(agent.content(&upload_id, new.tar.clone()).await.status, 200);
    assert_eq!(agent.complete(&upload_id, &new).await.status, 200);
    assert_eq!(agent.listed("garage").await, ["a1"]);
    assert_downloads(&agent, &new).await;
    eventually("only the new copy exists", async || {
        bucket.keys().await.len() == 2
    })
    .await;
}

#[tokio::test]
async fn concurrent_deletions_cost_two_listings() {
    for is_known in [false, true] {
        let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
        let ids: Vec<_> = (0..23).map(|number| format!("id{number:02}")).collect();
        for id in &ids {
            bucket.put_backup("", id, &Sample::small(id)).await;
        }
        // A reader of events, like Home Assistant's entities.
        let _events = agent.events().await;
        if is_known {
            assert_eq!(
                agent.list("garage").await["backups"]
                    .as_array()
                    .unwrap()
                    .len(),
                23
            );
        }
        let deletions = ids[..20].iter().map(|id| agent.delete_backup("garage", id));
        for deleted in join_all(deletions).await {
            assert_eq!(deleted.status, 204, "{deleted:?}");
        }
        let list = agent.list("garage").await;
        assert_eq!(crate::lab::call::ids(&list), ids[20..]);
        assert_eq!(proxy.count(Request::is_list), 2);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(
            proxy.count(Request::is_list),
            2,
            "a reader's list is refreshed"
        );
        assert_eq!(bucket.keys().await.len(), 6);
    }
}

#[tokio::test]
async fn upload_during_the_sweep_of_its_leftovers_restarts() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Swept", 20 * MIB);
    agent.killed_half_way(&sample).await;
    agent.expire_journals();
    let gate =
        proxy.hold(|request| request.method == "DELETE" && request.path.contains("uploadId="));
    let agent = Agent::restarted(agent).await;
    eventually("the sweep is in progress", async || {
        proxy.faults_left() == 0
    })
    .await;
    let created = agent.create("garage", &sample).await.json();
    assert_eq!(created["stored_bytes"], 0, "it resumed parts being swept");
    let upload_id = created["upload_id"].as_str().unwrap();
    gate.add_permits(1);
    assert_eq!(
        agent.content(upload_id, sample.tar.clone()).await.status,
        200
    );
    assert_eq!(agent.complete(upload_id, &sample).await.status, 200);
    let stem = format!("backups/{}", sample.stem());
    bucket
        .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
    assert_downloads(&agent, &sample).await;
}
