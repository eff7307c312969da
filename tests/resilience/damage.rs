//! A bucket with broken things in it: they are reported, and hide nothing else.

use serde_json::{Value, json};

use crate::lab::call::ids;
use crate::lab::{
    Agent, Bucket, Fault, MIB, Request, Sample, agent_and_bucket, agent_behind_proxy, eventually,
};

fn reason<'l>(list: &'l Value, key: &str) -> &'l str {
    let skipped = list["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .find(|skipped| skipped["key"] == key);
    skipped.unwrap_or_else(|| panic!("{key} is not reported: {list:#}"))["reason"]
        .as_str()
        .unwrap()
}

#[tokio::test]
async fn bad_metadata_is_left_out_and_reported() {
    let (agent, bucket) = agent_and_bucket().await;
    let good = Sample::small("good");
    bucket.put_backup("", "good", &good).await;
    let change = |key: &str, value: Value| {
        let mut metadata = Sample::small("bad").metadata;
        metadata[key] = value;
        metadata.to_string()
    };
    let mut without = Sample::small("bad").metadata;
    without
        .as_object_mut()
        .unwrap()
        .shift_remove("date")
        .unwrap();
    let bad = [
        ("garbage", "{\"backup_id\": ".to_owned(), "EOF"),
        ("binary", "\u{0}\u{7f}".to_owned(), "expected value"),
        ("empty", String::new(), "EOF"),
        ("list", "[]".to_owned(), "Home Assistant would refuse it"),
        ("folder", change("folders", json!(["attic"])), "attic"),
        (
            "addon",
            change(
                "addons",
                json!([{"name": "a", "slug": "a", "version": "1", "color": 1}]),
            ),
            "color",
        ),
        (
            "types",
            change("protected", json!("yes")),
            "expected a boolean",
        ),
        ("missing", without.to_string(), "date"),
        (
            "huge",
            change("extra_metadata", json!({"x": "y".repeat(2 * 1024 * 1024)})),
            "bytes",
        ),
    ];
    for (stem, metadata, _) in &bad {
        bucket
            .put(&format!("backups/{stem}.metadata.json"), metadata.clone())
            .await;
        bucket
            .put(&format!("backups/{stem}.tar"), good.tar.clone())
            .await;
    }
    let list = agent.list("garage").await;
    assert_eq!(ids(&list), ["good"]);
    for (stem, _, word) in &bad {
        let reason = reason(&list, &format!("backups/{stem}.metadata.json"));
        assert!(reason.contains(word), "{stem}: {reason}");
    }
    assert_eq!(list["skipped"].as_array().unwrap().len(), bad.len());
    assert!(agent.download("garage", "good").await.unwrap().body == good.tar);
    assert_eq!(agent.refreshed("garage").await["skipped"], list["skipped"]);
    let warned = agent
        .printed()
        .lines()
        .filter(|line| line.contains("backups/folder.metadata.json"))
        .count();
    assert_eq!(warned, 1, "said once, not at every list");
    let shown = agent.location("garage").await;
    assert_eq!(
        (&shown["status"], &shown["backups"]),
        (&json!("ok"), &json!(1))
    );
}

#[tokio::test]
async fn half_a_backup_is_not_listed() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("half");
    bucket
        .put("backups/no tar.metadata.json", sample.metadata.to_string())
        .await;
    bucket
        .put("backups/no metadata.tar", sample.tar.clone())
        .await;
    let list = agent.list("garage").await;
    assert_eq!(list["backups"], json!([]));
    assert!(reason(&list, "backups/no tar.metadata.json").contains("tar is missing"));
    agent
        .download("garage", "half")
        .await
        .unwrap()
        .is_problem(404, "backup_not_found", &["half"]);
}

