//! Damage between sender, agent and storage.

use crate::lab::{
    Bucket, Fault, MIB, Request, Sample, agent_and_bucket, agent_behind_proxy, eventually,
};

#[tokio::test]
async fn changed_byte_breaks_the_download_before_its_end() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in [40_960, 12 * MIB] {
        let sample = Sample::new("a1", "Damaged", size);
        agent.upload("garage", &sample).await;
        let mut damaged = sample.tar.to_vec();
        damaged[sample.tar.len() / 2] ^= 1;
        bucket
            .put(&format!("backups/{}.tar", sample.stem()), damaged)
            .await;
        assert_eq!(agent.listed("garage").await, ["a1"]);
        let answer = agent.download("garage", "a1").await;
        assert!(
            answer.is_err(),
            "{size}: a damaged backup downloaded completely"
        );
        eventually("the log names the backup", async || {
            agent.printed().contains("The backup \"a1\" is damaged")
        })
        .await;
        assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    }
}

async fn assert_stored(bucket: &Bucket, sample: &Sample) {
    let stem = format!("backups/{}", sample.stem());
    bucket.wait_until_only(&stem, sample).await;
}

/// The provider verifies a checksum, or the agent verifies the `ETag`: no byte stays unverified.
#[tokio::test]
async fn bit_flip_on_the_uplink_is_detected_and_resent() {
    for checksum in ["sha256", "crc64nvme", "crc32c", "off"] {
        let (agent, proxy, bucket) =
            agent_behind_proxy(|location| *location = location.clone().with("checksum", checksum))
                .await;
        let large = Sample::new("a1", "Large", 12 * MIB);
        proxy.fault(
            |request| request.stores_part(1),
            Fault::FlipRequest(1_000_000),
        );
        proxy.fault(
            |request| request.stores_part(3),
            Fault::FlipRequest(100_000),
        );
        agent.upload("garage", &large).await;
        assert_eq!(proxy.faults_left(), 0, "test precondition not met");
        for (part, times) in [(1, 2), (2, 1), (3, 2)] {
            assert_eq!(
                // A probe of the parts' ETags has another key.
                proxy.count(|request| request.stores_part(part) && request.path.contains("Large")),
                times,
                "{checksum}: part {part}"
            );
        }
        assert_stored(&bucket, &large).await;
        assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
        let small = Sample::small("b2");
        proxy.fault(|request| request.writes(".tar"), Fault::FlipRequest(20_000));
        proxy.fault(
            |request| request.writes(".metadata.json"),
            Fault::FlipRequest(30),
        );
        agent.upload("garage", &small).await;
        assert_eq!(proxy.faults_left(), 0, "test precondition not met");
        assert_stored(&bucket, &small).await;
        assert_eq!(
            bucket
                .json(&format!("backups/{}.metadata.json", small.stem()))
                .await["backup_id"],
            "b2"
        );
    }
}

#[tokio::test]
async fn persistently_damaging_connection_fails_the_upload_cleanly() {
    for checksum in ["crc64nvme", "off"] {
        let (agent, proxy, bucket) =
            agent_behind_proxy(|location| *location = location.clone().with("checksum", checksum))
                .await;
        // The kind of its ETags is known by then.
        agent.upload("garage", &Sample::small("b2")).await;
        assert_eq!(agent.delete_backup("garage", "b2").await.status, 204);
        let sample = Sample::new("a1", "Damaged", 12 * MIB);
        for _ in 0..10 {
            proxy.fault(
                |request| request.stores_part(2),
                Fault::FlipRequest(1_000_000),
            );
        }
        let arrived = agent
            .content(&agent.begin("garage", &sample).await, sample.tar.clone())
            .await;
        arrived.is_problem(409, "checksum_mismatch", &["part 2", &sample.stem()]);
        bucket.wait_until_empty().await;
        proxy.forget_faults();
        agent.upload("garage", &sample).await;
        assert_stored(&bucket, &sample).await;
    }
}

#[tokio::test]
async fn bit_flip_on_the_downlink_breaks_the_download_and_is_named() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Damaged", 12 * MIB);
    agent.upload("garage", &sample).await;
    proxy.fault(
        |request: &Request| request.reads(".tar"),
        Fault::FlipAnswer(1_000_000),
    );
    assert!(
        agent.download("garage", "a1").await.is_err(),
        "a damaged backup downloaded completely"
    );
    assert_eq!(proxy.faults_left(), 0, "test precondition not met");
    eventually("the log names the backup", async || {
        agent.printed().contains("The backup \"a1\" is damaged")
    })
    .await;
    assert!(
        agent.download("garage", "a1").await.unwrap().body == sample.tar,
        "the stored object is intact"
    );
}

#[tokio::test]
async fn bit_flip_on_the_socket_is_detected_before_commit() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in [40_960, 12 * MIB] {
        let sample = Sample::new("a1", "Damaged", size);
        let mut flipped = sample.tar.to_vec();
        flipped[2000] ^= 1;
        let upload_id = agent.begin("garage", &sample).await;
        assert_eq!(
            agent.content(&upload_id, flipped).await.status,
            200,
            "the damage is not known yet"
        );
        let answer = agent.complete(&upload_id, &sample).await;
        answer.is_problem(409, "checksum_mismatch", &["CRC-32", &sample.crc32()]);
        bucket.wait_until_empty().await;
    }
}
