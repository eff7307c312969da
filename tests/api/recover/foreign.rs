//! Tars that the agent did not write: backups of other programs, and none.

use serde_json::{Value, json};

use super::{FIXTURE, failed, late, manifest, recovered, tar_of};
use crate::lab::{Agent, Sample, noise};

#[tokio::test]
async fn foreign_and_encrypted_tars_are_recovered() {
    let (agent, _proxy, bucket) = late().await;
    let secret = noise("encrypted", 3_000_000);
    let encrypted = manifest(
        &json!({"slug": "e1", "protected": true, "homeassistant": {"version": "2026.11.0"}}),
    );
    bucket.put("backups/core.tar", FIXTURE).await;
    bucket
        .put(
            "backups/first.tar",
            tar_of(&[
                ("backup.json", &encrypted),
                ("homeassistant.tar.gz", &secret),
            ]),
        )
        .await;
    let addon = manifest(
        &json!({"slug": "e2", "protected": true, "addons": [{"slug": "x", "name": "X", "version": "1"}]}),
    );
    let entries: Vec<(&str, &[u8])> = vec![
        ("./homeassistant.tar.gz", &secret),
        ("./x.tar.gz", &secret[..700_000]),
        ("./backup.json", &addon),
    ];
    bucket
        .put("backups/last/in a folder.tar", tar_of(&entries))
        .await;
    let (mut keys, failed) = recovered(&agent, &json!({})).await;
    keys.sort();
    assert_eq!((keys.len(), failed), (3, vec![]));
    let list = agent.refreshed("garage").await;
    let of = |id: &str| {
        list["backups"]
            .as_array()
            .unwrap()
            .iter()
            .find(|backup| backup["backup_id"] == id)
            .unwrap()
    };
    assert_eq!(
        (&of("e1")["protected"], &of("e1")["homeassistant_version"]),
        (&json!(true), &json!("2026.11.0"))
    );
    assert_eq!(
        (&of("e2")["protected"], &of("e2")["addons"][0]["slug"]),
        (&json!(true), &json!("x"))
    );
    agent.setup.run(&["verify", "garage"]).await.ended_with(0);
}

#[tokio::test]
async fn folder_of_a_later_home_assistant_is_recovered() {
    let (agent, _proxy, bucket) = late().await;
    let manifest = manifest(&json!({"folders": ["attic", "media"]}));
    bucket
        .put("backups/a.tar", tar_of(&[("./backup.json", &manifest)]))
        .await;
    let (keys, _) = recovered(&agent, &json!({})).await;
    assert_eq!(keys, ["backups/a.tar"]);
    let list = agent.list("garage").await;
    assert_eq!(list["backups"][0]["folders"], json!(["attic", "media"]));
}

#[tokio::test]
async fn unrelated_tars_are_not_recovered() {
    let (agent, proxy, bucket) = late().await;
    let good = Sample::new("a1", "Good", 40_960).tar;
    let end = good.len() - 4096;
    let of = |change: Value| tar_of(&[("./backup.json", &manifest(&change))]);
    for (key, tar) in [
        ("backups/empty.tar", Vec::new()),
        ("backups/no tar.tar", noise("no tar", 100_000)),
        ("backups/cut.tar", good[..end].to_vec()),
        ("backups/no manifest.tar", tar_of(&[("./x", b"y")])),
        (
            "backups/huge manifest.tar",
            tar_of(&[("./backup.json", &vec![b' '; 5 * 1024 * 1024])]),
        ),
        ("backups/no json.tar", tar_of(&[("./backup.json", b"{")])),
        ("backups/no id.tar", of(json!({"slug": ""}))),
        ("backups/path.tar", of(json!({"slug": "../../a1"}))),
        ("backups/no date.tar", of(json!({"date": "yesterday"}))),
    ] {
        bucket.put(key, tar).await;
        let (keys, reasons) = recovered(&agent, &json!({"keys": [key]})).await;
        assert_eq!(
            (keys, reasons),
            (vec![], failed(key, "invalid_metadata")),
            "{key}"
        );
        assert_eq!(bucket.keys().await, [key], "{key}");
        bucket.delete(key).await;
    }
    // Endless headers: an empty entry, repeated.
    let mut header = tar::Header::new_ustar();
    header.set_path("x").unwrap();
    header.set_size(0);
    header.set_cksum();
    bucket
        .put("backups/endless.tar", header.as_bytes().repeat(80_000))
        .await;
    let before = proxy.count(|request| request.reads(".tar"));
    let (keys, reasons) = recovered(&agent, &json!({})).await;
    assert_eq!(
        (keys, reasons),
        (vec![], failed("backups/endless.tar", "invalid_metadata"))
    );
    let reads = proxy.count(|request| request.reads(".tar")) - before;
    assert!(reads <= 1000, "{reads} reads of one tar");
}

#[tokio::test]
async fn foreign_tars_are_remembered_until_they_change() {
    let (agent, proxy, bucket) = late().await;
    let key = "backups/sync tool.tar";
    let codes = async |agent: &Agent| {
        let list = agent.refreshed("garage").await;
        let skipped = list["skipped"].as_array().unwrap().clone();
        skipped
            .iter()
            .map(|skipped| (skipped["code"].clone(), skipped["reason"].clone()))
            .collect::<Vec<_>>()
    };
    bucket.put(key, tar_of(&[("./x", b"y")])).await;
    bucket
        .put("backups/._sync tool.tar", noise("fork", 4096))
        .await;
    assert_eq!(codes(&agent).await[0].0, "metadata_missing");
    // A dry run reads it as well.
    let (_, reasons) = recovered(&agent, &json!({"dry_run": true})).await;
    assert_eq!(reasons, failed(key, "invalid_metadata"));
    let known = codes(&agent).await;
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(known[0].0, "not_a_backup");
    let reason = known[0].1.as_str().unwrap();
    assert!(reason.starts_with("it is no backup: "), "{reason}");
    let reads = proxy.count(|request| request.reads(".tar"));
    assert_eq!(recovered(&agent, &json!({})).await, (vec![], vec![]));
    assert_eq!(proxy.count(|request| request.reads(".tar")), reads);

    // Remembered on disk, for commands too.
    let ran = agent.setup.run(&["list"]).await.ended_with(0);
    assert!(ran.text().contains("it is no backup"), "{}", ran.text());
    // Named, it is read again.
    let (_, reasons) = recovered(&agent, &json!({"keys": [key]})).await;
    assert_eq!(reasons, failed(key, "invalid_metadata"));

    bucket.put(key, Sample::small("a1").tar).await;
    assert_eq!(codes(&agent).await[0].0, "metadata_missing");
    let (keys, _) = recovered(&agent, &json!({})).await;
    assert_eq!(keys, [key]);
}
