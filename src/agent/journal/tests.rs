use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;

fn folder(prefix: &str) -> FolderId {
    let id = json!({"endpoint": "http://s3", "bucket": "b", "prefix": prefix});
    serde_json::from_value(id).unwrap()
}

fn header() -> Header {
    Header {
        folder: folder("p"),
        key: "p/backups/Nightly.tar".into(),
        backup_id: "a1".into(),
        upload_id: Some("u1".into()),
        part_size: 5 << 20,
        size: Some(16 << 20),
        kept: Some("so".into()),
    }
}

fn part(number: usize) -> StoredPart {
    StoredPart {
        number,
        size: 5 << 20,
        e_tag: format!("\"e{number}\""),
        hash: crate::store::Algorithm::Crc64Nvme
            .digest(&[7; 3])
            .to_string(),
    }
}

async fn interrupted(journals: &Arc<Journals>) -> Vec<Interrupted> {
    journals.interrupted(&folder("p"), "a1").await
}

fn only_file(state: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(state.join("uploads"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// The journal of an upload that was interrupted after two parts, and its content.
async fn two_parts_noted(state: &Path, journals: &Arc<Journals>) -> (PathBuf, Vec<u8>) {
    let journal = journals.begin(header()).await.unwrap();
    journal.note(part(0)).await;
    journal.note(part(1)).await;
    drop(journal);
    let file = only_file(state);
    let whole = fs::read(&file).unwrap();
    (file, whole)
}

#[tokio::test]
async fn stored_parts_outlive_the_upload() {
    let state = tempfile::tempdir().unwrap();
    let journals = Journals::new(state.path());
    let journal = journals.begin(header()).await.unwrap();
    for number in [0, 2, 1] {
        journal.note(part(number)).await;
    }
    assert!(
        interrupted(&journals).await.is_empty(),
        "an active upload is not interrupted"
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (
            mode(&only_file(state.path())),
            mode(&state.path().join("uploads"))
        ),
        (0o600, 0o700)
    );
    drop(journal);
    let found = interrupted(&journals).await.remove(0);
    assert_eq!(found.header, header());
    assert_eq!(
        found.parts.into_values().collect::<Vec<_>>(),
        [part(0), part(1), part(2)]
    );
    for (prefix, backup_id) in [("q", "a1"), ("p", "b2")] {
        assert!(
            journals
                .interrupted(&folder(prefix), backup_id)
                .await
                .is_empty(),
            "{prefix} {backup_id}"
        );
    }
    let elsewhere = json!({"endpoint": "http://elsewhere", "bucket": "b", "prefix": "p"});
    let elsewhere = serde_json::from_value(elsewhere).unwrap();
    assert!(journals.interrupted(&elsewhere, "a1").await.is_empty());
    found.journal.end().await;
    assert!(interrupted(&journals).await.is_empty());
}

#[tokio::test]
async fn part_is_forgotten_before_it_is_replaced() {
    let state = tempfile::tempdir().unwrap();
    let journals = Journals::new(state.path());
    let journal = journals.begin(header()).await.unwrap();
    journal.note(part(0)).await;
    journal.note(part(1)).await;
    journal.replacing(0).await;
    drop(journal);
    assert_eq!(
        interrupted(&journals)
            .await
            .remove(0)
            .parts
            .into_keys()
            .collect::<Vec<_>>(),
        [1]
    );
}

#[tokio::test]
async fn torn_line_costs_only_itself() {
    let state = tempfile::tempdir().unwrap();
    let journals = Journals::new(state.path());
    let (file, whole) = two_parts_noted(state.path(), &journals).await;
    let first = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for cut in (first..whole.len()).step_by(7) {
        fs::write(&file, &whole[..cut]).unwrap();
        let found = interrupted(&journals).await.remove(0);
        assert!(found.parts.len() < 2, "cut at {cut}");
        // Lines that are appended now are readable.
        found.journal.note(part(5)).await;
        drop(found);
        assert!(
            interrupted(&journals)
                .await
                .remove(0)
                .parts
                .contains_key(&5),
            "cut at {cut}"
        );
    }
}

#[tokio::test]
async fn garbage_after_a_power_cut_costs_no_earlier_line() {
    let state = tempfile::tempdir().unwrap();
    let journals = Journals::new(state.path());
    let (file, whole) = two_parts_noted(state.path(), &journals).await;
    let line = line(&Line::Part(part(2))).unwrap();
    // Zeros where blocks never reached the disk, for part of a line or all of it; old content of the disk.
    let [half, zeros] = [line.len() / 2, line.len()].map(|end| vec![0; end]);
    let tails = [
        zeros.clone(),
        vec![0; 4096],
        [&line[..half.len()], &half[..]].concat(),
        [&half[..], &line[half.len()..line.len() - 1]].concat(),
        [&half[..], &line[half.len()..]].concat(),
        b"\xff\xfe\x80{\"part\":".to_vec(),
        b"{\"part\":{\"number\":2}}".to_vec(),
    ];
    for tail in tails {
        fs::write(&file, [&whole[..], &tail].concat()).unwrap();
        let found = interrupted(&journals).await.remove(0);
        assert_eq!(
            found.parts.keys().copied().collect::<Vec<_>>(),
            [0, 1],
            "{:?}",
            String::from_utf8_lossy(&tail)
        );
        // Lines that are appended now are readable.
        found.journal.note(part(5)).await;
        drop(found);
        let parts = interrupted(&journals).await.remove(0).parts;
        assert_eq!(
            parts.into_keys().collect::<Vec<_>>(),
            [0, 1, 5],
            "{:?}",
            String::from_utf8_lossy(&tail)
        );
    }
}

#[tokio::test]
async fn foreign_files_are_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let journals = Journals::new(state.path());
    fs::create_dir(state.path().join("uploads")).unwrap();
    for (name, text) in [
        ("a.jsonl", ""),
        ("b.jsonl", "no line"),
        ("c.jsonl", "{\"part\":1}\n"),
        ("d.txt", "mine\n"),
    ] {
        fs::write(state.path().join("uploads").join(name), text).unwrap();
    }
    for _ in 0..2 {
        assert!(interrupted(&journals).await.is_empty());
        assert_eq!(
            fs::read_dir(state.path().join("uploads")).unwrap().count(),
            4
        );
    }
    assert_eq!(journals.ignored.lock().len(), 3, "each is logged once");
}

#[tokio::test]
async fn unwritable_state_directory_costs_only_the_resume() {
    let state = tempfile::tempdir().unwrap();
    fs::write(state.path().join("uploads"), "a file instead of the folder").unwrap();
    let journals = Journals::new(state.path());
    assert!(journals.begin(header()).await.is_none());
    assert!(interrupted(&journals).await.is_empty());
}

/// A journal exactly as version 0.1 writes it.
const OF_0_1: &str = r#"{"upload":{"place":"bucket \"b\" at http://s3/","key":"p/backups/Nightly.tar","backup_id":"a1","upload_id":"u1","part_size":5242880,"size":16777216,"kept":"so"}}
{"part":{"number":0,"size":5242880,"e_tag":"\"e0\"","hash":"crc64nvme:0000000000000000"}}
{"part":{"number":1,"size":5242880,"e_tag":"\"e1\"","hash":"crc64nvme:0000000000000001"}}
{"replacing":1}
"unwanted"
{"removing":{"failed":{"metadata":null,"version":"\"v\""}}}
"#;

#[tokio::test]
async fn journal_of_0_1_is_rewritten_once() {
    let state = tempfile::tempdir().unwrap();
    let journals = Journals::new(state.path());
    let path = state.path().join("uploads/a.jsonl");
    fs::create_dir(state.path().join("uploads")).unwrap();
    fs::write(&path, OF_0_1).unwrap();
    let yesterday = std::time::SystemTime::now() - Duration::from_hours(25);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(yesterday)
        .unwrap();
    assert_eq!(journals.of_key(&folder("p"), &header().key).await.len(), 1);
    let found = interrupted(&journals).await.remove(0);
    assert_eq!(found.header, header());
    assert_eq!(found.parts.keys().copied().collect::<Vec<_>>(), [0]);
    let tombstone = Tombstone::Failed {
        metadata: None,
        version: Some("\"v\"".into()),
    };
    assert_eq!(found.tombstone, Some(tombstone));
    assert!(found.is_discarded && found.age >= KEPT_FOR);
    assert!(
        interrupted(&journals).await.is_empty(),
        "the new file is locked, too"
    );
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("\"version\":2") && !text.contains("place"),
        "{text}"
    );
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    found.journal.note(part(5)).await;
    drop(found);
    let parts = interrupted(&journals).await.remove(0).parts;
    assert_eq!(parts.into_keys().collect::<Vec<_>>(), [0, 5]);
}

#[tokio::test]
async fn journal_without_size_is_readable() {
    let state = tempfile::tempdir().unwrap();
    fs::create_dir(state.path().join("uploads")).unwrap();
    let text = OF_0_1.replace(",\"size\":16777216,\"kept\":\"so\"", "");
    let path = state.path().join("uploads/a.jsonl");
    fs::write(
        &path,
        text.lines().take(2).collect::<Vec<_>>().join("\n") + "\n",
    )
    .unwrap();
    let found = interrupted(&Journals::new(state.path())).await.remove(0);
    assert_eq!((found.parts.len(), found.header.size), (1, None));
    assert!(
        found.header.is_of(5 << 20, 16 << 20, "so") && found.header.is_of(5 << 20, 17 << 20, "so")
    );
}

#[tokio::test]
async fn journal_of_a_later_version_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let journals = Journals::new(state.path());
    drop(journals.begin(header()).await.unwrap());
    let path = only_file(state.path());
    let text = fs::read_to_string(&path).unwrap();
    let later = text.replace("\"version\":2", "\"version\":3");
    fs::write(&path, &later).unwrap();
    assert!(interrupted(&journals).await.is_empty());
    assert_eq!(fs::read_to_string(&path).unwrap(), later);
}

