//! One bucket shared with the layout's other writer: each reads the other's backups.

use serde_json::json;

use crate::lab::call::ids;
use crate::lab::{Location, Sample, Setup, agent_and_bucket, garage};

/// Backup names as users write them.
pub(crate) const NAMES: [&str; 9] = [
    "Before/after the move",
    "100 % done #2 [final]",
    "a+b%20c%2Fd",
    "\"quoted\" & 'quoted' <tag>",
    "Sicherung für Öl & Gas",
    "日本語のバックアップ",
    "🏠 daheim 👩‍👩‍👧",
    "semi;colon,comma=equals?question@at:colon$dollar",
    "back\\slash | pipe ~ tilde ^ caret ` grave {brace}",
];

#[tokio::test]
async fn backups_of_another_writer_are_listed_downloaded_and_deleted() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::of(Location {
        prefix: "ha".into(),
        ..Location::of(&bucket)
    })
    .serve()
    .await;
    for (index, name) in NAMES.iter().enumerate() {
        let sample = Sample::new(&format!("id{index}"), name, 20_480 + 512 * index as u64);
        bucket.put_backup("ha/", &sample.stem(), &sample).await;
    }
    let list = agent.list("garage").await;
    assert_eq!(list["skipped"], json!([]));
    assert_eq!(list["backups"].as_array().unwrap().len(), NAMES.len());
    for (index, name) in NAMES.iter().enumerate() {
        let sample = Sample::new(&format!("id{index}"), name, 20_480 + 512 * index as u64);
        let shown = list["backups"]
            .as_array()
            .unwrap()
            .iter()
            .find(|backup| backup["name"] == *name);
        assert_eq!(
            shown,
            Some(&sample.metadata),
            "field for field, nothing added"
        );
        assert!(
            agent.download("garage", sample.id()).await.unwrap().body == sample.tar,
            "{name}"
        );
        assert_eq!(
            agent.delete_backup("garage", sample.id()).await.status,
            204,
            "{name}"
        );
    }
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn other_readers_find_our_backups() {
    let (agent, bucket) = agent_and_bucket().await;
    for (index, name) in NAMES.iter().enumerate() {
        let sample = Sample::new(&format!("id{index}"), name, 20_480);
        agent.upload("garage", &sample).await;
        // The other reader computes both keys from name and date.
        let stem = format!("backups/{}", sample.stem());
        bucket.wait_until_only(&stem, &sample).await;
        let metadata = bucket.json(&format!("{stem}.metadata.json")).await;
        let mut plain = metadata.clone();
        plain
            .as_object_mut()
            .unwrap()
            .shift_remove("s3_backup_agent")
            .unwrap();
        assert_eq!(plain, sample.metadata);
        assert_eq!(agent.delete_backup("garage", sample.id()).await.status, 204);
    }
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn manually_renamed_files_keep_working() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    bucket
        .put_backup("", "renamed by hand/2026 #1 + 50%", &sample)
        .await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn unrequestable_keys_hide_no_backup() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("good");
    bucket.put_backup("", "good", &sample).await;
    let strange = [
        "bell\u{7}",
        "double//slash",
        "line\nbreak",
        "dot/./dot",
        "up/../up",
    ];
    for (index, stem) in strange.iter().enumerate() {
        // This client cannot send the last two either; an HTTP library folds them.
        if index < 3 {
            bucket
                .put_backup("", stem, &Sample::small(&format!("strange{index}")))
                .await;
        }
    }
    let list = agent.list("garage").await;
    assert!(ids(&list).contains(&"good".to_owned()), "{list:#}");
    let (listed, skipped) = (
        list["backups"].as_array().unwrap().len(),
        list["skipped"].as_array().unwrap().len(),
    );
    assert_eq!(listed + skipped, 4, "each is listed or reported: {list:#}");
    for backup in list["backups"].as_array().unwrap() {
        let id = backup["backup_id"].as_str().unwrap();
        assert_eq!(
            agent.download("garage", id).await.unwrap().status,
            200,
            "{id} is listed, but cannot be downloaded"
        );
    }
}

#[tokio::test]
async fn unrelated_objects_are_left_alone() {
    let (agent, bucket) = agent_and_bucket().await;
    let strangers = [
        "backups/README.txt",
        "backups/notes.json",
        "other/backups/x.tar",
        "top.tar",
    ];
    for key in strangers {
        bucket.put(key, "not ours").await;
    }
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    assert_eq!(agent.listed("garage").await, ["a1"]);
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    bucket.wait_until_keys_are(&strangers).await;
}

#[tokio::test]
async fn taken_name_gets_the_backup_id_as_suffix() {
    let (agent, bucket) = agent_and_bucket().await;
    let (first, second) = (Sample::small("first"), Sample::small("second"));
    agent.upload("garage", &first).await;
    let created = agent.create("garage", &second).await.json();
    assert_eq!(
        created["key"],
        format!("backups/{}_second.tar", second.stem())
    );
    agent.upload("garage", &second).await;
    assert_eq!(agent.listed("garage").await, ["first", "second"]);
    for sample in [first, second] {
        assert!(agent.download("garage", sample.id()).await.unwrap().body == sample.tar);
        assert_eq!(agent.delete_backup("garage", sample.id()).await.status, 204);
    }
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn reuploaded_backup_replaces_the_first() {
    let (agent, bucket) = agent_and_bucket().await;
    let first = Sample::new("a1", "Again", 40_960);
    let second = Sample::new("a1", "Again", 6 * 1024 * 1024);
    agent.upload("garage", &first).await;
    agent.upload("garage", &second).await;
    assert_eq!(agent.listed("garage").await, ["a1"]);
    assert!(agent.download("garage", "a1").await.unwrap().body == second.tar);
    // The first stays until the second is complete, so the second has its own name.
    let stem = format!("backups/{}_a1", second.stem());
    bucket
        .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
}

#[tokio::test]
async fn upload_never_overwrites_another_backup() {
    let (agent, bucket) = agent_and_bucket().await;
    let (first, second) = (
        Sample::new("a1", "Same", 20_480),
        Sample::new("a2", "Same", 30_720),
    );
    let stem = first.stem();
    // Both candidate names of the second are taken: one by another backup, one by an orphaned tar.
    let victim = Sample::small("victim");
    bucket.put_backup("", &stem, &first).await;
    bucket.put_backup("", &format!("{stem}_a2"), &victim).await;
    bucket
        .put(&format!("backups/{stem}_a2_2.tar"), victim.tar.to_vec())
        .await;
    agent.upload("garage", &second).await;
    let mut listed = agent.listed("garage").await;
    listed.sort();
    assert_eq!(listed, ["a1", "a2", "victim"]);
    for sample in [&first, &second, &victim] {
        assert!(agent.download("garage", sample.id()).await.unwrap().body == sample.tar);
    }
    assert!(
        bucket
            .keys()
            .await
            .contains(&format!("backups/{stem}_a2_2.tar"))
    );
}