#[tokio::test]
async fn a_tar_of_another_size_than_was_uploaded_is_not_listed() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    let key = format!("backups/{}", sample.stem());
    bucket
        .put(&format!("{key}.tar"), sample.tar.slice(..20_480))
        .await;
    let list = agent.refreshed("garage").await;
    assert_eq!(list["backups"], json!([]));
    let reason = reason(&list, &format!("{key}.metadata.json"));
    assert!(
        reason.contains("20480") && reason.contains("40960"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_changed_byte_breaks_the_download_before_its_end() {
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
        assert!(answer.is_err(), "{size}: a damaged backup came whole");
        eventually("the log names it", async || {
            agent.printed().contains("The backup \"a1\" is damaged")
        })
        .await;
        assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    }
}

#[tokio::test]
async fn two_objects_with_one_backup_id_are_one_backup() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    bucket.put_backup("", "a copy by hand", &sample).await;
    let list = agent.refreshed("garage").await;
    assert_eq!(ids(&list), ["a1"]);
    assert!(
        list["backups"][0]["s3_backup_agent"].is_object(),
        "the one that can be verified wins"
    );
    assert!(reason(&list, "backups/a copy by hand.metadata.json").contains("same backup id"));
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    assert_eq!(
        agent.listed("garage").await,
        ["a1"],
        "the copy is there now"
    );
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    bucket.comes_to_be_empty().await;
}

/// What looking at "a1" finds, by the codes.
async fn findings(agent: &Agent, mode: &str) -> Vec<String> {
    let answer = agent
        .post(
            "/v1/locations/garage/backups/a1/verify",
            &json!({"mode": mode}),
        )
        .await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let result: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let problems = result["problems"]
        .as_array()
        .unwrap_or_else(|| panic!("{result:#}"));
    problems
        .iter()
        .map(|problem| problem["code"].as_str().unwrap().to_owned())
        .collect()
}

/// How often the log says that this metadata is damaged, in a list.
fn warnings(agent: &Agent, key: &str) -> usize {
    let is_it = |line: &&str| line.contains(key) && line.contains("the metadata of a backup in");
    agent.printed().lines().filter(is_it).count()
}

#[tokio::test]
async fn our_additions_that_make_no_sense_hide_nothing_and_are_named() {
    let (agent, bucket) = agent_and_bucket().await;
    let mut sample = Sample::small("a1");
    sample.metadata["somebody_elses"] = json!({"key": 1});
    bucket.put_backup("", "x", &sample).await;
    agent.list("garage").await;
    assert_eq!(
        findings(&agent, "full").await,
        Vec::<String>::new(),
        "what other tools write is none"
    );
    sample.metadata["s3_backup_agent"] = json!({"format": "of the future"});
    bucket.put_backup("", "x", &sample).await;
    assert_eq!(ids(&agent.refreshed("garage").await), ["a1"]);
    assert_eq!(ids(&agent.refreshed("garage").await), ["a1"]);
    assert_eq!(
        warnings(&agent, "backups/x.metadata.json"),
        1,
        "said once, not at every list"
    );
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    for mode in ["quick", "full"] {
        assert_eq!(findings(&agent, mode).await, ["metadata_damaged"], "{mode}");
    }
}

