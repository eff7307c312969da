//! A bucket with broken things in it: they are reported, and hide nothing else.

use serde_json::{Value, json};

use crate::harness::call::ids;
use crate::harness::{MIB, Sample, agent_and_bucket, eventually};

fn reason<'l>(list: &'l Value, key: &str) -> &'l str {
    let skipped = list["skipped"].as_array().unwrap().iter().find(|skipped| skipped["key"] == key);
    skipped.unwrap_or_else(|| panic!("{key} is not reported: {list:#}"))["reason"].as_str().unwrap()
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
    without.as_object_mut().unwrap().shift_remove("date").unwrap();
    let bad = [
        ("garbage", "{\"backup_id\": ".to_owned(), "EOF"),
        ("binary", "\u{0}\u{7f}".to_owned(), "expected value"),
        ("empty", String::new(), "EOF"),
        ("list", "[]".to_owned(), "Home Assistant would refuse it"),
        ("folder", change("folders", json!(["attic"])), "attic"),
        ("addon", change("addons", json!([{"name": "a", "slug": "a", "version": "1", "color": 1}])), "color"),
        ("types", change("protected", json!("yes")), "expected a boolean"),
        ("missing", without.to_string(), "date"),
        ("huge", change("extra_metadata", json!({"x": "y".repeat(2 * 1024 * 1024)})), "bytes"),
    ];
    for (stem, metadata, _) in &bad {
        bucket.put(&format!("backups/{stem}.metadata.json"), metadata.clone()).await;
        bucket.put(&format!("backups/{stem}.tar"), good.tar.clone()).await;
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
    let warned = agent.printed().lines().filter(|line| line.contains("backups/folder.metadata.json")).count();
    assert_eq!(warned, 1, "said once, not at every list");
    let shown = agent.location("garage").await;
    assert_eq!((&shown["status"], &shown["backups"]), (&json!("ok"), &json!(1)));
}

#[tokio::test]
async fn half_a_backup_is_not_listed() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("half");
    bucket.put("backups/no tar.metadata.json", sample.metadata.to_string()).await;
    bucket.put("backups/no metadata.tar", sample.tar.clone()).await;
    let list = agent.list("garage").await;
    assert_eq!(list["backups"], json!([]));
    assert!(reason(&list, "backups/no tar.metadata.json").contains("tar is missing"));
    agent.download("garage", "half").await.unwrap().is_problem(404, "backup_not_found", &["half"]);
}

#[tokio::test]
async fn a_tar_of_another_size_than_was_uploaded_is_not_listed() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    let key = format!("backups/{}", sample.stem());
    bucket.put(&format!("{key}.tar"), sample.tar.slice(..20_480)).await;
    let list = agent.refreshed("garage").await;
    assert_eq!(list["backups"], json!([]));
    let reason = reason(&list, &format!("{key}.metadata.json"));
    assert!(reason.contains("20480") && reason.contains("40960"), "{reason}");
}

#[tokio::test]
async fn a_changed_byte_breaks_the_download_before_its_end() {
    let (agent, bucket) = agent_and_bucket().await;
    for size in [40_960, 12 * MIB] {
        let sample = Sample::new("a1", "Damaged", size);
        agent.upload("garage", &sample).await;
        let mut damaged = sample.tar.to_vec();
        damaged[sample.tar.len() / 2] ^= 1;
        bucket.put(&format!("backups/{}.tar", sample.stem()), damaged).await;
        assert_eq!(agent.listed("garage").await, ["a1"]);
        let answer = agent.download("garage", "a1").await;
        assert!(answer.is_err(), "{size}: a damaged backup came whole");
        eventually("the log names it", async || agent.printed().contains("The backup \"a1\" is damaged")).await;
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
    assert!(list["backups"][0]["s3_backup_agent"].is_object(), "the one that can be verified wins");
    assert!(reason(&list, "backups/a copy by hand.metadata.json").contains("same backup id"));
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    assert_eq!(agent.listed("garage").await, ["a1"], "the copy is there now");
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    bucket.comes_to_be_empty().await;
}

#[tokio::test]
async fn our_additions_that_make_no_sense_are_as_good_as_none() {
    let (agent, bucket) = agent_and_bucket().await;
    let mut sample = Sample::small("a1");
    sample.metadata["s3_backup_agent"] = json!({"format": "of the future"});
    sample.metadata["somebody_elses"] = json!({"key": 1});
    bucket.put_backup("", "x", &sample).await;
    assert_eq!(ids(&agent.list("garage").await), ["a1"]);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}
