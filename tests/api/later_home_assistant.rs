//! Backups with fields, add-on keys and folders that Home Assistant 2026.11 does not have.

use serde_json::{Value, json};

use crate::lab::call::ids;
use crate::lab::{Sample, agent_and_bucket};

/// Metadata with something new in each place.
fn later(id: &str) -> Sample {
    let mut sample = Sample::small(id);
    let metadata = &mut sample.metadata;
    metadata["folders"] = json!(["media", "attic", {"name": "cellar", "size": 1.5}]);
    metadata["addons"] = json!([
        {"name": "a", "slug": "a", "version": "1", "color": {"dark": "red"}},
        {"slug": "nameless"},
    ]);
    metadata["protected"] = json!("aes256");
    metadata["cloud"] = json!({"copies": 2, "region": null});
    sample
}

fn without_additions(backup: &Value) -> Value {
    let mut backup = backup.clone();
    backup
        .as_object_mut()
        .unwrap()
        .shift_remove("s3_backup_agent");
    backup
}

#[tokio::test]
async fn upload_keeps_what_a_later_home_assistant_adds() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = later("a1");
    agent.upload("garage", &sample).await;
    let stored = bucket
        .text(&format!("backups/{}.metadata.json", sample.stem()))
        .await;
    let sent = sample.metadata.to_string();
    assert!(
        stored.starts_with(sent.strip_suffix('}').unwrap()),
        "{stored}"
    );
    let list = agent.refreshed("garage").await;
    assert_eq!(list["skipped"], json!([]));
    assert_eq!(without_additions(&list["backups"][0]), sample.metadata);
    let one = agent.get("/v1/locations/garage/backups/a1").await.json();
    assert_eq!(without_additions(&one), sample.metadata);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn backup_of_a_later_home_assistant_in_the_bucket_is_usable() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = later("a1");
    bucket.put_backup("", "later", &sample).await;
    let mut bare = Sample::small("b2");
    let metadata = bare.metadata.as_object_mut().unwrap();
    metadata.retain(|key, _| ["backup_id", "date", "name", "size"].contains(&key.as_str()));
    bucket.put_backup("", "bare", &bare).await;
    let list = agent.refreshed("garage").await;
    let mut listed = ids(&list);
    listed.sort();
    assert_eq!(
        (listed, &list["skipped"]),
        (vec!["a1".to_owned(), "b2".to_owned()], &json!([]))
    );
    for sample in [&sample, &bare] {
        let id = sample.metadata["backup_id"].as_str().unwrap();
        let one = agent
            .get(&format!("/v1/locations/garage/backups/{id}"))
            .await;
        assert_eq!(one.json(), sample.metadata);
        assert!(agent.download("garage", id).await.unwrap().body == sample.tar);
        assert_eq!(agent.delete_backup("garage", id).await.status, 204);
    }
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn unreadable_date_in_the_bucket_is_damage_and_hides_nothing() {
    let (agent, bucket) = agent_and_bucket().await;
    for (id, date) in [("a1", ""), ("b2", "last night")] {
        let mut sample = Sample::small(id);
        sample.metadata["date"] = date.into();
        bucket.put_backup("", id, &sample).await;
        let list = agent.refreshed("garage").await;
        assert!(ids(&list).contains(&id.to_owned()), "{list:#}");
        assert_eq!(list["skipped"], json!([]));
        let verified = agent
            .post(
                &format!("/v1/locations/garage/backups/{id}/verify"),
                &json!({"mode": "full"}),
            )
            .await;
        let expected = format!("its date \\\"{date}\\\" cannot be parsed");
        let body = String::from_utf8_lossy(&verified.body).into_owned();
        assert!(
            body.contains("metadata_damaged") && body.contains(&expected),
            "{body}"
        );
        assert!(
            agent
                .printed()
                .contains("cannot be parsed; it is listed as it is")
        );
        assert!(agent.download("garage", id).await.unwrap().body == sample.tar);
        assert_eq!(agent.delete_backup("garage", id).await.status, 204);
    }
    bucket.wait_until_empty().await;
}
