//! Backups of Home Assistant's own S3 integrations: the same two files, directly under a prefix.

use std::fs;

use serde_json::Value;

use crate::lab::{Bucket, Location, MIB, Sample, Setup, garage};

/// Writes a backup like `aws_s3`, `cloudflare_r2` and `idrive_e2`.
async fn put_flat(bucket: &Bucket, prefix: &str, sample: &Sample) {
    bucket
        .put(
            &format!("{prefix}{}.tar", sample.stem()),
            sample.tar.clone(),
        )
        .await;
    bucket
        .put(
            &format!("{prefix}{}.metadata.json", sample.stem()),
            sample.metadata.to_string(),
        )
        .await;
}

fn ids(text: &str, result: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_these = lines.filter(|line| line["result"] == result);
    let mut ids: Vec<_> = of_these
        .map(|line| line["backup_id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn backups_of_home_assistants_s3_integrations_are_imported() {
    let bucket = garage::shared().bucket().await;
    let setup = Setup::of(Location {
        prefix: "ha".into(),
        ..Location::of(&bucket)
    });
    let samples = [
        Sample::new("a1", "Nightly", 20_480),
        Sample::new("b2", "Before/after #1 ä", 12 * MIB),
    ];
    for sample in &samples {
        put_flat(&bucket, "ha/", sample).await;
    }
    let before = bucket.contents().await;

    let ran = setup
        .run(&["import", "garage", "--dry-run", "--json"])
        .await
        .ended_with(0);
    assert_eq!(ids(ran.text(), "would_copy"), ["a1", "b2"]);
    assert!(
        bucket.contents().await == before,
        "a dry run changes nothing"
    );
    assert!(bucket.unfinished().await.is_empty());

    let ran = setup
        .run(&["import", "garage", "--json"])
        .await
        .ended_with(0);
    assert_eq!(ids(ran.text(), "copied_inside"), ["a1", "b2"]);
    let after = bucket.contents().await;
    assert!(
        before.iter().all(|object| after.contains(object)),
        "the originals stay as they are"
    );
    assert_eq!(after.len(), 2 * before.len());
    for sample in &samples {
        assert!(
            bucket
                .get(&format!("ha/backups/{}.tar", sample.stem()))
                .await
                == sample.tar
        );
        setup
            .run(&[
                "download",
                "garage",
                sample.id(),
                "-o",
                "back.tar",
                "--force",
            ])
            .await
            .ended_with(0);
        assert!(fs::read(setup.path("back.tar")).unwrap() == sample.tar);
    }
    let ran = setup.run(&["import", "garage"]).await.ended_with(0);
    assert!(
        ran.text().contains("0 copied (0 B), 2 there already"),
        "{}",
        ran.text()
    );
}

#[tokio::test]
async fn unrelated_objects_are_reported_without_blocking_the_import() {
    let bucket = garage::shared().bucket().await;
    let setup = Setup::of(Location::of(&bucket));
    put_flat(&bucket, "", &Sample::new("a1", "Good", 20_480)).await;
    bucket.put("photos/cat.tar", "a cat").await;
    bucket
        .put(
            "alone.metadata.json",
            Sample::small("b2").metadata.to_string(),
        )
        .await;
    bucket.put("broken.metadata.json", "{").await;
    bucket.put("broken.tar", "broken").await;
    let mut foreign = Sample::small("c3");
    foreign.metadata["size"] = "large".into();
    put_flat(&bucket, "", &foreign).await;
    // Another user's location in the same bucket is ignored.
    bucket
        .put_backup("other/", "theirs", &Sample::small("d4"))
        .await;
    let ran = setup
        .run(&["import", "garage", "--json"])
        .await
        .ended_with(0);
    assert_eq!(ids(ran.text(), "copied_inside"), ["a1"]);
    let lines: Vec<Value> = ran
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut reasons: Vec<_> = lines
        .iter()
        .filter(|line| line["result"] == "left_out")
        .map(|line| {
            (
                line["key"].as_str().unwrap(),
                line["reason"].as_str().unwrap(),
            )
        })
        .collect();
    reasons.sort_unstable();
    let stem = foreign.stem();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(
        reasons[0].0 == format!("{stem}.metadata.json") && reasons[0].1.contains("large"),
        "{reasons:?}"
    );
    assert_eq!(reasons[1], ("alone.metadata.json", "its tar is missing"));
    assert!(reasons[2].0 == "broken.metadata.json", "{reasons:?}");
    assert_eq!(lines.last().unwrap()["left_out"], 3);
}

#[tokio::test]
async fn backups_are_imported_from_another_bucket_and_folder() {
    let (theirs, ours) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let from = Location {
        id: "theirs".into(),
        prefix: "elsewhere".into(),
        ..Location::of(&theirs)
    };
    let setup = Setup::with([
        from,
        Location {
            prefix: "ha".into(),
            ..Location::of(&ours)
        },
    ]);
    put_flat(
        &theirs,
        "home assistant/",
        &Sample::new("a1", "Nightly", 20_480),
    )
    .await;
    let ran = setup
        .run(&["import", "garage", "--from", "theirs"])
        .await
        .ended_with(0);
    assert!(
        ran.text().contains("folder \"elsewhere\"") && ran.text().contains("--from-prefix"),
        "{}",
        ran.text()
    );
    let arguments = [
        "import",
        "garage",
        "--from",
        "theirs",
        "--from-prefix",
        "/home assistant/",
    ];
    let ran = setup.run(&arguments).await.ended_with(0);
    assert!(ran.text().contains("1 copied"), "{}", ran.text());
    assert_eq!(ours.keys().await.len(), 2);
}
