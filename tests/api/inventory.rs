//! What a backup lacks is noted on every way into a bucket, and never refused: it may be the only backup.

use std::collections::HashSet;
use std::fs;

use serde_json::{Map, Value, json};

use crate::lab::{Location, Sample, Setup, agent_and_bucket, agent_behind_proxy, garage};

const GZIP: &[u8] = b"\x1f\x8b\x08\0rest";
const SECURE: &[u8] = b"SecureTar\x03rest";
const OLD: &[u8] = b"16 random bytes.";

/// Name of a kind, whether the backup is encrypted, its archives, and what it lacks.
pub(super) type Kind = (
    &'static str,
    bool,
    &'static [(&'static str, &'static [u8])],
    Value,
);

/// Backups of Home Assistant, the add-on `core_ssh` and the folders `addons/local` and `share`.
#[rustfmt::skip]
pub(super) fn kinds() -> Vec<Kind> {
    vec![
        ("whole", false, &[("homeassistant.tar.gz", GZIP), ("core_ssh.tar.gz", GZIP), ("addons_local.tar.gz", GZIP), ("share.tar.gz", GZIP)], json!({})),
        ("whole, encrypted", true, &[("homeassistant.tar.gz", SECURE), ("core_ssh.tar.gz", SECURE), ("addons_local.tar.gz", SECURE), ("share.tar.gz", SECURE)], json!({})),
        ("whole, of the first format", true, &[("homeassistant.tar", OLD), ("core_ssh.tar", OLD), ("addons_local.tar", OLD), ("share.tar", OLD)], json!({})),
        ("no folder of local add-ons", true, &[("homeassistant.tar.gz", SECURE), ("core_ssh.tar.gz", SECURE), ("share.tar.gz", SECURE)], json!({"missing": ["addons_local"]})),
        ("no add-on", false, &[("homeassistant.tar.gz", GZIP), ("addons_local.tar.gz", GZIP), ("share.tar.gz", GZIP)], json!({"missing": ["core_ssh"]})),
        ("no folder", false, &[("homeassistant.tar.gz", GZIP), ("core_ssh.tar.gz", GZIP), ("addons_local.tar.gz", GZIP)], json!({"missing": ["share"]})),
        ("Home Assistant alone", true, &[("homeassistant.tar.gz", SECURE)], json!({"missing": ["addons_local", "core_ssh", "share"]})),
        ("another folder's name", false, &[("homeassistant.tar.gz", GZIP), ("core_ssh.tar.gz", GZIP), ("addons/local.tar.gz", GZIP), ("share.tar.gz", GZIP)], json!({"missing": ["addons_local"], "unexpected": ["addons/local"]})),
        ("another ending", false, &[("homeassistant.tar.gz", GZIP), ("core_ssh.tar.xz", GZIP), ("addons_local.tar.gz", GZIP), ("share.tar.gz", GZIP)], json!({"missing": ["core_ssh"]})),
        ("an empty add-on", false, &[("homeassistant.tar.gz", GZIP), ("core_ssh.tar.gz", b""), ("addons_local.tar.gz", GZIP), ("share.tar.gz", GZIP)], json!({"empty": ["core_ssh"]})),
        ("an empty folder, encrypted", true, &[("homeassistant.tar.gz", SECURE), ("core_ssh.tar.gz", SECURE), ("addons_local.tar.gz", SECURE), ("share.tar.gz", b"")], json!({"empty": ["share"]})),
        ("an empty Home Assistant", false, &[("homeassistant.tar.gz", b""), ("core_ssh.tar.gz", GZIP), ("addons_local.tar.gz", GZIP), ("share.tar.gz", GZIP)], json!({"empty": ["homeassistant"]})),
        ("all empty", true, &[("homeassistant.tar.gz", b""), ("core_ssh.tar.gz", b""), ("addons_local.tar.gz", b""), ("share.tar.gz", b"")], json!({"empty": ["addons_local", "core_ssh", "homeassistant", "share"]})),
        ("a plain folder in an encrypted backup", true, &[("homeassistant.tar.gz", SECURE), ("core_ssh.tar.gz", SECURE), ("addons_local.tar.gz", GZIP), ("share.tar.gz", SECURE)], json!({"not_encrypted": ["addons_local"]})),
        ("a plain Home Assistant in an encrypted backup", true, &[("homeassistant.tar.gz", GZIP), ("core_ssh.tar.gz", SECURE), ("addons_local.tar.gz", SECURE), ("share.tar.gz", SECURE)], json!({"not_encrypted": ["homeassistant"]})),
        ("an uncompressed plain folder in an encrypted backup", true, &[("homeassistant.tar", SECURE), ("core_ssh.tar", SECURE), ("addons_local.tar", SECURE), ("share.tar", &[0; 1024])], json!({"not_encrypted": ["share"]})),
        ("plain settings of Supervisor in an encrypted backup", true, &[("homeassistant.tar.gz", SECURE), ("core_ssh.tar.gz", SECURE), ("addons_local.tar.gz", SECURE), ("share.tar.gz", SECURE), ("supervisor.tar.gz", GZIP)], json!({"not_encrypted": ["supervisor"]})),
        ("an encrypted folder in a plain backup", false, &[("homeassistant.tar.gz", GZIP), ("core_ssh.tar.gz", GZIP), ("addons_local.tar.gz", SECURE), ("share.tar.gz", GZIP)], json!({"encrypted": ["addons_local"]})),
        ("all encrypted in a plain backup", false, &[("homeassistant.tar.gz", SECURE), ("core_ssh.tar.gz", SECURE), ("addons_local.tar.gz", SECURE), ("share.tar.gz", SECURE)], json!({"encrypted": ["addons_local", "core_ssh", "homeassistant", "share"]})),
        ("a foreign archive", false, &[("homeassistant.tar.gz", GZIP), ("core_ssh.tar.gz", GZIP), ("addons_local.tar.gz", GZIP), ("share.tar.gz", GZIP), ("b1946ac9_cloud.tar.gz", GZIP)], json!({"unexpected": ["b1946ac9_cloud"]})),
        ("an archive twice", false, &[("homeassistant.tar.gz", GZIP), ("core_ssh.tar.gz", GZIP), ("core_ssh.tar.gz", GZIP), ("addons_local.tar.gz", GZIP), ("share.tar.gz", GZIP)], json!({"unexpected": ["core_ssh"]})),
        ("all at once", true, &[("homeassistant.tar.gz", SECURE), ("addons_local.tar.gz", GZIP), ("share.tar.gz", b""), ("x.tgz", GZIP)], json!({"missing": ["core_ssh"], "empty": ["share"], "not_encrypted": ["addons_local", "x"], "unexpected": ["x"]})),
    ]
}