/// `src/backup/object.rs` tries every byte; these are of every kind that there is.
#[tokio::test]
async fn a_byte_that_changed_in_the_metadata_is_named_and_hides_nothing() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    let key = format!("backups/{}.metadata.json", sample.stem());
    let whole = bucket.text(&key).await;
    for mode in ["quick", "full"] {
        assert_eq!(findings(&agent, mode).await, Vec::<String>::new(), "{mode}");
    }
    let (crc32, wrong) = (
        sample.crc32(),
        sample.crc32().replacen(|_: char| true, "g", 1),
    );
    for (from, to, is_listed) in [
        ("{\"addons", "[\"addons", false),
        ("\"addons", "\"bddons", false),
        ("Mosquitto", "Mosquitdo", true),
        ("-11-20T", "-12-20T", true),
        ("instance_id", "instance id", true),
        ("\"media\"", "\"mebia\"", false),
        ("2026.11.0", "2026.10.0", true),
        ("Nightly", "Nightlz", true),
        ("\"size\":40960,\"s3", "\"size\":40961,\"s3", true),
        ("s3_backup_agent", "s3\\backup_agent", true),
        ("\"format\":2", "\"format\":1", true),
        (&crc32, &wrong, true),
        ("agent_version", "agent_wersion", true),
        ("metadata_sha256", "metadata_sha257", true),
        ("\"}}", "\"}]", false),
    ] {
        assert!(whole.contains(from), "{from} is not in {whole}");
        let (warned, case) = (warnings(&agent, &key), format!("{from} becomes {to}"));
        bucket.put(&key, whole.replace(from, to)).await;
        let list = agent.refreshed("garage").await;
        if !is_listed {
            assert_eq!(ids(&list), Vec::<String>::new(), "{case}");
            assert!(
                reason(&list, &key).contains("Home Assistant would refuse it"),
                "{case}: {list:#}"
            );
            continue;
        }
        assert_eq!(
            (ids(&list), &list["skipped"]),
            (vec!["a1".to_owned()], &json!([])),
            "{case}"
        );
        assert!(
            agent.download("garage", "a1").await.unwrap().body == sample.tar,
            "{case}"
        );
        for mode in ["quick", "full"] {
            assert!(
                findings(&agent, mode)
                    .await
                    .contains(&"metadata_damaged".to_owned()),
                "{case}: {mode}"
            );
        }
        assert_eq!(warnings(&agent, &key), warned + 1, "{case}");
    }
    bucket.put(&key, whole).await;
    agent.refreshed("garage").await;
    assert_eq!(findings(&agent, "full").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_hash_is_compared_even_where_the_rest_of_our_additions_is_damaged() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    let stem = format!("backups/{}", sample.stem());
    let text = bucket
        .text(&format!("{stem}.metadata.json"))
        .await
        .replace("agent_version", "agent-version");
    bucket.put(&format!("{stem}.metadata.json"), text).await;
    assert_eq!(agent.refreshed("garage").await["skipped"], json!([]));
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    let mut damaged = sample.tar.to_vec();
    damaged[20_000] ^= 1;
    bucket.put(&format!("{stem}.tar"), damaged).await;
    agent.refreshed("garage").await;
    assert!(
        agent.download("garage", "a1").await.is_err(),
        "a damaged backup came whole"
    );
    assert_eq!(
        findings(&agent, "full").await,
        ["metadata_damaged", "checksum_mismatch"]
    );
}

/// As `docs/concepts/storage.md` says.
#[tokio::test]
async fn damaged_metadata_is_mended_by_recover() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    proxy.make_old();
    let mut sample = Sample::small("a1");
    sample.metadata["s3_backup_agent"] = json!({"size": 1});
    bucket.put_backup("", "x", &sample).await;
    assert_eq!(agent.listed("garage").await, ["a1"]);
    assert_eq!(findings(&agent, "quick").await, ["metadata_damaged"]);
    bucket.delete("backups/x.metadata.json").await;
    let recovered = agent
        .post("/v1/locations/garage/recover", &json!({}))
        .await
        .json();
    assert_eq!(
        recovered["recovered"][0]["backup_id"], "a1",
        "{recovered:#}"
    );
    assert_eq!(findings(&agent, "full").await, Vec::<String>::new());
    let whole = bucket.text("backups/x.metadata.json").await;
    assert!(
        whole.contains("Nightly") && whole.contains("\"format\":2"),
        "{whole}"
    );
    bucket
        .put(
            "backups/x.metadata.json",
            whole.replace("Nightly", "Nightlz"),
        )
        .await;
    assert_eq!(
        agent.refreshed("garage").await["backups"][0]["name"],
        "Nightlz"
    );
    assert_eq!(findings(&agent, "full").await, ["metadata_damaged"]);
}

async fn stored_whole(bucket: &Bucket, sample: &Sample) {
    let stem = format!("backups/{}", sample.stem());
    bucket
        .comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
    assert!(
        bucket.get(&format!("{stem}.tar")).await == sample.tar,
        "the tar in the bucket is another one"
    );
}

