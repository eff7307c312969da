//! Invalid input is named in the answer and leaves nothing behind.

mod requests;

use serde_json::{Value, json};

use crate::lab::agent::Agent;
use crate::lab::{Bucket, MIB, Sample, agent_and_bucket};

/// Asserts that no backup is listed, and waits until the bucket is empty.
async fn nothing_is_kept(agent: &Agent, bucket: &Bucket) {
    bucket.wait_until_empty().await;
    assert!(agent.listed("garage").await.is_empty());
}

/// Both upload paths: one request, and multipart.
const SIZES: [u64; 2] = [40_960, 11 * MIB];

#[tokio::test]
async fn upload_beyond_s3_limits_is_refused_before_the_first_byte() {
    let (agent, _) = agent_and_bucket().await;
    for size in [1 << 50, u64::MAX] {
        let sample = Sample::small("a1").announced_as(size);
        agent.create("garage", &sample).await.is_problem(
            400,
            "invalid_request",
            &["more than this provider stores"],
        );
    }
    assert_eq!(agent.client.get("/v1/health").await.status, 200);
}

#[tokio::test]
async fn short_upload_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in SIZES {
        let sample = Sample::new("a1", "Short", size).announced_as(size + 1);
        let upload_id = agent.begin("garage", &sample).await;
        let answer = agent.content(&upload_id, sample.tar.clone()).await;
        let (announced, arrived) = ((size + 1).to_string(), size.to_string());
        answer.is_problem(
            409,
            "size_mismatch",
            &[&announced, &arrived, "The agent discarded the backup"],
        );
        agent.complete(&upload_id, &sample).await.is_problem(
            404,
            "upload_not_found",
            &[&upload_id, "again"],
        );
        nothing_is_kept(&agent, &bucket).await;
    }
}

#[tokio::test]
async fn long_upload_is_stored_with_its_real_size() {
    let (agent, _bucket) = agent_and_bucket().await;
    for size in SIZES {
        let sample = Sample::new("a1", "Long", size).announced_as(size - 10_240);
        let stored = agent.upload("garage", &sample).await;
        assert_eq!(
            (&stored["size"], &stored["s3_backup_agent"]["size"]),
            (&json!(size), &json!(size))
        );
        assert_eq!(agent.refreshed("garage").await["backups"], json!([stored]));
        assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    }
}

/// Python takes a damaged header for the end of a tar. Home Assistant then encrypts the part before
/// it, pads with zeros to the announced size, and reports no error.
#[tokio::test]
async fn encrypted_backup_without_home_assistant_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    let whole = Sample::small("a1").tar;
    let mut entries = tar::Archive::new(&whole[..]);
    let manifest = entries
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path().unwrap().ends_with("backup.json"));
    let manifest = usize::try_from(manifest.unwrap().raw_header_position()).unwrap();
    let mut lost = whole[manifest..].to_vec();
    lost.resize(whole.len(), 0);
    let sample = Sample::small("a1").with_tar(lost);
    let upload_id = agent.begin("garage", &sample).await;
    let answer = agent.content(&upload_id, sample.tar.clone()).await;
    answer.is_problem(
        422,
        "invalid_metadata",
        &["homeassistant.tar.gz is missing"],
    );
    nothing_is_kept(&agent, &bucket).await;
}

#[tokio::test]
async fn upload_with_wrong_sha256_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in SIZES {
        let sample = Sample::new("a1", "Other", size);
        for (body, code) in [
            (
                json!({"size": size, "crc32": "00000000"}),
                "checksum_mismatch",
            ),
            (
                json!({"size": size + 1, "crc32": sample.crc32()}),
                "size_mismatch",
            ),
            (
                json!({"size": size - 1, "crc32": sample.crc32()}),
                "size_mismatch",
            ),
        ] {
            let upload_id = agent.received("garage", &sample).await;
            let answer = agent
                .post(&format!("/v1/uploads/{upload_id}/complete"), &body)
                .await;
            answer.is_problem(409, code, &["The agent discarded the backup"]);
            agent
                .complete(&upload_id, &sample)
                .await
                .is_problem(404, "upload_not_found", &[]);
            nothing_is_kept(&agent, &bucket).await;
        }
    }
}

#[tokio::test]
async fn unreadable_metadata_is_refused_at_announcement() {
    let (agent, bucket) = agent_and_bucket().await;
    let mut sample = Sample::small("a1");
    sample.metadata["extra_metadata"]["filler"] = "@".into();
    // Written out, each of these numbers grows almost fourfold.
    let filler = format!("[{}0]", "1e15,".repeat(70_000));
    let body = json!({"backup": sample.metadata, "filename": "a.tar"})
        .to_string()
        .replace("\"@\"", &filler);
    let request = agent
        .request(http::Method::POST, "/v1/locations/garage/uploads")
        .body(body);
    let answer = agent.send(request).await.unwrap();
    answer.is_problem(422, "invalid_metadata", &["1024 KiB nothing is listed"]);
    nothing_is_kept(&agent, &bucket).await;
}

