//! Commands that open a backup, on unusual ones: damaged, replaced, of version 1, with links.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;
use tar::{EntryType, Header};
use tokio::task::spawn_blocking;

use super::opened::{ID, KEY, fixture, run, with_backup};
use super::setup;
use crate::lab::Sample;

/// A tar of entries: path, link, content.
fn tar_of(entries: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (path, link, content) in entries {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        if let Some(link) = link {
            header.set_entry_type(EntryType::Link);
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(*content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A backup whose only archive has this content.
fn backup_of(archive: &[u8]) -> Vec<u8> {
    tar_of(&[("homeassistant.tar.gz", None, archive)])
}

fn noise() -> Sample {
    Sample::small("a1")
}

#[tokio::test]
async fn wrong_checksum_of_the_compressed_data_is_reported() {
    let (setup, _bucket) = setup().await;
    let mut archive = gzip(&tar_of(&[("data/a.yaml", None, b"a: 1\n")]));
    let crc = archive.len() - 8;
    archive[crc] ^= 1;
    fs::write(setup.path("changed.tar"), backup_of(&archive)).unwrap();
    let extract = ["extract", "-", "changed.tar", "homeassistant", "-o", "out"];
    let ran = setup.run(&extract).await.ended_with(5);
    assert!(
        ran.stderr.contains("compression is damaged") && ran.stderr.contains("\"out\""),
        "{}",
        ran.stderr
    );
    let list = ["ls", "-", "changed.tar", "homeassistant"];
    setup.run(&list).await.ended_with(5);
    let cat = ["cat", "-", "changed.tar", "homeassistant", "data/a.yaml"];
    let ran = setup.run(&cat).await.ended_with(0);
    assert_eq!(ran.text(), "a: 1\n", "it reads no further than the file");
}

#[tokio::test]
async fn backup_of_version_1_is_not_called_damaged_or_plain() {
    let (setup, bucket) = setup().await;
    let sample = noise();
    bucket.put_backup("", "one", &sample).await;
    fs::write(setup.path("one.tar"), &sample.tar).unwrap();
    fs::write(setup.path("key"), KEY).unwrap();
    for (location, id) in [("garage", "a1"), ("-", "one.tar")] {
        for arguments in [
            &["key", location, id][..],
            &["decrypt", location, id, "-o", "plain.tar"],
            &["extract", location, id, "homeassistant", "-o", "out"],
        ] {
            let ran = run(&setup, arguments, "key").await.ended_with(1);
            let text = ran.stderr;
            assert!(
                text.contains("\"homeassistant\"") && text.contains("before 2025.2"),
                "{text}"
            );
            assert!(
                !text.contains("damaged") && !text.contains("is not encrypted"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn path_outside_is_no_file_of_the_archive() {
    let (setup, _bucket) = setup().await;
    let archive = tar_of(&[("../evil", None, b"evil")]);
    fs::write(setup.path("evil.tar"), backup_of(&archive)).unwrap();
    for path in ["../other", "/etc/passwd", "../evil", ".", ""] {
        let cat = ["cat", "-", "evil.tar", "homeassistant", path];
        let ran = setup.run(&cat).await.ended_with(3);
        assert!(ran.stdout.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn missing_content_of_a_hard_link_is_a_failure() {
    let (setup, _bucket) = setup().await;
    let good = [("data/a", None, &b"a"[..]), ("data/b", Some("data/a"), b"")];
    let bad = [good[0], ("data/b", Some("data/none"), b"")];
    for (entries, folder, code) in [(&good, "good", 0), (&bad, "bad", 1)] {
        fs::write(setup.path("links.tar"), backup_of(&tar_of(entries))).unwrap();
        let extract = ["--json", "extract", "-", "links.tar", "homeassistant", "-o"];
        let ran = setup.run(&[&extract[..], &[folder]].concat()).await;
        let ran = ran.ended_with(code).json();
        assert_eq!(
            (&ran["files"], &ran["left_out_files"]),
            (&json!(2 - code), &json!(code))
        );
        let link = fs::read(setup.path(folder).join("data/b"));
        assert_eq!(link.ok(), (code == 0).then(|| b"a".to_vec()));
    }
}

#[tokio::test]
async fn decryption_says_whether_the_bytes_were_verified() {
    let (setup, bucket) = with_backup("v3").await;
    let other = Sample::small("a1").with_tar(fs::read(fixture("v2")).unwrap());
    let size = other.size();
    bucket
        .put_backup("", "one", &other.announced_as(size))
        .await;
    let file = fixture("v3");
    for (location, id, note) in [
        ("garage", ID, None),
        ("garage", "a1", Some("another tool")),
        ("-", file.to_str().unwrap(), Some("on this machine")),
    ] {
        let decrypt = ["decrypt", location, id, "--force", "-o", "plain.tar"];
        let ran = run(&setup, &decrypt, "key").await.ended_with(0);
        assert_eq!(
            ran.text().contains("not verified"),
            note.is_some(),
            "{}",
            ran.text()
        );
        assert!(ran.text().contains(note.unwrap_or_default()));
        let ran = run(&setup, &[&["--json"], &decrypt[..]].concat(), "key").await;
        let ran = ran.ended_with(0).json();
        assert_eq!(
            (&ran["verified"], &ran["copied"]),
            (&json!(note.is_none()), &json!([]))
        );
    }
}

fn pipe(path: &Path) {
    mkfifo(path, Mode::S_IRWXU).unwrap();
}

#[tokio::test]
async fn replaced_backup_is_not_read_by_the_headers_of_the_old_one() {
    let (setup, bucket) = with_backup("v3").await;
    let keys = bucket.keys().await;
    let key = keys
        .iter()
        .find(|key| key.strip_suffix(".tar").is_some())
        .unwrap();
    let mut other = bucket.get(key).await.to_vec();
    *other.last_mut().unwrap() ^= 1;
    for command in ["cat", "extract", "decrypt"] {
        let name = format!("{command}-key");
        let (key_pipe, out) = (setup.path(&name), format!("{command}-out"));
        pipe(&key_pipe);
        let arguments = match command {
            "cat" => vec![command, "garage", ID, "core_ssh", "data/options.json"],
            "extract" => vec![command, "garage", ID, "core_ssh", "-o", &out],
            _ => vec![command, "garage", ID, "-o", &out],
        };
        let replace = async {
            // Opens once the command asks for the key: it has read the headers.
            let opened = spawn_blocking(move || fs::File::create(key_pipe).unwrap());
            let mut opened = opened.await.unwrap();
            bucket.put(key, other.clone()).await;
            opened.write_all(KEY.as_bytes()).unwrap();
        };
        let (ran, ()) = tokio::join!(run(&setup, &arguments, &name), replace);
        let ran = ran.ended_with(1);
        assert!(
            ran.stderr.contains("was replaced while it was read"),
            "{}",
            ran.stderr
        );
        *other.last_mut().unwrap() ^= 1;
    }
}

#[tokio::test]
async fn command_that_waits_for_the_reader_of_a_pipe_can_be_interrupted() {
    let (setup, _bucket) = setup().await;
    pipe(&setup.path("out"));
    pipe(&setup.path("key"));
    let file = fixture("v3");
    let mut command = setup.command();
    command
        .args(["decrypt", "-", file.to_str().unwrap(), "-o", "out"])
        .args(["--password-file", "key"])
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    fs::write(setup.path("key"), KEY).unwrap();
    let mut interrupt = Command::new("kill");
    interrupt.args(["-INT", &child.id().to_string()]);
    assert!(interrupt.status().unwrap().success());
    let ended = spawn_blocking(move || child.wait_with_output().unwrap());
    let ended = ended.await.unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(stderr.contains("interrupted"), "{stderr}");
}
