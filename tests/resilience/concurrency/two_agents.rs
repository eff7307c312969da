//! Two agents on one bucket.

use serde_json::json;

use crate::lab::{Agent, Bucket, HalfSent, Location, MIB, Sample, Setup, garage};

/// Two agents with separate state directories on one bucket.
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

pub(super) async fn assert_downloads(agent: &Agent, sample: &Sample) {
    let answer = agent.download("garage", sample.id()).await.unwrap();
    assert!(
        answer.status == 200 && answer.body == sample.tar,
        "{}: {}",
        sample.id(),
        answer.status
    );
}

#[tokio::test]
async fn two_prefixes_of_one_bucket_are_independent() {
    // The second prefix is a folder inside the first.
    for prefixes in [
        ["home", "home/cabin"],
        ["home", "home/backups"],
        ["", "backups/cabin"],
    ] {
        prefixes_are_independent(prefixes).await;
    }
}

async fn prefixes_are_independent(prefixes: [&str; 2]) {
    let ([one, other], bucket) = two_agents(prefixes).await;
    // Equal id and name, as from a copied Home Assistant.
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
        assert_downloads(&one, &samples[0]),
        assert_downloads(&other, &samples[1])
    );
    assert_eq!(one.delete_backup("garage", "a1").await.status, 204);
    assert_eq!(one.listed("garage").await, Vec::<String>::new());
    assert_downloads(&other, &samples[1]).await;
    assert_eq!(one.refreshed("garage").await["skipped"], json!([]));
    let stem = format!("{}/backups/{}", prefixes[1], samples[1].stem());
    bucket
        .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
}

#[tokio::test]
async fn two_agents_share_one_prefix() {
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
            assert_downloads(agent, sample).await;
        }
    }
    // Each may delete the other's backups. A stale list leads to "not found" or to a repeated
    // deletion.
    assert_eq!(one.delete_backup("garage", "b2").await.status, 204);
    other
        .download("garage", "b2")
        .await
        .unwrap()
        .is_problem(404, "backup_not_found", &[]);
    assert_eq!(
        other.listed("garage").await,
        ["a1"],
        "a stale list survived newer facts"
    );
    assert!([204, 404].contains(&other.delete_backup("garage", "b2").await.status));
    assert_eq!(other.listed("garage").await, ["a1"]);
    assert_eq!(bucket.keys().await.len(), 2);
}

#[tokio::test]
async fn two_agents_with_one_name_do_not_overwrite_each_other() {
    for (size, ids) in [
        (40_960, ["a1", "b2"]),
        (12 * MIB, ["a1", "b2"]),
        (40_960, ["a1", "a1"]),
        (12 * MIB, ["a1"; 2]),
    ] {
        let ([one, other], bucket) = two_agents(["home", "home"]).await;
        // Equal names to the microsecond; encryption per location makes the bytes of one backup
        // differ.
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
            &["Another program wrote", "again"],
        );
        for agent in [&one, &other] {
            assert_eq!(agent.listed("garage").await, [second.id()]);
            assert_downloads(agent, &second).await;
        }
        let stem = format!("home/backups/{}", second.stem());
        bucket
            .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
            .await;
        // The hint's remedy.
        one.upload("garage", &first).await;
        assert_downloads(&one, &first).await;
        assert!(bucket.unfinished().await.is_empty());
    }
}

#[tokio::test]
async fn starting_agent_leaves_uploads_of_another_alone() {
    let ([one, mut other], bucket) = two_agents(["home", "home"]).await;
    let sample = Sample::new("a1", "Under way", 20 * MIB);
    let HalfSent {
        upload_id,
        mut sending,
        rest,
        ..
    } = one.half_sent("garage", &sample, 10 * MIB).await;
    other.kill();
    let other = Agent::restarted(other).await;
    assert_eq!(other.listed("garage").await, Vec::<String>::new());
    assert_eq!(bucket.unfinished().await.len(), 1);
    sending.send(&rest).await;
    assert_eq!(sending.ended().await.unwrap().status, 200);
    assert_eq!(one.complete(&upload_id, &sample).await.status, 200);
    assert_eq!(other.listed("garage").await, ["a1"]);
    assert_downloads(&other, &sample).await;
}