#[tokio::test]
async fn metadata_without_valid_id_name_date_or_size_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    let change = |key: &str, value: Value| {
        let mut sample = Sample::small("a1");
        sample.metadata[key] = value;
        sample
    };
    let without = |key: &str| {
        let mut sample = Sample::small("a1");
        sample
            .metadata
            .as_object_mut()
            .unwrap()
            .shift_remove(key)
            .unwrap();
        sample
    };
    for (sample, word) in [
        (change("size", json!(-1)), "-1"),
        (change("size", json!("big")), "big"),
        (change("size", json!(1.5)), "1.5"),
        (change("backup_id", json!("")), "`backup_id` is empty"),
        (change("backup_id", json!(["a1"])), "sequence"),
        (change("name", json!(null)), "null"),
        (change("date", json!("")), "date \"\" cannot be parsed"),
        (change("date", json!("last night")), "\"last night\""),
        (change("date", json!("2026-02-30T01:00:00Z")), "2026-02-30"),
        (without("backup_id"), "backup_id"),
        (without("date"), "date"),
        (without("name"), "name"),
        (without("size"), "size"),
    ] {
        let answer = agent.create_named("garage", &sample, "a.tar").await;
        answer.is_problem(422, "invalid_metadata", &[word, "The backup's"]);
    }
    nothing_is_kept(&agent, &bucket).await;
}

#[tokio::test]
async fn tar_of_another_backup_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in SIZES {
        let sample = Sample::new("a1", "Mine", size);
        let length = sample.tar.len();
        let mut no_end = sample.tar.to_vec();
        no_end.truncate(length - 10_240);
        let mut damaged = sample.tar.to_vec();
        damaged[5] ^= 1;
        for (tar, words) in [
            (Sample::new("b2", "Other", size).tar.to_vec(), ["a1", "b2"]),
            (
                crate::lab::noise("no tar", length),
                ["not a tar header", "byte 0"],
            ),
            (damaged, ["not a tar header", "byte 0"]),
            (
                vec![0; length],
                ["not a Home Assistant backup", "backup.json"],
            ),
        ] {
            let upload_id = agent.begin("garage", &sample).await;
            // Invalid tars are refused during the transfer.
            let answer = agent.sending(&upload_id);
            let answer = send_all(answer, tar).await;
            if let Ok(answer) = answer {
                answer.is_problem(422, "invalid_metadata", &words);
            }
            agent
                .complete(&upload_id, &sample)
                .await
                .is_problem(404, "upload_not_found", &[]);
            nothing_is_kept(&agent, &bucket).await;
        }
    }
}

async fn send_all(
    mut sending: crate::lab::call::Sending,
    bytes: Vec<u8>,
) -> reqwest::Result<crate::lab::call::Answer> {
    sending.send(&bytes.into()).await;
    sending.ended().await
}

#[tokio::test]
async fn truncated_tar_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in SIZES {
        let whole = Sample::new("a1", "Cut", size);
        // In the middle of the data, and just before the manifest's end; announced with the
        // received size.
        for end in [whole.tar.len() / 2, whole.tar.len() - 1536] {
            let sample = whole
                .clone()
                .with_tar(whole.tar.slice(..end))
                .announced_as(end as u64);
            let upload_id = agent.begin("garage", &sample).await;
            let answer = agent.content(&upload_id, sample.tar.clone()).await;
            answer.is_problem(422, "invalid_metadata", &["cut off"]);
            nothing_is_kept(&agent, &bucket).await;
        }
    }
}

#[tokio::test]
async fn hostile_names_and_ids_stay_inside_the_location() {
    let (agent, bucket) = agent_and_bucket().await;
    for (index, filename) in [
        "../../escape.tar",
        "/etc/passwd.tar",
        "a//b.tar",
        "..",
        "",
        "bell\u{7}\u{0}.tar",
        ".tar",
    ]
    .iter()
    .enumerate()
    {
        let id = format!("id{index}");
        let sample = Sample::small(&id);
        let created = agent.create_named("garage", &sample, filename).await;
        assert_eq!(created.status, 201, "{filename:?}: {created:?}");
        let upload_id = created.json()["upload_id"].as_str().unwrap().to_owned();
        assert_eq!(
            agent.content(&upload_id, sample.tar.clone()).await.status,
            200,
            "{filename:?}"
        );
        assert_eq!(
            agent.complete(&upload_id, &sample).await.status,
            200,
            "{filename:?}"
        );
        let keys = bucket.keys().await;
        assert!(
            keys.len() == 2 && keys.iter().all(|key| key.starts_with("backups/")),
            "{filename:?}: {keys:?}"
        );
        assert!(
            agent.download("garage", &id).await.unwrap().body == sample.tar,
            "{filename:?}"
        );
        assert_eq!(agent.delete_backup("garage", &id).await.status, 204);
    }
    bucket.wait_until_empty().await;
}