pub(super) fn backup(id: &str, (name, protected, archives, _): &Kind) -> Sample {
    let manifest = json!({
        "slug": id, "name": name, "date": crate::lab::sample::DATE, "protected": protected,
        "homeassistant": {"version": "2026.11.0"}, "addons": [{"slug": "core_ssh", "name": "SSH", "version": "9"}],
        "folders": ["addons/local", "share"],
    })
    .to_string();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in archives
        .iter()
        .chain([&("backup.json", manifest.as_bytes())])
    {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, format!("./{name}"), *data)
            .unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let mut sample = Sample::small(id).with_tar(tar);
    sample.metadata["name"] = json!(name);
    sample.metadata["protected"] = json!(protected);
    sample.metadata["size"] = json!(sample.size());
    sample
}

fn expected((.., lacks): &Kind) -> Value {
    let mut inventory: Map<String, Value> = ["missing", "empty", "not_encrypted", "encrypted"]
        .into_iter()
        .map(|list| (list.to_owned(), json!([])))
        .collect();
    let lacks = lacks.as_object().unwrap();
    inventory.insert(
        "complete".to_owned(),
        json!(lacks.keys().all(|list| list == "unexpected")),
    );
    inventory.extend(lacks.clone());
    Value::Object(inventory)
}

/// The inventory in each backup of a list, by id.
fn inventories(listed: &Value) -> Map<String, Value> {
    let backups = listed["backups"].as_array().unwrap().iter();
    backups
        .map(|backup| {
            let id = backup["backup_id"].as_str().unwrap().to_owned();
            (id, backup["s3_backup_agent"]["inventory"].clone())
        })
        .collect()
}

