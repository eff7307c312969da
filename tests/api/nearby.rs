//! Backups in another folder than the location's, which is empty.

use serde_json::{Value, json};

use crate::lab::{Agent, Location, Sample, Setup, garage};

fn with_prefix(location: Location, prefix: &str) -> Location {
    Location {
        prefix: prefix.to_owned(),
        ..location
    }
}

/// The suggestion of a check's note, if it has one.
fn suggestion(checked: &Value) -> Option<String> {
    let notes = checked["notes"].as_array().unwrap();
    let note = notes
        .iter()
        .find(|note| note["code"] == "backups_elsewhere")?;
    assert_eq!(note["key"], "prefix");
    Some(note["suggestion"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn nearly_right_prefix_is_named_by_check_and_list() {
    let bucket = garage::shared().bucket().await;
    bucket.put("photos/2026/cat.jpg", "x").await;
    bucket
        .put_backup("home/", "one", &Sample::small("a1"))
        .await;
    bucket
        .put_backup("home/", "two", &Sample::small("b2"))
        .await;
    let agent: Agent = Setup::of(Location::of(&bucket)).serve().await;
    for prefix in [
        "home/backups",
        "Home",
        "HOME/",
        "",
        "attic",
        "home/backups/",
    ] {
        let settings = with_prefix(Location::of(&bucket), prefix);
        let checked = agent
            .post("/v1/locations/check", &settings.json())
            .await
            .json();
        assert_eq!(checked["ok"], true, "{checked}");
        assert_eq!(suggestion(&checked).as_deref(), Some("home"), "{prefix}");

        let setup = Setup::of(settings);
        let ran = setup.run(&["list"]).await.ended_with(0);
        let expected = "but 2 backups in \"home/backups/\". Set the prefix to \"home\"";
        assert!(ran.text().contains(expected), "{prefix}: {}", ran.text());
        let ran = setup.run(&["--json", "list"]).await.ended_with(0);
        let expected = json!({"prefix": "home", "backups": 2});
        assert_eq!(ran.json()["elsewhere"], expected, "{prefix}");
        let ran = setup.run(&["check"]).await.ended_with(0);
        assert!(
            ran.text().contains("\n    prefix = \"home\""),
            "{}",
            ran.text()
        );
    }
    // A folder with backups, or a bucket without any, names no other one.
    for (prefix, other) in [("home", true), ("attic", false)] {
        if !other {
            for key in bucket.keys().await {
                bucket.delete(&key).await;
            }
        }
        let settings = with_prefix(Location::of(&bucket), prefix);
        let checked = agent
            .post("/v1/locations/check", &settings.json())
            .await
            .json();
        assert_eq!(suggestion(&checked), None, "{prefix}");
        let ran = Setup::of(settings)
            .run(&["--json", "list"])
            .await
            .ended_with(0);
        assert_eq!(ran.json()["elsewhere"], Value::Null);
    }
}

#[tokio::test]
async fn backups_without_a_prefix_are_found_from_one() {
    let bucket = garage::shared().bucket().await;
    bucket.put_backup("", "one", &Sample::small("a1")).await;
    for prefix in ["backups", "home"] {
        let setup = Setup::of(with_prefix(Location::of(&bucket), prefix));
        let ran = setup.run(&["list"]).await.ended_with(0);
        let expected = "but one backup in \"backups/\". Leave the prefix empty";
        assert!(ran.text().contains(expected), "{prefix}: {}", ran.text());
    }
}

#[tokio::test]
async fn nearly_right_prefix_of_a_directory_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let backups = folder.path().join("home/backups");
    std::fs::create_dir_all(&backups).unwrap();
    let sample = Sample::small("a1");
    std::fs::write(backups.join("one.tar"), &sample.tar).unwrap();
    std::fs::write(
        backups.join("one.metadata.json"),
        sample.metadata.to_string(),
    )
    .unwrap();
    let setup = Setup::of(with_prefix(Location::directory(folder.path()), "Home"));
    let ran = setup.run(&["list"]).await.ended_with(0);
    let expected = "but one backup in \"home/backups/\"";
    assert!(ran.text().contains(expected), "{}", ran.text());
}
