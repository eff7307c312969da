//! The command line, which works without a running agent.

mod documents;
mod exit_codes;
mod opened;
mod opened_unusual;
mod restore;
mod special_files;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::lab::setup::Ran;
use crate::lab::{Bucket, Location, MIB, Sample, Setup, agent_and_bucket, garage};

async fn setup() -> (Setup, Bucket) {
    let bucket = garage::shared().bucket().await;
    (Setup::of(Location::of(&bucket)), bucket)
}

async fn upload(setup: &Setup, sample: &Sample) -> Ran {
    let file = setup.path(&format!("{}.tar", sample.id()));
    fs::write(&file, &sample.tar).unwrap();
    setup
        .run(&["upload", "garage", file.to_str().unwrap()])
        .await
}

#[tokio::test]
async fn backup_round_trips() {
    let (setup, bucket) = setup().await;
    let sample = Sample::new("1f2e3d4c", "Before the update", 12 * MIB);
    let ran = upload(&setup, &sample).await.ended_with(0);
    assert!(
        ran.text().contains("Uploaded 1f2e3d4c") && ran.text().contains("12.00 MiB"),
        "{}",
        ran.text()
    );
    let stem = format!("backups/{}", sample.stem());
    bucket
        .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;

    let ran = setup.run(&["list"]).await.ended_with(0);
    assert!(
        ran.text().starts_with("garage: 1 backup\n"),
        "{}",
        ran.text()
    );
    assert!(
        ran.text().contains("2026-11-20 04:47")
            && ran.text().contains("1f2e3d4c  Before the update")
    );

    let file = setup.path("back.tar");
    let download = [
        "download",
        "garage",
        "1f2e3d4c",
        "-o",
        file.to_str().unwrap(),
    ];
    setup.run(&download).await.ended_with(0);
    assert!(fs::read(&file).unwrap() == sample.tar);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let ran = setup.run(&download).await.ended_with(1);
    assert!(
        ran.stderr.contains("back.tar") && ran.stderr.contains("--force"),
        "{}",
        ran.stderr
    );
    fs::write(&file, "old").unwrap();
    setup
        .run(&[&download[..], &["--force"]].concat())
        .await
        .ended_with(0);
    assert!(fs::read(&file).unwrap() == sample.tar);

    let ran = setup
        .run(&["download", "garage", "1f2e3d4c", "-o", "-"])
        .await
        .ended_with(0);
    assert!(
        ran.stdout == sample.tar,
        "standard output contains more than the tar"
    );
    setup
        .run(&["download", "garage", "1f2e3d4c"])
        .await
        .ended_with(0);
    assert!(
        fs::read(setup.path(&sample.filename())).unwrap() == sample.tar,
        "the name that Home Assistant suggests"
    );

    let ran = setup
        .run(&["delete", "garage", "1f2e3d4c"])
        .await
        .ended_with(0);
    assert_eq!(ran.text(), "Deleted 1f2e3d4c from garage.\n");
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn json_output_is_machine_readable() {
    let (setup, _bucket) = setup().await;
    let sample = Sample::small("a1");
    let file = setup.path("in.tar");
    fs::write(&file, &sample.tar).unwrap();
    let uploaded = setup
        .run(&["--json", "upload", "garage", file.to_str().unwrap()])
        .await
        .ended_with(0)
        .json();
    assert_eq!(
        (&uploaded["location"], &uploaded["backup"]["backup_id"]),
        (&json!("garage"), &json!("a1"))
    );
    assert_eq!(uploaded["key"], format!("backups/{}", sample.filename()));
    let listed = setup
        .run(&["list", "garage", "--json"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(listed["backups"], json!([uploaded["backup"]]));
    let out = setup.path("out.tar");
    let arguments = [
        "--json",
        "download",
        "garage",
        "a1",
        "-o",
        out.to_str().unwrap(),
    ];
    let downloaded = setup.run(&arguments).await.ended_with(0).json();
    assert_eq!(
        downloaded,
        json!({"file": out, "size": 40_960, "verified": true})
    );
    let checked = setup.run(&["--json", "check"]).await.ended_with(0).json();
    assert_eq!(
        (&checked["location"], &checked["ok"]),
        (&json!("garage"), &json!(true))
    );
    let missing = setup
        .run(&["--json", "delete", "garage", "b2"])
        .await
        .ended_with(3)
        .json();
    assert_eq!(missing["error"]["code"], "backup_not_found");
    let deleted = setup
        .run(&["--json", "delete", "garage", "a1"])
        .await
        .ended_with(0)
        .json();
    assert_eq!(deleted, json!({"location": "garage", "deleted": "a1"}));
}

#[tokio::test]
async fn check_reports_each_step_and_leaves_nothing_behind() {
    let (setup, bucket) = setup().await;
    let ran = setup.run(&["check", "garage"]).await.ended_with(0);
    for step in ["list", "write", "read", "delete"] {
        let line = ran
            .text()
            .lines()
            .find(|line| line.trim_start().starts_with(step))
            .unwrap();
        assert!(line.contains("ok"), "{line}");
    }
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn failed_check_names_the_step_and_the_fix() {
    let bucket = garage::shared().bucket().await;
    let (key_id, secret) = garage::shared()
        .key_for(&bucket, json!({"read": true}))
        .await;
    let readable = Location {
        id: "readable".into(),
        key_id,
        secret,
        ..Location::of(&bucket).by_host_name()
    };
    let missing = Location {
        id: "missing".into(),
        bucket: "no-such-bucket".into(),
        ..Location::of(&bucket)
    };
    let setup = Setup::with([Location::of(&bucket), readable, missing]);
    let ran = setup.run(&["check"]).await.ended_with(1);
    let text = ran.text();
    let (good, rest) = text.split_once("readable\n").unwrap();
    let (readable, missing) = rest.split_once("missing\n").unwrap();
    assert!(
        good.starts_with("garage\n") && !good.contains("failed"),
        "{good}"
    );
    assert!(
        readable.contains("list      ok") && readable.contains("write     failed"),
        "{readable}"
    );
    assert!(readable.contains("permission"), "{readable}");
    assert!(
        missing.contains("bucket    failed") && missing.contains("create the bucket"),
        "{missing}"
    );
    bucket.wait_until_empty().await;
}

/// Partial files.
fn partials(setup: &Setup) -> usize {
    let files = fs::read_dir(setup.path(""))
        .unwrap()
        .map(|file| file.unwrap().file_name());
    files
        .filter(|name| name.to_str().unwrap().ends_with(".partial"))
        .count()
}

#[tokio::test]
async fn concurrent_downloads_to_one_file_do_not_collide() {
    let (setup, _bucket) = setup().await;
    let sample = Sample::new("a1", "Wanted twice", 12 * MIB);
    upload(&setup, &sample).await.ended_with(0);
    let file = setup.path("out.tar");
    let download = [
        "download",
        "garage",
        "a1",
        "--force",
        "-o",
        file.to_str().unwrap(),
    ];
    for ran in futures_util::future::join_all((0..4).map(|_| setup.run(&download))).await {
        ran.ended_with(0);
    }
    assert!(fs::read(&file).unwrap() == sample.tar);
    assert_eq!(partials(&setup), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn any_file_name_is_accepted() {
    use std::os::unix::ffi::OsStrExt;

    let (setup, _bucket) = setup().await;
    let sample = Sample::small("a1");
    upload(&setup, &sample).await.ended_with(0);
    let file = setup
        .path("")
        .join(std::ffi::OsStr::from_bytes(b"M\xfcller.tar"));
    let mut command = setup.command();
    assert!(
        command
            .args(["download", "garage", "a1", "-o"])
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
    assert!(fs::read(&file).unwrap() == sample.tar);
}

#[tokio::test]
async fn health_command_queries_the_running_agent() {
    let (mut agent, _bucket) = agent_and_bucket().await;
    let ran = agent.setup.run(&["healthcheck"]).await.ended_with(0);
    assert_eq!(ran.text(), "The agent is healthy.\n");
    agent.signal("TERM");
    agent.ended().await;
    let ran = agent.setup.run(&["healthcheck"]).await.ended_with(4);
    assert!(ran.stderr.contains("agent.sock"), "{}", ran.stderr);
}

#[tokio::test]
async fn agent_and_command_line_share_backups() {
    let (agent, _bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Shared", 6 * MIB);
    upload(&agent.setup, &sample).await.ended_with(0);
    assert_eq!(agent.listed("garage").await, ["a1"]);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    agent
        .setup
        .run(&["delete", "garage", "a1"])
        .await
        .ended_with(0);
    assert!(agent.listed("garage").await.is_empty());
}

#[tokio::test]
async fn local_directory_is_the_default_location() {
    let setup = Setup::with([]);
    let sample = Sample::new("a1", "Local", 12 * MIB);
    let file = setup.path("in.tar");
    fs::write(&file, &sample.tar).unwrap();
    setup
        .run(&["upload", "local", file.to_str().unwrap()])
        .await
        .ended_with(0);
    let stem = setup.path("state/local/backups").join(sample.stem());
    assert!(fs::read(format!("{}.tar", stem.display())).unwrap() == sample.tar);
    let ran = setup
        .run(&["download", "local", "a1", "-o", "-"])
        .await
        .ended_with(0);
    assert!(ran.stdout == sample.tar);
    let ran = setup.run(&["check"]).await.ended_with(0);
    assert!(
        ran.stderr.contains("Only the running agent knows"),
        "{}",
        ran.stderr
    );
    setup.run(&["delete", "local", "a1"]).await.ended_with(0);
    assert_eq!(
        fs::read_dir(setup.path("state/local/backups"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn environment_variables_are_read_only_when_referenced() {
    let bucket = garage::shared().bucket().await;
    let named = Location {
        secret: "${GARAGE_SECRET}".into(),
        ..Location::of(&bucket)
    };
    let setup = Setup::of(named).keeping_secret(&bucket.secret);
    let run = async |secret: Option<&str>| {
        let mut command = setup.command();
        // Other programs' variables must not reach a location.
        let strays = [
            ("AWS_ACCESS_KEY_ID", "stray"),
            ("AWS_SECRET_ACCESS_KEY", "stray"),
            ("AWS_REGION", "stray"),
        ];
        command
            .args(["check", "garage"])
            .envs(strays)
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        command
            .env("http_proxy", "http://127.0.0.1:1")
            .envs(secret.map(|secret| ("GARAGE_SECRET", secret)));
        setup.finish(command).await
    };
    run(Some(&bucket.secret)).await.ended_with(0);
    let ran = run(None).await.ended_with(2);
    assert!(
        ran.stderr.contains("locations[0].secret_access_key"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("GARAGE_SECRET, which is not set"),
        "{}",
        ran.stderr
    );
}