#[tokio::test]
async fn what_an_uploaded_backup_lacks_is_noted() {
    let (agent, _bucket) = agent_and_bucket().await;
    let mut all = Map::new();
    for (index, kind) in kinds().iter().enumerate() {
        let id = format!("k{index:02}");
        let stored = agent.upload("garage", &backup(&id, kind)).await;
        let inventory = &stored["s3_backup_agent"]["inventory"];
        assert_eq!(inventory, &expected(kind), "{}", kind.0);
        all.insert(id, expected(kind));
    }
    assert_eq!(inventories(&agent.refreshed("garage").await), all);
    let incomplete: Vec<_> = all
        .iter()
        .filter(|(_, inventory)| inventory["complete"] == json!(false))
        .map(|(id, _)| id.clone())
        .collect();
    let named = &agent.location("garage").await["incomplete"];
    let named: HashSet<&str> = named
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(named, incomplete.iter().map(String::as_str).collect());
    let warnings = agent.printed();
    let told = warnings.matches("is incomplete: ").count();
    assert_eq!(told, incomplete.len(), "{warnings}");
}

/// The command line uploads files; the storage copies them from bucket to bucket, and the agent from server to server.
#[tokio::test]
async fn what_a_copied_backup_lacks_is_noted() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let location = |id: &str, prefix: &str, bucket| Location {
        id: id.to_owned(),
        prefix: prefix.to_owned(),
        ..Location::of(bucket)
    };
    let setup = Setup::with([
        location("first", "a", &from),
        location("inside", "b", &from),
        location("through", "c", &to),
        location("foreign", "d", &from),
        location("again", "e", &from),
    ]);
    let mut all = Map::new();
    for (index, kind) in kinds().iter().enumerate() {
        let id = format!("k{index:02}");
        let sample = backup(&id, kind);
        let file = setup.path(&format!("{id}.tar"));
        fs::write(&file, &sample.tar).unwrap();
        let command = ["upload", "first", file.to_str().unwrap()];
        let ran = setup.run(&command).await.ended_with(0);
        let is_told = ran.text().contains("The backup is incomplete: ");
        assert_eq!(
            json!(!is_told),
            expected(kind)["complete"],
            "{}",
            ran.text()
        );
        // Another tool's backup.
        from.put_backup("d/", &id, &sample).await;
        all.insert(id, expected(kind));
    }
    for to in ["inside", "through"] {
        setup.run(&["copy", "first", to]).await.ended_with(0);
    }
    setup.run(&["copy", "foreign", "again"]).await.ended_with(0);
    for location in ["first", "inside", "through", "again"] {
        let ran = setup.run(&["--json", "list", location]).await;
        let listed: Value = serde_json::from_str(ran.text()).unwrap();
        assert_eq!(inventories(&listed), all, "{location}");
    }
}

#[tokio::test]
async fn what_a_recovered_backup_lacks_is_noted() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    proxy.make_old();
    let mut all = Map::new();
    for (index, kind) in kinds().iter().enumerate() {
        let id = format!("k{index:02}");
        let tar = backup(&id, kind).tar;
        bucket.put(&format!("backups/{id}.tar"), tar).await;
        all.insert(id, expected(kind));
    }
    let path = "/v1/locations/garage/recover";
    let recovered = agent.post(path, &json!({})).await;
    assert_eq!(recovered.status, 200, "{recovered:?}");
    assert_eq!(inventories(&agent.refreshed("garage").await), all);
}

/// Backups of earlier agents and of other tools have no inventory; reading their headers tells.
#[tokio::test]
async fn quick_verification_notes_what_a_backup_lacks() {
    let (agent, bucket) = agent_and_bucket().await;
    for (index, kind) in kinds().iter().enumerate() {
        let id = format!("k{index:02}");
        bucket.put_backup("", &id, &backup(&id, kind)).await;
    }
    agent.refreshed("garage").await;
    for (index, kind) in kinds().iter().enumerate() {
        for mode in ["quick", "full"] {
            let path = format!("/v1/locations/garage/backups/k{index:02}/verify");
            let answer = agent.post(&path, &json!({"mode": mode})).await;
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            let result: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert_eq!(
                (&result["ok"], &result["problems"]),
                (&json!(true), &json!([])),
                "{result}"
            );
            let notes = result["notes"].as_array().unwrap();
            assert_eq!(
                json!(notes.is_empty()),
                expected(kind)["complete"],
                "{result}"
            );
            for note in notes {
                assert_eq!(note["code"], "incomplete");
                let lists = expected(kind);
                for list in ["missing", "empty", "not_encrypted", "encrypted"] {
                    for name in lists[list].as_array().unwrap() {
                        let detail = note["detail"].as_str().unwrap();
                        assert!(detail.contains(name.as_str().unwrap()), "{detail}");
                    }
                }
            }
        }
    }
}
