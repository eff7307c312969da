use chrono::TimeDelta;

use super::*;
use crate::agent::model::VerifyMode;

fn id(name: &str) -> FolderId {
    FolderId::from_record_of_0_1(&format!("/mnt/{name}\n")).unwrap()
}

fn verified(mode: VerifyMode, ok: bool) -> VerifyReport {
    VerifyReport {
        ok,
        mode,
        version: "v1".to_owned(),
        size_bytes: 1,
        read_bytes: 1,
        sha256: None,
        problems: Vec::new(),
        notes: Vec::new(),
    }
}

#[tokio::test]
async fn record_survives_restart() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path());
    records
        .add(&id("here"), "a1", &verified(VerifyMode::Full, false))
        .await;
    records
        .add(&id("here"), "b2", &verified(VerifyMode::Quick, true))
        .await;
    let again = Records::new(folder.path());
    assert_eq!(again.of(&id("here")), records.of(&id("here")));
    assert_eq!(again.of(&id("here")).damaged(|_, _| true), ["a1"]);
    assert_eq!(again.of(&id("elsewhere")), Record::default());
    fs::write(folder.path().join(FILE), "{").unwrap();
    assert_eq!(
        Records::new(folder.path()).of(&id("here")),
        Record::default()
    );
}

#[tokio::test]
async fn quick_mode_does_not_clear_finding_of_full_mode() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path());
    for (mode, ok, damaged) in [
        (VerifyMode::Full, false, 1),
        (VerifyMode::Quick, true, 1),
        (VerifyMode::Full, true, 0),
        (VerifyMode::Quick, false, 1),
    ] {
        records.add(&id("here"), "a1", &verified(mode, ok)).await;
        assert_eq!(
            records.of(&id("here")).damaged(|_, _| true).len(),
            damaged,
            "{mode:?} {ok}"
        );
    }
    assert_eq!(
        records
            .of(&id("here"))
            .damaged(|_, version| version == "v2")
            .len(),
        0,
        "another version"
    );
}

#[tokio::test]
async fn longest_unverified_backup_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path());
    let in_turn = || {
        records
            .of(&id("here"))
            .in_turn(["new", "b", "a"].map(str::to_owned).to_vec())
    };
    assert_eq!(in_turn(), ["new", "b", "a"]);
    records
        .add(&id("here"), "new", &verified(VerifyMode::Full, true))
        .await;
    records
        .add(&id("here"), "b", &verified(VerifyMode::Full, true))
        .await;
    assert_eq!(in_turn(), ["a", "new", "b"]);
    records.add_unread(&id("here"), "a").await;
    assert_eq!(
        in_turn(),
        ["new", "b", "a"],
        "an unreadable backup takes turns with the others"
    );
}

#[tokio::test]
async fn damaged_backup_takes_turns_with_others() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path());
    let in_turn = || {
        records
            .of(&id("here"))
            .in_turn(["b", "a"].map(str::to_owned).to_vec())
    };
    records
        .add(&id("here"), "a", &verified(VerifyMode::Full, false))
        .await;
    records
        .add(&id("here"), "b", &verified(VerifyMode::Quick, true))
        .await;
    assert_eq!(in_turn(), ["a", "b"]);
    records
        .add(&id("here"), "a", &verified(VerifyMode::Quick, true))
        .await;
    assert_eq!(in_turn(), ["b", "a"]);
    assert_eq!(records.of(&id("here")).damaged(|_, _| true), ["a"]);
}

#[tokio::test]
async fn unwritten_record_is_kept_until_written() {
    let folder = tempfile::tempdir().unwrap();
    let (records, lock) = (Records::new(folder.path()), folder.path().join(LOCK));
    fs::create_dir(&lock).unwrap();
    records
        .add(&id("here"), "a1", &verified(VerifyMode::Full, false))
        .await;
    records
        .add(&id("there"), "a1", &verified(VerifyMode::Full, true))
        .await;
    assert_eq!(records.of(&id("here")).damaged(|_, _| true), ["a1"]);
    assert_eq!(
        Records::new(folder.path()).of(&id("here")),
        Record::default()
    );
    fs::remove_dir(&lock).unwrap();
    records
        .add(&id("here"), "b2", &verified(VerifyMode::Full, false))
        .await;
    for place in ["here", "there"].map(id) {
        assert_eq!(Records::new(folder.path()).of(&place), records.of(&place));
    }
    assert_eq!(records.of(&id("here")).damaged(|_, _| true), ["a1", "b2"]);
}

#[tokio::test]
async fn lock_of_another_process_is_waited_for_within_limit() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path());
    let held = records.lock().unwrap();
    records
        .add(&id("here"), "a1", &verified(VerifyMode::Full, false))
        .await;
    assert_eq!(records.of(&id("here")).damaged(|_, _| true), ["a1"]);
    drop(held);
    records.add_unread(&id("here"), "b2").await;
    let again = Records::new(folder.path()).of(&id("here"));
    assert_eq!(
        (again.unread(|_| true), again.unread(|_| false).len()),
        (vec!["b2".to_owned()], 0)
    );
    records
        .add(&id("here"), "b2", &verified(VerifyMode::Quick, true))
        .await;
    assert_eq!(
        records.of(&id("here")).unread(|_| true).len(),
        0,
        "verified since"
    );
}

#[test]
fn run_is_due_at_once_and_then_after_each_interval() {
    let (now, every) = (Utc::now(), TimeDelta::days(7));
    let ran = |at| {
        let mut record = Record::default();
        let run = Run {
            at,
            mode: VerifyMode::Full,
            backups: 1,
            read_bytes: 1,
        };
        record.end(run, &Record::default());
        record
    };
    assert_eq!(Record::default().due_at(every, now), now);
    assert_eq!(
        ran(now - TimeDelta::days(9)).due_at(every, now),
        now - TimeDelta::days(2)
    );
    assert_eq!(
        ran(now + TimeDelta::days(9)).due_at(every, now),
        now,
        "wrong clock"
    );
}

#[tokio::test]
async fn file_of_0_1_is_read_and_rewritten() {
    let state_dir = tempfile::tempdir().unwrap();
    let file = state_dir.path().join(FILE);
    let legacy = r#"{
        "https://s3.example.com/\nha-backups\nhome": {
            "last_run": {"at": "2026-11-20T04:47:00Z", "mode": "full", "backups": 2, "read_bytes": 40},
            "backups": {
                "a1": {"at": "2026-11-20T04:47:00Z", "mode": "full", "is_damaged": true, "version": "\"e1\""}
            },
            "unread": {"b2": "2026-11-20T04:47:00Z"}
        },
        "/mnt/usb\n": {"last_run": null, "backups": {}},
        "not a folder": {"last_run": null, "backups": {}}
    }"#;
    fs::write(&file, legacy).unwrap();
    let bucket: FolderId = serde_json::from_value(serde_json::json!({
        "endpoint": "https://s3.example.com", "bucket": "ha-backups", "prefix": "home"
    }))
    .unwrap();
    let records = Records::new(state_dir.path());
    let read = records.of(&bucket);
    assert_eq!(read.last_run.as_ref().map(|run| run.backups), Some(2));
    assert_eq!(read.damaged(|_, _| true), ["a1"]);
    assert_eq!(read.unread(|_| true), ["b2"]);

    records
        .add(&id("usb"), "c3", &verified(VerifyMode::Quick, true))
        .await;
    let content: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(content["folders"].as_array().unwrap().len(), 2);
    assert_eq!(Records::new(state_dir.path()).of(&bucket), read);
}
