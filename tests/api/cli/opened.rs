//! Commands that open a backup: `key`, `ls`, `cat`, `extract` and `decrypt`. `tests/lab/securetar_vectors.py` wrote the backups, with
//! the Python library of Home Assistant.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::setup;
use crate::lab::setup::Ran;
use crate::lab::{Bucket, Sample, Setup};

pub(super) const ID: &str = "5ec12e7a";
pub(super) const KEY: &str = "ABCD-efgh-1234";
const ENTRIES: &str = "data/.storage/core.config_entries";

pub(super) fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fixtures.join(format!("securetar-{name}.tar"))
}

/// A location with one of the backups, and files with the right and a wrong key.
pub(super) async fn with_backup(name: &str) -> (Setup, Bucket) {
    let (setup, bucket) = setup().await;
    let setup = setup.keeping_secret(KEY);
    fs::write(setup.path("key"), format!("{KEY}\n")).unwrap();
    fs::write(setup.path("wrong"), "ABCD-efgh-1235").unwrap();
    let file = fixture(name);
    let upload = ["upload", "garage", file.to_str().unwrap()];
    setup.run(&upload).await.ended_with(0);
    (setup, bucket)
}

pub(super) async fn run(setup: &Setup, arguments: &[&str], key: &str) -> Ran {
    let with_key = [arguments, &["--password-file", key]].concat();
    setup.run(&with_key).await
}

