//! Two at once: on one bucket, under one prefix, at one backup. `docs/concepts/concurrency.md` says what comes of it.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::lab::call::content_path;
use crate::lab::{
    Agent, Bucket, Location, MIB, Request, Sample, Setup, agent_and_bucket, agent_behind_proxy,
    eventually, garage,
};

/// Two agents with places of their own to note things, on one bucket.
async fn two_agents(prefixes: [&str; 2]) -> ([Agent; 2], Bucket) {
    let bucket = garage::shared().bucket().await;
    let agent = |prefix: &str| {
        Setup::of(Location {
            prefix: prefix.into(),
            ..Location::of(&bucket)
        })
        .serve()
    };
    let agents = [agent(prefixes[0]).await, agent(prefixes[1]).await];
    (agents, bucket)
}

async fn comes_back(agent: &Agent, sample: &Sample) {
    let answer = agent.download("garage", sample.id()).await.unwrap();
    assert!(
        answer.status == 200 && answer.body == sample.tar,
        "{}: {}",
        sample.id(),
        answer.status
    );
}

/// Reads what is left of a download: whether it came to its end, and what came.
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
async fn two_prefixes_of_one_bucket_know_nothing_of_each_other() {
    // The last folder lies in the one before.
    for prefixes in [
        ["home", "home/cabin"],
        ["home", "home/backups"],
        ["", "backups/cabin"],
    ] {
        know_nothing_of_each_other(prefixes).await;
    }
}

async fn know_nothing_of_each_other(prefixes: [&str; 2]) {
    let ([one, other], bucket) = two_agents(prefixes).await;
    // The same id and the same name: a Home Assistant that was copied has both.
    let samples = [Sample::small("a1"), Sample::new("a1", "Nightly", 12 * MIB)];
    tokio::join!(
        one.upload("garage", &samples[0]),
        other.upload("garage", &samples[1])
    );
    assert_eq!(
        (one.listed("garage").await, other.listed("garage").await),
        (vec!["a1".into()], vec!["a1".into()])
    );
    tokio::join!(
        comes_back(&one, &samples[0]),
        comes_back(&other, &samples[1])
    );
    assert_eq!(one.delete_backup("garage", "a1").await.status, 204);
    assert_eq!(one.listed("garage").await, Vec::<String>::new());
    comes_back(&other, &samples[1]).await;
    assert_eq!(one.refreshed("garage").await["skipped"], json!([]));
    let stem = format!("{}/backups/{}", prefixes[1], samples[1].stem());
    bucket
        .comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
}

#[tokio::test]
async fn two_agents_on_one_prefix_share_their_backups() {
    let ([one, other], bucket) = two_agents(["home", "home"]).await;
    let samples = [
        Sample::new("a1", "Mine", 12 * MIB),
        Sample::new("b2", "Yours", 12 * MIB),
    ];
    tokio::join!(
        one.upload("garage", &samples[0]),
        other.upload("garage", &samples[1])
    );
    for agent in [&one, &other] {
        assert_eq!(agent.listed("garage").await, ["a1", "b2"]);
        for sample in &samples {
            comes_back(agent, sample).await;
        }
    }
    // Each may delete the other's. Whose list is older says that it is gone, or deletes it once more.
    assert_eq!(one.delete_backup("garage", "b2").await.status, 204);
    other
        .download("garage", "b2")
        .await
        .unwrap()
        .is_problem(404, "backup_not_found", &[]);
    assert_eq!(
        other.listed("garage").await,
        ["a1"],
        "an old list is not kept against better knowledge"
    );
    assert!([204, 404].contains(&other.delete_backup("garage", "b2").await.status));
    assert_eq!(other.listed("garage").await, ["a1"]);
    assert_eq!(bucket.keys().await.len(), 2);
}

