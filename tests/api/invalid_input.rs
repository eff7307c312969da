//! Wrong input: each says what is wrong, and leaves nothing behind.

use serde_json::{Value, json};

use crate::lab::agent::Agent;
use crate::lab::{Bucket, MIB, Sample, agent_and_bucket};

/// No backup is listed, and the bucket comes to hold neither object nor unfinished upload.
async fn nothing_is_kept(agent: &Agent, bucket: &Bucket) {
    bucket.comes_to_be_empty().await;
    assert!(agent.listed("garage").await.is_empty());
}

/// Both ways an upload goes: in one piece, and in parts.
const SIZES: [u64; 2] = [40_960, 11 * MIB];

#[tokio::test]
async fn more_bytes_than_s3_can_hold_are_refused_before_the_first() {
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
async fn what_the_router_refuses_is_a_problem_too() {
    let (agent, _) = agent_and_bucket().await;
    for path in [
        "/v1/locations/garage/backups?refresh=maybe",
        "/v1/locations/%ff/backups",
    ] {
        agent
            .client
            .get(path)
            .await
            .is_problem(400, "invalid_request", &["cannot be read"]);
    }
}

#[tokio::test]
async fn fewer_bytes_than_announced_are_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in SIZES {
        let sample = Sample::new("a1", "Short", size).announced_as(size + 1);
        let upload_id = agent.begin("garage", &sample).await;
        let answer = agent.content(&upload_id, sample.tar.clone()).await;
        let (announced, arrived) = ((size + 1).to_string(), size.to_string());
        answer.is_problem(
            409,
            "size_mismatch",
            &[&announced, &arrived, "Nothing was kept"],
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
async fn more_bytes_than_announced_are_kept_with_their_true_size() {
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

/// Python takes a damaged header for the end of a tar: Home Assistant then encrypts what is before it, fills up with zeros to
/// the size that it announced, and knows of nothing.
#[tokio::test]
async fn a_backup_that_lost_home_assistant_before_it_came_is_refused() {
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
async fn bytes_that_are_not_the_senders_are_refused() {
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
            let upload_id = agent.begin("garage", &sample).await;
            assert_eq!(
                agent.content(&upload_id, sample.tar.clone()).await.status,
                200
            );
            let answer = agent
                .post(&format!("/v1/uploads/{upload_id}/complete"), &body)
                .await;
            answer.is_problem(409, code, &["Nothing was kept"]);
            agent
                .complete(&upload_id, &sample)
                .await
                .is_problem(404, "upload_not_found", &[]);
            nothing_is_kept(&agent, &bucket).await;
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_is_said_by_name() {
    let (agent, _bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.get("/v1/locations/attic").await.is_problem(
        404,
        "location_not_found",
        &["attic", "configuration"],
    );
    agent.get("/v1/locations/attic/backups").await.is_problem(
        404,
        "location_not_found",
        &["attic"],
    );
    agent
        .create("attic", &sample)
        .await
        .is_problem(404, "location_not_found", &["attic"]);
    agent
        .get("/v1/locations/garage/backups/a1")
        .await
        .is_problem(404, "backup_not_found", &["a1", "Refresh"]);
    agent
        .delete_backup("garage", "a1")
        .await
        .is_problem(404, "backup_not_found", &["a1"]);
    agent
        .download("garage", "a1")
        .await
        .unwrap()
        .is_problem(404, "backup_not_found", &["a1"]);
    agent
        .content("u1", sample.tar.clone())
        .await
        .is_problem(404, "upload_not_found", &["u1"]);
    agent
        .complete("u1", &sample)
        .await
        .is_problem(404, "upload_not_found", &["u1"]);
    agent
        .cancel("u1")
        .await
        .is_problem(404, "upload_not_found", &["u1"]);
    agent
        .get("/v1/nothing")
        .await
        .is_problem(404, "not_found", &["/v1/nothing", "openapi.json"]);
    agent
        .put("/v1/locations", "")
        .await
        .is_problem(404, "not_found", &["PUT /v1/locations"]);
}

#[tokio::test]
async fn a_body_that_is_not_the_protocols_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    let uploads = "/v1/locations/garage/uploads";
    let refused = async |body: &'static str| {
        let request = agent.request(http::Method::POST, uploads).body(body);
        agent.send(request).await.unwrap()
    };
    refused("{broken")
        .await
        .is_problem(400, "invalid_request", &["body"]);
    refused("")
        .await
        .is_problem(400, "invalid_request", &["body"]);
    refused("[1]")
        .await
        .is_problem(400, "invalid_request", &["body"]);
    refused("{\"filename\": \"x.tar\"}")
        .await
        .is_problem(400, "invalid_request", &["backup"]);
    refused("{\"backup\": {}}")
        .await
        .is_problem(400, "invalid_request", &["filename"]);
    refused("\u{0}\u{1}\u{ff}")
        .await
        .is_problem(400, "invalid_request", &["body"]);
    agent
        .put("/v1/log", "{\"level\": \"loud\"}")
        .await
        .is_problem(400, "invalid_request", &["loud", "debug"]);
    let sample = Sample::small("a1");
    let upload_id = agent.begin("garage", &sample).await;
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    let complete = format!("/v1/uploads/{upload_id}/complete");
    agent
        .post(&complete, &json!({"size": "many"}))
        .await
        .is_problem(400, "invalid_request", &["many"]);
    assert_eq!(
        agent.complete(&upload_id, &sample).await.status,
        200,
        "a slip of the pen does not cost the upload"
    );
    assert_eq!(bucket.keys().await.len(), 2);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    let mut sample = Sample::small("a1");
    sample.metadata["extra_metadata"]["filler"] = "x".repeat(2 * 1024 * 1024).into();
    let request = agent.request(http::Method::POST, "/v1/locations/garage/uploads");
    let body = json!({"backup": sample.metadata, "filename": "a.tar"});
    // The agent does not read on for ever: an answer, or a connection that is closed.
    if let Ok(answer) = agent.send(request.json(&body)).await {
        answer.is_problem(400, "invalid_request", &["limit"]);
    }
    nothing_is_kept(&agent, &bucket).await;
}

#[tokio::test]
async fn metadata_that_could_not_be_read_again_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    let mut sample = Sample::small("a1");
    sample.metadata["extra_metadata"]["filler"] = "@".into();
    // Written out, each of these numbers takes almost four times as much.
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
async fn metadata_that_home_assistant_would_refuse_is_refused() {
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
        (change("folders", json!(["attic"])), "attic"),
        (
            change(
                "addons",
                json!([{"name": "a", "slug": "a", "version": "1", "color": "red"}]),
            ),
            "color",
        ),
        (
            change("addons", json!([{"slug": "a", "version": "1"}])),
            "name",
        ),
        (change("size", json!(-1)), "-1"),
        (change("size", json!("big")), "big"),
        (change("protected", json!("yes")), "yes"),
        (change("extra_metadata", json!([])), "map"),
        (without("homeassistant_version"), "homeassistant_version"),
        (without("backup_id"), "backup_id"),
        (without("folders"), "folders"),
    ] {
        let answer = agent.create_named("garage", &sample, "a.tar").await;
        answer.is_problem(
            422,
            "invalid_metadata",
            &[word, "Home Assistant would refuse"],
        );
    }
    nothing_is_kept(&agent, &bucket).await;
}

#[tokio::test]
async fn a_tar_that_is_not_this_backup_is_refused() {
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
            // What cannot be a tar is refused while it is still on its way.
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
async fn a_tar_that_is_cut_off_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in SIZES {
        let whole = Sample::new("a1", "Cut", size);
        // In the middle of the data, and right before the manifest's end: announced as what arrives.
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
async fn a_huge_header_is_refused_and_the_agent_lives_on() {
    let (agent, _bucket) = agent_and_bucket().await;
    let request = agent
        .request(http::Method::GET, "/v1/info")
        .header("x-filler", "x".repeat(2 * 1024 * 1024));
    if let Ok(answer) = agent.send(request).await {
        assert_eq!(answer.status, 431);
    }
    let many = agent.request(http::Method::GET, "/v1/info");
    let many = (0..500).fold(many, |request, index| {
        request.header(format!("x-filler-{index}"), "x")
    });
    if let Ok(answer) = agent.send(many).await {
        assert_eq!(answer.status, 431);
    }
    assert_eq!(agent.get("/v1/info").await.status, 200);
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
    bucket.comes_to_be_empty().await;
}
