//! Copies between buckets, on one server or between two.

mod interrupted;
mod server_side;

use std::fs;

use serde_json::{Value, json};

use crate::lab::setup::Ran;
use crate::lab::{Bucket, Fault, Location, MIB, Proxy, Sample, Setup, garage};

fn old(bucket: &Bucket) -> Location {
    Location {
        id: "old".into(),
        prefix: "then".into(),
        ..Location::of(bucket)
    }
}

fn new(bucket: &Bucket) -> Location {
    Location {
        id: "new".into(),
        prefix: "now".into(),
        ..Location::of(bucket)
    }
}

/// Two buckets, the second behind a proxy. To a client, these are two servers.
async fn two_servers() -> (Setup, Proxy, Bucket, Bucket) {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let proxy = Proxy::before(&to.endpoint).await;
    let setup = Setup::with([
        old(&from),
        Location {
            endpoint: proxy.endpoint(),
            ..new(&to)
        },
    ]);
    (setup, proxy, from, to)
}

async fn upload(setup: &Setup, location: &str, sample: &Sample) {
    let file = setup.path(&format!("{}.tar", sample.id()));
    fs::write(&file, &sample.tar).unwrap();
    setup
        .run(&["upload", location, file.to_str().unwrap()])
        .await
        .ended_with(0);
}

/// The lines of `--json`, the summary last.
fn lines(ran: &Ran) -> Vec<Value> {
    ran.text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn summary(ran: &Ran) -> [u64; 5] {
    let last = lines(ran).pop().unwrap();
    ["copied", "skipped", "failed", "left_out", "bytes"].map(|name| last[name].as_u64().unwrap())
}

/// Asserts that both buckets hold the same backups byte for byte, each in its own folder.
async fn assert_same_backups(from: &Bucket, to: &Bucket) {
    let (from, to) = (from.contents().await, to.contents().await);
    let stems = |contents: &[(String, bytes::Bytes)], folder: &str| -> Vec<String> {
        contents
            .iter()
            .map(|(key, _)| key.strip_prefix(folder).unwrap().to_owned())
            .collect()
    };
    assert_eq!(stems(&from, "then/"), stems(&to, "now/"));
    for ((key, one), (_, other)) in from.iter().zip(&to) {
        if key.ends_with(".metadata.json") {
            let plain = |json: &[u8]| {
                let mut value: Value = serde_json::from_slice(json).unwrap();
                value
                    .as_object_mut()
                    .unwrap()
                    .shift_remove("s3_backup_agent");
                value
            };
            assert_eq!(plain(one), plain(other), "{key}");
        } else {
            assert!(one == other, "{key} differs");
        }
    }
}

#[tokio::test]
async fn backups_move_to_another_server() {
    let (setup, proxy, from, to) = two_servers().await;
    let large = Sample::new("c3", "Large", 23 * MIB);
    upload(&setup, "old", &Sample::small("a1")).await;
    upload(&setup, "old", &large).await;
    from.put_backup(
        "then/",
        "renamed by hand/2026 #1 + 50%",
        &Sample::new("b2", "Foreign", 20_480),
    )
    .await;
    let before = from.contents().await;

    let ran = setup
        .run(&["copy", "old", "new", "--dry-run", "--json"])
        .await
        .ended_with(0);
    assert_eq!(summary(&ran), [3, 0, 0, 0, 40_960 + 20_480 + 23 * MIB]);
    assert!(to.keys().await.is_empty(), "a dry run wrote something");
    assert_eq!(
        proxy.count(|request| request.method != "GET"),
        0,
        "a dry run only reads"
    );

    let ran = setup
        .run(&["copy", "old", "new", "--json"])
        .await
        .ended_with(0);
    assert_eq!(summary(&ran), [3, 0, 0, 0, 40_960 + 20_480 + 23 * MIB]);
    assert!(
        lines(&ran)[..3]
            .iter()
            .all(|line| line["result"] == "copied"),
        "{}",
        ran.text()
    );
    assert_same_backups(&from, &to).await;
    assert_eq!(proxy.part_bytes(), 23 * MIB);
    let metadata = to
        .json(&format!("now/backups/{}.metadata.json", large.stem()))
        .await;
    assert_eq!(metadata["s3_backup_agent"]["sha256"], large.sha256());
    assert!(from.contents().await == before, "the source is only read");
    assert!(to.unfinished().await.is_empty());

    let ran = setup.run(&["copy", "old", "new"]).await.ended_with(0);
    assert!(
        ran.text().contains("a1: there already")
            && ran.text().contains("0 copied (0 B), 3 there already")
    );
    setup
        .run(&["download", "new", "c3", "-o", "back.tar"])
        .await
        .ended_with(0);
}

#[tokio::test]
async fn only_named_backups_are_copied() {
    let (setup, _proxy, _from, to) = two_servers().await;
    for id in ["a1", "b2", "c3"] {
        upload(&setup, "old", &Sample::new(id, id, 20_480)).await;
    }
    let ran = setup
        .run(&["copy", "old", "new", "c3", "zz", "a1", "--json"])
        .await
        .ended_with(3);
    assert_eq!(summary(&ran), [2, 0, 1, 0, 40_960]);
    let failed = lines(&ran)
        .into_iter()
        .find(|line| line["result"] == "failed")
        .unwrap();
    assert_eq!(
        (&failed["backup_id"], &failed["error"]["code"]),
        (&json!("zz"), &json!("backup_not_found"))
    );
    assert_eq!(to.keys().await.len(), 4);
    setup.run(&["copy", "old", "nowhere"]).await.ended_with(3);
    let ran = setup.run(&["copy", "old", "old"]).await.ended_with(1);
    assert!(ran.stderr.contains("same folder"), "{}", ran.stderr);
}

#[tokio::test]
async fn copy_never_replaces_different_content_with_the_same_id() {
    let (setup, _proxy, _from, to) = two_servers().await;
    upload(&setup, "old", &Sample::new("a1", "Theirs", 20_480)).await;
    upload(&setup, "old", &Sample::new("b2", "Fine", 20_480)).await;
    let held = Sample::new("a1", "Ours", 20_480);
    upload(&setup, "new", &held).await;
    let ran = setup.run(&["copy", "old", "new"]).await.ended_with(1);
    assert!(
        ran.text().contains("a1: error") && ran.text().contains("b2: copied"),
        "{}",
        ran.text()
    );
    assert!(
        ran.text().contains("1 copied") && ran.text().contains("1 failed"),
        "{}",
        ran.text()
    );
    assert!(to.get(&format!("now/backups/{}.tar", held.stem())).await == held.tar);
    assert_eq!(to.keys().await.len(), 4);
}

#[tokio::test]
async fn unreadable_metadata_fails_the_copy() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let [source, target] = [
        Proxy::before(&from.endpoint).await,
        Proxy::before(&to.endpoint).await,
    ];
    let setup = Setup::with([
        Location {
            endpoint: source.endpoint(),
            ..old(&from)
        },
        Location {
            endpoint: target.endpoint(),
            ..new(&to)
        },
    ]);
    let refused = Fault::Answer(
        "403 Forbidden",
        "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>",
    );
    from.put_backup("then/", "one", &Sample::small("a1")).await;
    from.put_backup("then/", "other", &Sample::small("b2"))
        .await;
    to.put_backup("now/", "one", &Sample::small("a1")).await;
    to.put_backup("now/", "foreign", &Sample::small("c3")).await;
    for (proxy, unread) in [
        (&source, "other.metadata.json"),
        (&target, "foreign.metadata.json"),
    ] {
        for ids in [&[][..], &["b2"]] {
            proxy.fault(move |request| request.reads(unread), refused.clone());
            let ran = setup
                .run(&[&["copy", "old", "new"], ids].concat())
                .await
                .ended_with(1);
            assert!(
                ran.stderr.contains(unread) && ran.stderr.contains("No."),
                "{}",
                ran.stderr
            );
        }
        assert_eq!((proxy.faults_left(), to.keys().await.len()), (0, 4));
    }
    source.fault(|request| request.reads("other.metadata.json"), refused);
    let ran = setup
        .run(&["copy", "old", "new", "a1", "--json"])
        .await
        .ended_with(0);
    assert_eq!(
        summary(&ran)[..3],
        [0, 1, 0],
        "the requested backup is readable"
    );
}

