use super::*;

#[test]
fn clock_skew_is_behind_or_ahead() {
    assert_eq!(offset(chrono::Duration::minutes(-20)), "20 minutes behind");
    assert_eq!(offset(chrono::Duration::minutes(7)), "7 minutes ahead of");
}

#[test]
fn step_needs_answer_as_proof() {
    assert_eq!(proven(None), (4, "list"));
    assert_eq!(proven(Some(Outcome::Forbidden)), (4, "list"));
    assert_eq!(proven(Some(Outcome::BucketNotFound)), (3, "bucket"));
    for outcome in [
        Outcome::Timeout,
        Outcome::Unreachable,
        Outcome::Certificate,
        Outcome::NotS3,
    ] {
        assert_eq!(proven(Some(outcome)), (0, "list"), "{outcome:?}");
    }
}

#[tokio::test]
async fn directory_check_removes_its_folders() {
    let folder = tempfile::tempdir().unwrap();
    let section = serde_json::json!({"endpoint": "https://s3.example.com", "bucket": "ha-backups",
        "access_key_id": "key", "secret_access_key": "secret", "prefix": "deep/down"});
    let (location, _) = Location::from_json(&section).unwrap();
    let backend = Backend::Directory(folder.path().join("a/b"));
    let trial = Trial::run(
        Location {
            backend,
            ..location
        },
        None,
        None,
    )
    .await;
    assert!(trial.ok(), "{:?}", trial.steps);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