/// The provider compares a checksum, or the agent the `ETag`: nothing is left that nobody looks at.
#[tokio::test]
async fn a_bit_that_flips_on_the_wire_up_is_caught_and_sent_again() {
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
        assert_eq!(proxy.faults_left(), 0, "the test would prove nothing");
        for (part, times) in [(1, 2), (2, 1), (3, 2)] {
            assert_eq!(
                proxy.count(|request| request.stores_part(part)),
                times,
                "{checksum}: part {part}"
            );
        }
        stored_whole(&bucket, &large).await;
        assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
        let small = Sample::small("b2");
        proxy.fault(|request| request.writes(".tar"), Fault::FlipRequest(20_000));
        proxy.fault(
            |request| request.writes(".metadata.json"),
            Fault::FlipRequest(30),
        );
        agent.upload("garage", &small).await;
        assert_eq!(proxy.faults_left(), 0, "the test would prove nothing");
        stored_whole(&bucket, &small).await;
        assert_eq!(
            bucket
                .json(&format!("backups/{}.metadata.json", small.stem()))
                .await["backup_id"],
            "b2"
        );
    }
}

#[tokio::test]
async fn a_wire_that_damages_everything_ends_the_upload_and_leaves_nothing() {
    for checksum in ["crc64nvme", "off"] {
        let (agent, proxy, bucket) =
            agent_behind_proxy(|location| *location = location.clone().with("checksum", checksum))
                .await;
        // What its ETags are is known by then.
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
        bucket.comes_to_be_empty().await;
        proxy.forget_faults();
        agent.upload("garage", &sample).await;
        stored_whole(&bucket, &sample).await;
    }
}

#[tokio::test]
async fn a_bit_that_flips_on_the_wire_down_breaks_the_download_and_is_named() {
    let (agent, proxy, _bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::new("a1", "Damaged", 12 * MIB);
    agent.upload("garage", &sample).await;
    proxy.fault(
        |request: &Request| request.reads(".tar"),
        Fault::FlipAnswer(1_000_000),
    );
    assert!(
        agent.download("garage", "a1").await.is_err(),
        "a damaged backup came whole"
    );
    assert_eq!(proxy.faults_left(), 0, "the test would prove nothing");
    eventually("the log names it", async || {
        agent.printed().contains("The backup \"a1\" is damaged")
    })
    .await;
    assert!(
        agent.download("garage", "a1").await.unwrap().body == sample.tar,
        "only the wire was damaged"
    );
}

#[tokio::test]
async fn a_bit_that_flips_on_the_socket_is_caught_before_there_is_a_backup() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in [40_960, 12 * MIB] {
        let sample = Sample::new("a1", "Damaged", size);
        let mut flipped = sample.tar.to_vec();
        flipped[2000] ^= 1;
        let upload_id = agent.begin("garage", &sample).await;
        assert_eq!(
            agent.content(&upload_id, flipped).await.status,
            200,
            "nobody can know yet"
        );
        let answer = agent.complete(&upload_id, &sample).await;
        answer.is_problem(409, "checksum_mismatch", &["CRC-32", &sample.crc32()]);
        bucket.comes_to_be_empty().await;
    }
}

#[tokio::test]
async fn a_hash_or_a_size_that_changed_in_the_metadata_is_caught_and_named() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    let key = format!("backups/{}.metadata.json", sample.stem());
    let good = bucket.json(&key).await;
    let change = async |field: &str, value: Value| {
        let mut metadata = good.clone();
        metadata["s3_backup_agent"][field] = value;
        bucket.put(&key, metadata.to_string()).await;
    };
    change("sha256", json!(Sample::small("b2").sha256())).await;
    assert_eq!(
        agent.listed("garage").await,
        ["a1"],
        "only reading all of it tells"
    );
    assert!(
        agent.download("garage", "a1").await.is_err(),
        "it came whole"
    );
    eventually("the log names it", async || {
        agent.printed().contains("The backup \"a1\" is damaged")
    })
    .await;
    change("size", json!(40_961)).await;
    let list = agent.refreshed("garage").await;
    assert_eq!(list["backups"], json!([]));
    assert!(reason(&list, &key).contains("40961"), "{list:#}");
    change("sha256", json!("not a hash")).await;
    assert!(
        agent
            .download("garage", "a1")
            .await
            .map_or(true, |answer| answer.status != 200),
        "nothing proves it"
    );
}
