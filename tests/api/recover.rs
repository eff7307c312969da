//! Recovery of orphaned tars.

mod foreign;
mod races;

use serde_json::{Value, json};

use crate::lab::call::Answer;
use crate::lab::{
    Agent, Bucket, Location, MIB, Proxy, Sample, Server, Setup, agent_and_bucket,
    agent_behind_proxy, noise,
};

const FIXTURE: &[u8] = include_bytes!("../fixtures/home-assistant.tar");

async fn recover(agent: &Agent, body: &Value) -> Answer {
    agent.post("/v1/locations/garage/recover", body).await
}

/// Recovers everything; returns the keys of recovered tars, and key and code of skipped ones.
async fn recovered(agent: &Agent, body: &Value) -> (Vec<String>, Vec<(String, String)>) {
    let answer = recover(agent, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let all = |name: &str| answer.json()[name].as_array().unwrap().clone();
    let keys = all("recovered")
        .iter()
        .map(|entry| text(entry, "key"))
        .collect();
    (
        keys,
        all("failed")
            .iter()
            .map(|entry| (text(entry, "key"), text(entry, "code")))
            .collect(),
    )
}

/// An agent that sees everything in the bucket as two hours old.
async fn late() -> (Agent, Proxy, Bucket) {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    proxy.make_old();
    (agent, proxy, bucket)
}

fn failed(key: &str, code: &str) -> Vec<(String, String)> {
    vec![(key.to_owned(), code.to_owned())]
}

/// A tar of these entries.
fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

fn manifest(change: &Value) -> Vec<u8> {
    let mut manifest =
        json!({"slug": "a1", "name": "n", "date": crate::lab::sample::DATE, "folders": []});
    for (key, value) in change.as_object().unwrap() {
        manifest[key] = value.clone();
    }
    manifest.to_string().into_bytes()
}

/// A young tar may belong to an upload of another agent that writes its metadata next.
#[tokio::test]
async fn young_archive_is_counted_and_left_alone() {
    let (agent, bucket) = agent_and_bucket().await;
    bucket.put("backups/young.tar", FIXTURE).await;
    let answer = recover(&agent, &json!({})).await.json();
    assert_eq!(
        answer,
        json!({"recovered": [], "failed": [], "too_young": 1})
    );
    assert_eq!(bucket.keys().await, ["backups/young.tar"]);
}

#[tokio::test]
async fn recovered_metadata_equals_the_uploaded_metadata() {
    let (agent, proxy, bucket) = late().await;
    let sample = Sample::new("a1", "Lost & found #1", 30 * MIB);
    let file = agent.setup.path("in.tar");
    std::fs::write(&file, &sample.tar).unwrap();
    agent
        .setup
        .run(&["upload", "garage", file.to_str().unwrap()])
        .await
        .ended_with(0);
    let (tar, metadata) = (
        format!("backups/{}.tar", sample.stem()),
        format!("backups/{}.metadata.json", sample.stem()),
    );
    let mut before = bucket.json(&metadata).await;
    bucket.delete(&metadata).await;
    assert_eq!(
        agent.refreshed("garage").await["skipped"][0]["code"],
        "metadata_missing"
    );

    // A misspelt request changes nothing.
    assert_eq!(recover(&agent, &json!({"dryrun": true})).await.status, 400);
    let dry = recover(&agent, &json!({"dry_run": true})).await.json();
    let entry = json!({"key": tar, "backup_id": "a1", "name": "Lost & found #1", "size_bytes": sample.size()});
    assert_eq!(
        dry,
        json!({"recovered": [entry], "failed": [], "too_young": 0})
    );
    assert_eq!(
        bucket.keys().await,
        [tar.as_str()],
        "a dry run writes nothing"
    );

    let reads = proxy.count(|request| request.reads(".tar"));
    assert_eq!(recover(&agent, &json!({"keys": null})).await.json(), dry);
    assert!(
        proxy.count(|request| request.reads(".tar")) - reads <= 3,
        "the tar was downloaded"
    );
    let mut after = bucket.json(&metadata).await;
    let ours = |metadata: &mut Value| {
        metadata
            .as_object_mut()
            .unwrap()
            .remove("s3_backup_agent")
            .unwrap()
    };
    let (was, is) = (ours(&mut before), ours(&mut after));
    assert_eq!(after, before);
    assert_eq!(
        (&is["size"], &is["sha256"], &is["part_size"]),
        (&was["size"], &Value::Null, &Value::Null)
    );
    assert!(
        is["uploaded_at"].as_str() < was["uploaded_at"].as_str(),
        "uploaded_at is the tar's time"
    );

    assert_eq!(agent.list("garage").await["skipped"], json!([]));
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    let ran = agent
        .setup
        .run(&["verify", "garage", "a1", "--full"])
        .await
        .ended_with(0);
    assert!(ran.text().contains(&sample.sha256()), "{}", ran.text());
    assert_eq!(agent.delete_backup("garage", "a1").await.status, 204);
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn tar_outside_the_folder_is_copied_into_it() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Synced", 6 * MIB);
    let key = "old/phone sync/Synced ä+1.tar";
    bucket.put(key, sample.tar.clone()).await;
    bucket.put("old/notes.tar", noise("no tar", 4096)).await;
    bucket.put("old/notes.txt", "x").await;
    let keys = json!({"keys": [key, "old/notes.tar", "old/notes.txt"], "dry_run": true});
    let expected = [
        ("old/notes.tar", "invalid_metadata"),
        ("old/notes.txt", "backup_not_found"),
    ];
    let (found, reasons) = recovered(&agent, &keys).await;
    assert_eq!(found, [key]);
    for reason in expected {
        assert!(
            reasons.contains(&(reason.0.to_owned(), reason.1.to_owned())),
            "{reasons:?}"
        );
    }
    assert_eq!(bucket.keys().await.len(), 3, "a dry run writes nothing");

    let (found, _) = recovered(&agent, &json!({"keys": [key]})).await;
    assert_eq!(found, [key]);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
    assert!(bucket.get(key).await == sample.tar, "the original stays");
    assert_eq!(
        recovered(&agent, &json!({"keys": [key]})).await.1,
        failed(key, "duplicate")
    );
    let held = bucket.keys().await;
    assert!(
        held.contains(&"backups/Synced ä+1.tar".to_owned()),
        "{held:?}"
    );
    assert_eq!(held.len(), 5);
    agent
        .setup
        .run(&["verify", "garage", "a1", "--full"])
        .await
        .ended_with(0);
}

#[tokio::test]
async fn recovery_never_duplicates_a_backup() {
    let (agent, _proxy, bucket) = late().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    bucket.put("backups/again.tar", sample.tar.clone()).await;
    let answer = recover(&agent, &json!({})).await.json();
    assert_eq!(
        (&answer["recovered"], &answer["failed"][0]["code"]),
        (&json!([]), &json!("duplicate"))
    );
    assert!(
        answer["failed"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("\"a1\""),
        "{answer}"
    );
    assert_eq!(bucket.keys().await.len(), 3);
    // Of two tars of one backup, the later is recovered; the other is ignored.
    for key in ["backups/x older.tar", "backups/newer.tar"] {
        bucket.put(key, Sample::small("b2").tar).await;
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }
    let (keys, reasons) = recovered(
        &agent,
        &json!({"keys": ["backups/newer.tar", "backups/x older.tar"]}),
    )
    .await;
    assert_eq!(
        (keys, reasons),
        (
            vec!["backups/newer.tar".to_owned()],
            failed("backups/x older.tar", "duplicate")
        )
    );
    assert_eq!(agent.listed("garage").await, ["a1", "b2"]);
}

#[tokio::test]
async fn recovery_by_name_reports_by_name() {
    let (agent, bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.upload("garage", &sample).await;
    bucket.put_backup("", "bad", &sample).await;
    bucket.put("backups/bad.metadata.json", "{").await;
    bucket.put("backups/young.tar", sample.tar.clone()).await;
    bucket.put("elsewhere.tar", sample.tar.clone()).await;
    let listed = format!("backups/{}.tar", sample.stem());
    for (key, code) in [
        ("backups/young.tar", "under_way"),
        ("backups/bad.tar", "has_metadata"),
        (listed.as_str(), "has_metadata"),
        ("backups/missing.tar", "backup_not_found"),
        ("elsewhere.tar", "duplicate"),
        ("nowhere.tar", "backup_not_found"),
        ("backups/bad.metadata.json", "backup_not_found"),
        ("", "backup_not_found"),
    ] {
        assert_eq!(
            recovered(&agent, &json!({"keys": [key, key]})).await,
            (vec![], failed(key, code)),
            "{key}"
        );
    }
    assert_eq!(
        recovered(&agent, &json!({})).await,
        (vec![], vec![]),
        "a recent tar is not recoverable"
    );
    let ran = agent.setup.run(&["recover", "garage"]).await.ended_with(0);
    assert!(
        ran.text().contains("1 archive without metadata left alone")
            && ran.text().contains("older than an hour"),
        "{}",
        ran.text()
    );
    for (key, printed) in [
        (
            "backups/young.tar",
            "skipped \"backups/young.tar\": It is younger than an hour, so it may belong to an upload in progress.\n\
             garage: 0 metadata restored, 1 skipped, 0 failed.\n",
        ),
        (
            "nowhere.tar",
            "garage: 0 metadata restored, 0 skipped, 1 failed.\n",
        ),
    ] {
        let ran = agent.setup.run(&["recover", "garage", key]).await;
        assert!(ran.text().ends_with(printed), "{}", ran.text());
    }
    agent
        .post("/v1/locations/attic/recover", &json!({}))
        .await
        .is_problem(404, "location_not_found", &["attic"]);
    recover(&agent, &json!({"keys": "all"}))
        .await
        .is_problem(400, "invalid_request", &[]);
    assert_eq!(bucket.keys().await.len(), 6);
}

#[tokio::test]
async fn command_line_recovers_on_swift() {
    let bucket = Server::Swift.bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    proxy.make_old();
    let setup = Setup::of(Location {
        endpoint: proxy.endpoint(),
        ..Server::Swift.location(&bucket)
    });
    let sample = Sample::new("a1", "Lost", 6 * MIB);
    bucket.put("backups/lost.tar", sample.tar.clone()).await;
    let ran = setup.run(&["list"]).await.ended_with(0);
    assert!(
        ran.text()
            .contains("\"backups/lost.tar\", it has no metadata; recover adopts it"),
        "{}",
        ran.text()
    );
    let ran = setup
        .run(&["recover", "home", "--dry-run"])
        .await
        .ended_with(0);
    assert!(
        ran.text()
            .contains("a1: metadata would be restored (6.00 MiB), Lost"),
        "{}",
        ran.text()
    );
    assert_eq!(bucket.keys().await.len(), 1);
    let ran = setup
        .run(&["--json", "recover", "home", "backups/lost.tar"])
        .await
        .ended_with(0);
    let lines: Vec<Value> = ran
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["recovered"]["backup_id"], "a1");
    assert_eq!(
        lines[1],
        json!({"location": "home", "dry_run": false, "recovered": 1, "failed": 0, "too_young": 0})
    );
    let out = setup.path("out.tar");
    setup
        .run(&["download", "home", "a1", "-o", out.to_str().unwrap()])
        .await
        .ended_with(0);
    assert!(std::fs::read(out).unwrap() == sample.tar);
    let ran = setup
        .run(&["recover", "home", "backups/lost.tar"])
        .await
        .ended_with(1);
    assert!(ran.text().contains("is a listed backup"), "{}", ran.text());
    bucket.put("backups/tiny.tar", "no tar").await;
    setup.run(&["recover", "home"]).await.ended_with(0);
    let tiny = ["recover", "home", "backups/tiny.tar"];
    setup.run(&tiny).await.ended_with(5);
    bucket
        .put("backups/broken.tar", "no tar".repeat(1000))
        .await;
    setup.run(&["recover", "home"]).await.ended_with(5);
}
