//! Objects beside backups: each has a code.

use serde_json::{Value, json};

use crate::lab::{Request, Sample, agent_behind_proxy, eventually};

/// Key and code of all skipped objects, sorted.
fn codes(list: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let skipped = list["skipped"].as_array().unwrap().iter();
    let mut codes: Vec<_> = skipped
        .map(|skipped| (text(&skipped["key"]), text(&skipped["code"])))
        .collect();
    codes.sort();
    codes
}

#[tokio::test]
async fn skipped_objects_have_codes_and_counts() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    proxy.make_old();
    assert_eq!(
        agent.location("garage").await["skipped"],
        Value::Null,
        "nothing was listed"
    );
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    bucket.put_backup("", "copy", &sample).await;
    bucket.put_backup("", "cut", &Sample::small("b2")).await;
    bucket.put("backups/cut.metadata.json", "{").await;
    bucket
        .put("backups/no metadata.tar", sample.tar.clone())
        .await;
    bucket
        .put("backups/no metadata either.tar", sample.tar.clone())
        .await;
    bucket
        .put("backups/no tar.metadata.json", sample.metadata.to_string())
        .await;
    bucket
        .put("backups/a//b.metadata.json", sample.metadata.to_string())
        .await;
    bucket.put("backups/notes.txt", "not ours").await;
    bucket.put("backups/empty.tar", "").await;
    bucket
        .put("backups/._no metadata.tar", "x".repeat(4096))
        .await;
    let list = agent.refreshed("garage").await;
    let expected = [
        ("backups%2Fa%2F%2Fb.metadata.json", "unreachable_key"),
        ("backups/copy.metadata.json", "duplicate"),
        ("backups/cut.metadata.json", "invalid_metadata"),
        ("backups/empty.tar", "not_a_backup"),
        ("backups/no metadata either.tar", "metadata_missing"),
        ("backups/no metadata.tar", "metadata_missing"),
        ("backups/no tar.metadata.json", "tar_missing"),
    ];
    assert_eq!(
        codes(&list),
        expected.map(|(key, code)| (key.to_owned(), code.to_owned()))
    );
    let counts = json!({
        "tar_missing": 1, "metadata_missing": 2, "not_a_backup": 1, "invalid_metadata": 1, "duplicate": 1, "unreachable_key": 1,
    });
    assert_eq!(agent.location("garage").await["skipped"], counts);
}

/// An agent killed before it deleted the predecessor of its last upload leaves two copies of one
/// backup.
#[tokio::test]
async fn previous_upload_of_a_backup_is_deleted_with_it() {
    let (agent, _proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    let stem = format!("backups/{}", sample.stem());
    for (ending, data) in [
        (".tar", sample.tar.clone()),
        (
            ".metadata.json",
            bucket.get(&format!("{stem}.metadata.json")).await,
        ),
    ] {
        bucket.put(&format!("{stem}_a1{ending}"), data).await;
    }
    assert_eq!(agent.listed("garage").await, ["a1"]);
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    assert_eq!(agent.listed("garage").await, Vec::<String>::new());
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn recent_tar_may_belong_to_another_upload() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    bucket
        .put("backups/young.tar", Sample::small("a1").tar)
        .await;
    assert_eq!(agent.list("garage").await["skipped"], json!([]));
    assert_eq!(
        agent.location("garage").await["skipped"]["metadata_missing"],
        0
    );
    proxy.make_old();
    assert_eq!(codes(&agent.refreshed("garage").await).len(), 1);
}

/// S3 dates a multipart object by its upload's start: a long upload looks old immediately.
#[tokio::test]
async fn tar_of_a_running_upload_or_deletion_is_not_an_orphan() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    proxy.make_old();
    let (sample, tar) = (
        Sample::small("a1"),
        format!("backups/{}.tar", Sample::small("a1").stem()),
    );
    let upload_id = agent.received("garage", &sample).await;
    let gate = proxy.hold(|request| request.writes(".metadata.json"));
    let look = async |gate: std::sync::Arc<tokio::sync::Semaphore>| {
        eventually("the upload is in progress", async || {
            proxy.faults_left() == 0
        })
        .await;
        assert_eq!(
            bucket.keys().await,
            [tar.as_str()],
            "test precondition not met"
        );
        assert_eq!(agent.refreshed("garage").await["skipped"], json!([]));
        gate.add_permits(1);
    };
    let (completed, ()) = tokio::join!(agent.complete(&upload_id, &sample), look(gate));
    assert_eq!(completed.status, 200);
    let gate = proxy.hold(|request: &Request| request.deletes(".tar"));
    let (deleted, ()) = tokio::join!(agent.delete_backup("garage", "a1"), look(gate));
    assert_eq!(deleted.status, 204);
    bucket.wait_until_empty().await;
}