#[tokio::test]
async fn discarded_upload_is_swept_until_it_is_resumed() {
    let state = tempfile::tempdir().unwrap();
    let journals = Journals::new(state.path());
    let journal = journals.begin(header()).await.unwrap();
    journal.note(part(0)).await;
    drop(journal);
    assert!(
        journals.expired().await.is_empty(),
        "it is kept for the next attempt"
    );
    interrupted(&journals)
        .await
        .remove(0)
        .journal
        .discarded()
        .await;
    assert_eq!(journals.expired().await.len(), 1);
    let again = interrupted(&journals).await.remove(0);
    assert_eq!(again.parts.len(), 1, "the stored parts are still valid");
    assert!(journals.expired().await.is_empty(), "it is active again");
    again.journal.note(part(1)).await;
    drop(again);
    assert!(journals.expired().await.is_empty());
}

#[tokio::test]
async fn stale_new_file_is_removed() {
    let state = tempfile::tempdir().unwrap();
    let (folder, journals) = (state.path().join("uploads"), Journals::new(state.path()));
    fs::create_dir(&folder).unwrap();
    let file = fs::File::create_new(folder.join("killed.new")).unwrap();
    assert!(interrupted(&journals).await.is_empty());
    assert!(
        folder.join("killed.new").exists(),
        "its process may be about to rename it"
    );
    file.set_modified(std::time::SystemTime::now() - Duration::from_hours(2))
        .unwrap();
    assert!(interrupted(&journals).await.is_empty());
    assert!(!folder.join("killed.new").exists());
}