#[tokio::test]
async fn two_agents_that_choose_one_name_do_not_write_over_each_other() {
    for (size, ids) in [
        (40_960, ["a1", "b2"]),
        (12 * MIB, ["a1", "b2"]),
        (40_960, ["a1", "a1"]),
        (12 * MIB, ["a1"; 2]),
    ] {
        let ([one, other], bucket) = two_agents(["home", "home"]).await;
        // The same name to the microsecond; encrypted anew for each location, so other bytes even of one backup.
        let [first, second] = [(ids[0], "x"), (ids[1], "y")].map(|(id, seed)| {
            let sample = Sample::new(id, "Same name", size);
            let mut tar = sample.tar.to_vec();
            tar[600..601].copy_from_slice(seed.as_bytes());
            sample.with_tar(tar)
        });
        let begun = [
            one.begin("garage", &first).await,
            other.begin("garage", &second).await,
        ];
        assert_eq!(one.content(&begun[0], first.tar.clone()).await.status, 200);
        assert_eq!(
            other.content(&begun[1], second.tar.clone()).await.status,
            200
        );
        assert_eq!(other.complete(&begun[1], &second).await.status, 200);
        one.complete(&begun[0], &first).await.is_problem(
            502,
            "storage_error",
            &["Something else wrote", "again"],
        );
        for agent in [&one, &other] {
            assert_eq!(agent.listed("garage").await, [second.id()]);
            comes_back(agent, &second).await;
        }
        let stem = format!("home/backups/{}", second.stem());
        bucket
            .comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
            .await;
        // As the hint says.
        one.upload("garage", &first).await;
        comes_back(&one, &first).await;
        assert!(bucket.unfinished().await.is_empty());
    }
}

#[tokio::test]
async fn an_agent_that_starts_leaves_the_uploads_of_another_alone() {
    let ([one, mut other], bucket) = two_agents(["home", "home"]).await;
    let sample = Sample::new("a1", "Under way", 20 * MIB);
    let mut events = one.events().await;
    let upload_id = one.begin("garage", &sample).await;
    let mut sending = one.sending(&upload_id);
    sending.send(&sample.tar.slice(..13 << 20)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() >= Some(10 * MIB))
        .await;
    other.kill();
    let other = Agent::restarted(other).await;
    assert_eq!(other.listed("garage").await, Vec::<String>::new());
    assert_eq!(bucket.unfinished().await.len(), 1);
    sending.send(&sample.tar.slice(13 << 20..)).await;
    assert_eq!(sending.ended().await.unwrap().status, 200);
    assert_eq!(one.complete(&upload_id, &sample).await.status, 200);
    assert_eq!(other.listed("garage").await, ["a1"]);
    comes_back(&other, &sample).await;
}

#[tokio::test]
async fn a_backup_that_comes_again_while_it_is_put_in_place_is_there_once() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let [first, second] = [
        Sample::new("a1", "Again", 12 * MIB),
        Sample::new("a1", "Again", 13 * MIB),
    ];
    let upload_id = agent.begin("garage", &first).await;
    assert_eq!(
        agent.content(&upload_id, first.tar.clone()).await.status,
        200
    );
    let gate = proxy.hold(|request| request.writes(".metadata.json"));
    let again = async {
        eventually("the first is put in place", async || {
            proxy.faults_left() == 0
        })
        .await;
        let release = async {
            sleep(Duration::from_millis(300)).await;
            gate.add_permits(1);
        };
        tokio::join!(agent.upload("garage", &second), release).0
    };
    let (completed, _) = tokio::join!(agent.complete(&upload_id, &first), again);
    assert_eq!(completed.status, 200, "{completed:?}");
    assert_eq!(agent.listed("garage").await, ["a1"]);
    comes_back(&agent, &second).await;
    eventually("the first is removed", async || {
        bucket.keys().await.len() == 2
    })
    .await;
    comes_back(&agent, &second).await;
    assert!(bucket.unfinished().await.is_empty());
}

