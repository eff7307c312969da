//! Damaged objects in a bucket are reported and hide nothing else.

mod in_transit;

use serde_json::{Value, json};

use crate::lab::call::ids;
use crate::lab::{Agent, Sample, agent_and_bucket, agent_behind_proxy, eventually};

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
async fn invalid_metadata_is_skipped_and_reported() {
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
        ("list", "[]".to_owned(), "it is no metadata of a backup"),
        ("id", change("backup_id", json!("")), "`backup_id` is empty"),
        ("types", change("size", json!("big")), "big"),
        ("name", change("name", json!(7)), "expected a string"),
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
        .filter(|line| line.contains("backups/types.metadata.json"))
        .count();
    assert_eq!(warned, 1, "logged once, not at every list");
    let shown = agent.location("garage").await;
    assert_eq!(
        (&shown["status"], &shown["backups"]),
        (&json!("ok"), &json!(1))
    );
}

#[tokio::test]
async fn partial_backup_is_not_listed() {
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
async fn tar_of_unexpected_size_is_not_listed() {
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
async fn two_objects_with_one_backup_id_are_one_backup() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    bucket.put_backup("", "a copy by hand", &sample).await;
    let list = agent.refreshed("garage").await;
    assert_eq!(ids(&list), ["a1"]);
    assert!(
        list["backups"][0]["s3_backup_agent"].is_object(),
        "the verifiable copy wins"
    );
    assert!(reason(&list, "backups/a copy by hand.metadata.json").contains("same backup id"));
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    assert_eq!(
        agent.listed("garage").await,
        ["a1"],
        "the copy is there now"
    );
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    bucket.wait_until_empty().await;
}

/// Codes found by verifying "a1".
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

/// Number of damage reports about this metadata in the log.
fn warnings(agent: &Agent, key: &str) -> usize {
    let is_it = |line: &&str| line.contains(key) && line.contains("the metadata of a backup in");
    agent.printed().lines().filter(is_it).count()
}

#[tokio::test]
async fn invalid_extra_fields_are_named_and_hide_nothing() {
    let (agent, bucket) = agent_and_bucket().await;
    let mut sample = Sample::small("a1");
    sample.metadata["foreign"] = json!({"key": 1});
    bucket.put_backup("", "x", &sample).await;
    agent.list("garage").await;
    assert_eq!(
        findings(&agent, "full").await,
        Vec::<String>::new(),
        "fields of other tools are ignored"
    );
    sample.metadata["s3_backup_agent"] = json!({"format": "of the future"});
    bucket.put_backup("", "x", &sample).await;
    assert_eq!(ids(&agent.refreshed("garage").await), ["a1"]);
    assert_eq!(ids(&agent.refreshed("garage").await), ["a1"]);
    assert_eq!(
        warnings(&agent, "backups/x.metadata.json"),
        1,
        "logged once, not at every list"
    );
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    for mode in ["quick", "full"] {
        assert_eq!(findings(&agent, mode).await, ["metadata_damaged"], "{mode}");
    }
}

/// `src/backup/object.rs` tries every byte; these represent every kind.
#[tokio::test]
async fn changed_metadata_byte_is_named_and_hides_nothing() {
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
        ("\"addons", "\"bddons", true),
        ("\"backup_id", "\"backup-id", false),
        ("Mosquitto", "Mosquitdo", true),
        ("-11-20T", "-12-20T", true),
        ("instance_id", "instance id", true),
        ("\"media\"", "\"mebia\"", true),
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
                reason(&list, &key).contains("it is no metadata of a backup"),
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
async fn checksum_is_compared_despite_damaged_extra_fields() {
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
        "a damaged backup downloaded completely"
    );
    assert_eq!(
        findings(&agent, "full").await,
        ["metadata_damaged", "checksum_mismatch"]
    );
}

/// The rule of `docs/concepts/storage.md`.
#[tokio::test]
async fn recovery_repairs_damaged_metadata() {
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

#[tokio::test]
async fn changed_checksum_or_size_in_metadata_is_detected_and_named() {
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
        "only full verification finds it"
    );
    assert!(
        agent.download("garage", "a1").await.is_err(),
        "it downloaded completely"
    );
    eventually("the log names the backup", async || {
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
        "there is no proof"
    );
}