#[tokio::test]
async fn damaged_backups_are_skipped_without_blocking_others() {
    let (setup, _proxy, from, to) = two_servers().await;
    let damaged = Sample::new("a1", "Damaged", 23 * MIB);
    for sample in [&damaged, &Sample::small("b2")] {
        upload(&setup, "old", sample).await;
    }
    let mut tar = damaged.tar.to_vec();
    tar[20_000_000] ^= 1;
    from.put(&format!("then/backups/{}.tar", damaged.stem()), tar)
        .await;
    let cut_off = Sample::new("c3", "Cut off", 40_960);
    from.put_backup(
        "then/",
        "cut off",
        &cut_off.clone().with_tar(cut_off.tar.slice(..30_000)),
    )
    .await;
    from.put("then/backups/nonsense.metadata.json", "nonsense")
        .await;
    from.put("then/backups/nonsense.tar", "nonsense").await;
    let ran = setup.run(&["copy", "old", "new"]).await.ended_with(1);
    let text = ran.text();
    assert!(
        text.contains("a1: error") && text.contains("is damaged"),
        "{text}"
    );
    assert!(
        text.contains("c3: error") && text.contains("30000 bytes"),
        "{text}"
    );
    assert!(
        text.contains("left out: \"then/backups/nonsense.metadata.json\""),
        "{text}"
    );
    assert!(
        text.contains("1 copied (40.00 KiB), 0 there already, 2 failed, 1 left out"),
        "{text}"
    );
    let stem = format!("now/backups/{}", Sample::small("b2").stem());
    to.wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
}

#[tokio::test]
async fn backups_move_between_bucket_and_directory() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let setup = Setup::with([old(&from), new(&to)]);
    let toml = fs::read_to_string(setup.path("agent.toml")).unwrap();
    let folder = setup.path("disk");
    let disk = format!(
        "[[locations]]\nid = \"disk\"\nendpoint = \"file://{}\"\n",
        folder.display()
    );
    fs::write(setup.path("agent.toml"), toml + &disk).unwrap();
    for sample in [Sample::small("a1"), Sample::new("b2", "Large", 12 * MIB)] {
        upload(&setup, "old", &sample).await;
    }
    setup.run(&["copy", "old", "disk"]).await.ended_with(0);
    assert_eq!(fs::read_dir(folder.join("backups")).unwrap().count(), 4);
    setup.run(&["copy", "disk", "new"]).await.ended_with(0);
    assert_same_backups(&from, &to).await;
}