#[tokio::test]
async fn many_uploads_of_one_backup_come_to_one_backup() {
    let (agent, bucket) = agent_and_bucket().await;
    let samples: Vec<_> = (0..6)
        .map(|number| Sample::new("a1", "Many", (11 + number) * MIB))
        .collect();
    let uploads = samples.iter().map(async |sample| {
        let created = agent.create("garage", sample).await;
        let upload_id = created.json()["upload_id"].as_str().unwrap().to_owned();
        // Whoever is superseded hears it, or is cut off.
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
    assert!(is_one, "what is there was not acknowledged: {completed:?}");
    eventually("nothing else is left", async || {
        bucket.keys().await.len() == 2 && bucket.unfinished().await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_download_of_what_is_deleted_ends_loudly_or_whole() {
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
            "what came is not of the backup"
        );
        assert_eq!(
            is_complete,
            body.len() == sample.tar.len(),
            "a part of it came as all of it"
        );
        agent
            .download("garage", "a1")
            .await
            .unwrap()
            .is_problem(404, "backup_not_found", &[]);
        bucket.comes_to_be_empty().await;
    }
}

#[tokio::test]
async fn a_backup_that_is_only_on_its_way_cannot_be_deleted() {
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
    comes_back(&agent, &sample).await;
    assert_eq!(bucket.keys().await.len(), 2);
}

#[tokio::test]
async fn a_deletion_while_a_backup_is_put_in_place_waits_for_it() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Put in place", 12 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    let gate = proxy.hold(|request| request.writes(".metadata.json"));
    let deleted = async {
        eventually("it is put in place", async || proxy.faults_left() == 0).await;
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
    bucket.comes_to_be_empty().await;
    assert_eq!(agent.list("garage").await["backups"], json!([]));
}

#[tokio::test]
async fn the_old_copy_is_deleted_while_the_new_one_is_on_its_way() {
    let (agent, bucket) = agent_and_bucket().await;
    let [old, new] = [Sample::small("a1"), Sample::new("a1", "Nightly", 12 * MIB)];
    agent.upload("garage", &old).await;
    let upload_id = agent.begin("garage", &new).await;
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    assert_eq!(agent.listed("garage").await, Vec::<String>::new());
    assert_eq!(agent.content(&upload_id, new.tar.clone()).await.status, 200);
    assert_eq!(agent.complete(&upload_id, &new).await.status, 200);
    assert_eq!(agent.listed("garage").await, ["a1"]);
    comes_back(&agent, &new).await;
    eventually("only the new one is there", async || {
        bucket.keys().await.len() == 2
    })
    .await;
}

#[tokio::test]
async fn twenty_deletions_at_once_cost_one_listing_before_and_one_after() {
    for is_known in [false, true] {
        let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
        let ids: Vec<_> = (0..23).map(|number| format!("id{number:02}")).collect();
        for id in &ids {
            bucket.put_backup("", id, &Sample::small(id)).await;
        }
        // Somebody looks on, as Home Assistant's entities do.
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
            "who looks on has it listed again"
        );
        assert_eq!(bucket.keys().await.len(), 6);
    }
}

#[tokio::test]
async fn an_upload_while_what_it_left_is_swept_away_starts_over() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Swept", 20 * MIB);
    crate::resilience::resume::killed_in_the_middle(&mut agent, &sample).await;
    crate::resilience::resume::a_day_passes(&agent);
    let gate =
        proxy.hold(|request| request.method == "DELETE" && request.path.contains("uploadId="));
    let agent = Agent::restarted(agent).await;
    eventually("the sweep is at it", async || proxy.faults_left() == 0).await;
    let created = agent.create("garage", &sample).await.json();
    assert_eq!(
        created["stored_bytes"], 0,
        "it goes on with what is being removed"
    );
    let upload_id = created["upload_id"].as_str().unwrap();
    gate.add_permits(1);
    assert_eq!(
        agent.content(upload_id, sample.tar.clone()).await.status,
        200
    );
    assert_eq!(agent.complete(upload_id, &sample).await.status, 200);
    let stem = format!("backups/{}", sample.stem());
    bucket
        .comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
    comes_back(&agent, &sample).await;
}