/// The JSON documents on standard output.
fn lines(ran: &Ran) -> Vec<Value> {
    let lines = ran.text().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn key_is_checked() {
    for name in ["v2", "v3"] {
        let (setup, _bucket) = with_backup(name).await;
        let check = ["key", "garage", ID];
        let ran = run(&setup, &check, "key").await.ended_with(0);
        assert_eq!(ran.text(), format!("{ID}: the key opens it\n"));
        let ran = run(&setup, &check, "wrong").await.ended_with(1);
        assert_eq!(ran.text(), format!("{ID}: the key does not open it\n"));
        let all = run(&setup, &["--json", "key", "garage"], "key").await;
        let expected = json!({"location": "garage", "backup_id": ID, "result": "opens"});
        assert_eq!(all.ended_with(0).json(), expected);
        let file = fixture(name);
        let local = ["key", "-", file.to_str().unwrap()];
        run(&setup, &local, "key").await.ended_with(0);
        run(&setup, &local, "wrong").await.ended_with(1);
    }
}

#[tokio::test]
async fn key_comes_from_a_file_or_the_environment() {
    let (setup, _bucket) = with_backup("v3").await;
    let ran = setup.run(&["key", "garage", ID]).await.ended_with(1);
    assert!(
        ran.stderr.contains("--password-file") && ran.stderr.contains("S3_BACKUP_AGENT_PASSWORD"),
        "{}",
        ran.stderr
    );
    let mut command = setup.command();
    command
        .args(["key", "garage", ID])
        .env("S3_BACKUP_AGENT_PASSWORD", KEY);
    setup.finish(command).await.ended_with(0);
    let ran = run(&setup, &["key", "garage", ID], "missing").await;
    assert!(ran.ended_with(2).stderr.contains("\"missing\""));
    fs::write(setup.path("empty"), "\n").unwrap();
    let ran = run(&setup, &["key", "garage", ID], "empty").await;
    assert!(ran.ended_with(2).stderr.contains("empty"));
    let kit = format!("Home Assistant emergency kit\n\n{KEY}\n");
    for (text, why) in [(kit, "several lines"), ("x".repeat(4097), "4096 bytes")] {
        fs::write(setup.path("other"), text).unwrap();
        let ran = run(&setup, &["key", "garage", ID], "other").await;
        let said = ran.ended_with(2).stderr;
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn key_of_a_plain_backup_is_not_needed() {
    let (setup, bucket) = with_backup("plain").await;
    let ran = run(&setup, &["key", "garage", ID], "wrong")
        .await
        .ended_with(0);
    assert_eq!(ran.text(), format!("{ID}: not encrypted, needs no key\n"));
    run(&setup, &["key", "garage", "missing"], "key")
        .await
        .ended_with(3);
    // Its archive is noise, as one of version 1 seems to be.
    bucket.put_backup("", "one", &Sample::small("a1")).await;
    let ran = run(&setup, &["--json", "key", "garage"], "key")
        .await
        .ended_with(1);
    let lines = lines(&ran);
    let of = |id: &str| {
        lines
            .iter()
            .find(|line| line["backup_id"] == id)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (lines.len(), &of(ID)["result"]),
        (2, &json!("not_encrypted"))
    );
    assert_eq!(of("a1")["error"]["code"], "invalid_metadata");
}

#[tokio::test]
async fn archives_and_files_are_listed() {
    let (setup, _bucket) = with_backup("v3").await;
    let ran = setup.run(&["ls", "garage", ID]).await.ended_with(0);
    let names: Vec<_> = ran
        .text()
        .lines()
        .map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>())
        .collect();
    assert_eq!(
        names,
        [
            ["encrypted", "homeassistant"],
            ["encrypted", "core_ssh"],
            ["encrypted", "addons_local"]
        ]
    );
    let mut listed = Vec::new();
    for name in ["v2", "v3", "plain"] {
        let file = fixture(name);
        let list = ["--json", "ls", "-", file.to_str().unwrap(), "homeassistant"];
        listed.push(lines(&run(&setup, &list, "key").await.ended_with(0)));
    }
    assert!(listed[0] == listed[2] && listed[1] == listed[2]);
    assert_eq!(
        listed[0][3],
        json!({"path": "data/.HA_VERSION", "type": "file", "size": 9, "modified": "2026-11-18T11:06:40Z"})
    );
    let types: Vec<_> = listed[0]
        .iter()
        .map(|entry| entry["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "folder", "folder", "file", "file", "file", "file", "link", "file"
        ]
    );
    let ran = run(&setup, &["ls", "garage", ID, "core_ssh.tar.gz"], "key")
        .await
        .ended_with(0);
    assert!(
        ran.text().contains("2026-11-18 11:06  data/options.json"),
        "{}",
        ran.text()
    );
    let ran = run(&setup, &["ls", "garage", ID, "core_mosquitto"], "key")
        .await
        .ended_with(3);
    assert!(
        ran.stderr.contains("homeassistant, core_ssh, addons_local"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn one_file_is_printed() {
    for name in ["v2", "v3", "plain"] {
        let (setup, _bucket) = with_backup(name).await;
        let cat = ["cat", "garage", ID, "homeassistant"];
        let ran = run(&setup, &[&cat[..], &[ENTRIES]].concat(), "key")
            .await
            .ended_with(0);
        assert_eq!(ran.json()["key"], "core.config_entries");
        let last = [&cat[..], &["./data//last.yaml"]].concat();
        assert_eq!(
            run(&setup, &last, "key").await.ended_with(0).text(),
            "last\n"
        );
        let local = ["cat", "garage", ID, "addons_local", "hello/config.yaml"];
        let ran = run(&setup, &local, "key").await.ended_with(0);
        assert_eq!(ran.text(), "name: Hello\n");
        for missing in ["data/none", "data/link", "data", "../data/last.yaml"] {
            let ran = run(&setup, &[&cat[..], &[missing]].concat(), "key").await;
            assert!(ran.ended_with(3).stdout.is_empty(), "{missing}");
        }
    }
}

#[tokio::test]
async fn archive_is_extracted() {
    for name in ["v2", "v3", "plain"] {
        let (setup, _bucket) = with_backup(name).await;
        let extract = [
            "--json",
            "extract",
            "garage",
            ID,
            "homeassistant",
            "-o",
            "out",
        ];
        let ran = run(&setup, &extract, "key").await.ended_with(0).json();
        assert_eq!(
            (&ran["files"], &ran["left_out_paths"]),
            (&json!(5), &json!(["data/link"]))
        );
        let data = setup.path("out/data");
        assert_eq!(fs::read(data.join(".HA_VERSION")).unwrap(), b"2026.11.0");
        assert_eq!(
            fs::metadata(data.join("home-assistant_v2.db"))
                .unwrap()
                .len(),
            200_000
        );
        assert!(data.join("link").symlink_metadata().is_err());
        let ran = run(&setup, &extract, "key").await.ended_with(1);
        assert!(ran.text().contains("not empty"), "{}", ran.text());
    }
}

#[tokio::test]
async fn decrypted_backup_can_be_uploaded() {
    for name in ["v2", "v3"] {
        let (setup, _bucket) = with_backup(name).await;
        let decrypt = ["decrypt", "garage", ID, "-o", "plain.tar"];
        run(&setup, &decrypt, "key").await.ended_with(0);
        let ran = run(&setup, &["decrypt", "garage", ID, "-o", "-"], "key")
            .await
            .ended_with(0);
        assert!(ran.stdout == fs::read(setup.path("plain.tar")).unwrap());
        let ran = run(&setup, &decrypt, "key").await.ended_with(1);
        assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
        run(&setup, &[&decrypt[..], &["--force"]].concat(), "key")
            .await
            .ended_with(0);
        setup.run(&["delete", "garage", ID]).await.ended_with(0);
        let upload = setup
            .run(&["--json", "upload", "garage", "plain.tar"])
            .await;
        let uploaded = upload.ended_with(0).json();
        assert_eq!(uploaded["backup"]["protected"], false);
        assert_eq!(
            uploaded["backup"]["s3_backup_agent"]["inventory"]["complete"],
            true
        );
        let ran = setup
            .run(&["ls", "garage", ID, "addons_local"])
            .await
            .ended_with(0);
        assert!(ran.text().contains("hello/config.yaml"), "{}", ran.text());
        let ran = setup
            .run(&["decrypt", "garage", ID, "-o", "again.tar"])
            .await;
        assert!(ran.ended_with(1).stderr.contains("not encrypted"));
    }
}

#[tokio::test]
async fn wrong_key_writes_nothing() {
    for name in ["v2", "v3"] {
        let (setup, _bucket) = with_backup(name).await;
        for arguments in [
            &["cat", "garage", ID, "homeassistant", ENTRIES][..],
            &["ls", "garage", ID, "homeassistant"],
            &["extract", "garage", ID, "homeassistant", "-o", "out"],
            &["decrypt", "garage", ID, "-o", "plain.tar"],
            &["decrypt", "garage", ID, "-o", "-"],
        ] {
            let ran = run(&setup, arguments, "wrong").await.ended_with(1);
            assert!(
                ran.stdout.is_empty() && ran.stderr.contains("encryption key"),
                "{}",
                ran.stderr
            );
        }
        assert!(!setup.path("out").exists() && !setup.path("plain.tar").exists());
        assert_eq!(super::partials(&setup), 0);
        let ran = run(&setup, &["--json", "ls", "garage", ID, "core_ssh"], "wrong").await;
        assert_eq!(ran.ended_with(1).json()["error"]["code"], "wrong_key");
    }
}

#[tokio::test]
async fn damage_is_reported() {
    let (setup, _bucket) = with_backup("v3").await;
    let tar = fs::read(fixture("v3")).unwrap();
    let extract = ["extract", "-", "changed.tar", "homeassistant", "-o", "out"];
    let decrypt = ["decrypt", "-", "changed.tar", "-o", "plain.tar"];
    // Inside the first archive, which begins behind one or more headers.
    let start = tar
        .windows(9)
        .position(|bytes| bytes == b"SecureTar")
        .unwrap();
    for at in [start + 136, start + 137, start + 1000] {
        let mut changed = tar.clone();
        changed[at] ^= 4;
        fs::write(setup.path("changed.tar"), changed).unwrap();
        for arguments in [&extract[..], &decrypt] {
            let ran = run(&setup, arguments, "key").await.ended_with(5);
            assert!(ran.stderr.contains("damaged"), "{}", ran.stderr);
        }
        drop(fs::remove_dir_all(setup.path("out")));
    }
    assert_eq!(super::partials(&setup), 0);
    fs::write(setup.path("changed.tar"), &tar[..start + 700]).unwrap();
    for arguments in [&extract[..], &decrypt] {
        let ran = run(&setup, arguments, "key").await.ended_with(5);
        assert!(ran.stderr.contains("cut off"), "{}", ran.stderr);
        drop(fs::remove_dir_all(setup.path("out")));
    }
    let ran = run(&setup, &["ls", "-", "no.tar"], "key")
        .await
        .ended_with(1);
    assert!(
        ran.stderr.contains("\"no.tar\" could not be read"),
        "{}",
        ran.stderr
    );
}
