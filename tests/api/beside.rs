//! Archives beside a location's folder, which `list`, `import` and the page count.

use serde_json::{Value, json};

use crate::lab::call::http;
use crate::lab::{Fault, Imitation, Location, Proxy, Quirk, Sample, Setup, garage};

#[tokio::test]
async fn archives_of_a_sync_app_are_counted_until_they_are_adopted() {
    let bucket = garage::shared().bucket().await;
    let (nightly, old) = (Sample::small("a1"), Sample::small("b2"));
    bucket.put("Nightly.tar", nightly.tar.clone()).await;
    bucket.put("old/It's old.tar", old.tar.clone()).await;
    // None of these is an archive that is lost.
    bucket.put("._Nightly.tar", "x").await;
    bucket.put("photos/cat.jpg", "x").await;
    bucket
        .put_backup("theirs/", "one", &Sample::small("c3"))
        .await;
    bucket.put_backup("", "own", &Sample::small("d4")).await;
    let setup = Setup::of(Location::of(&bucket));

    let command = "s3-backup-agent recover garage Nightly.tar";
    let expected = format!(
        "2 archives lie beside this folder, such as \"Nightly.tar\". To adopt one: {command}"
    );
    for command in [&["list"][..], &["import", "garage"]] {
        let ran = setup.run(command).await.ended_with(0);
        assert!(ran.text().contains(&expected), "{}", ran.text());
    }
    let ran = setup.run(&["--json", "list"]).await.ended_with(0);
    let found = json!({"archives": 2, "is_more": false, "example": "Nightly.tar"});
    assert_eq!(ran.json()["beside"], found);

    let adopt: Vec<_> = command.split(' ').skip(1).collect();
    setup.run(&adopt).await.ended_with(0);
    let ran = setup.run(&["list"]).await.ended_with(0);
    let expected = "1 archive lies beside this folder, such as \"old/It's old.tar\". \
        To adopt it: s3-backup-agent recover garage 'old/It'\\''s old.tar'";
    assert!(ran.text().contains(expected), "{}", ran.text());
    setup
        .run(&["recover", "garage", "old/It's old.tar"])
        .await
        .ended_with(0);
    let ran = setup.run(&["--json", "list"]).await.ended_with(0);
    assert_eq!(ran.json()["beside"], Value::Null);
}

#[tokio::test]
async fn page_counts_them_and_a_listing_does_not_look() {
    let bucket = garage::shared().bucket().await;
    bucket.put("Nightly.tar", Sample::small("a1").tar).await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    };
    let setup = Setup::of(location).listening("page = \"127.0.0.1:0\"");
    let agent = setup.serve().await;
    for _ in 0..2 {
        agent.refreshed("garage").await;
    }
    let looks = || proxy.count(|request| request.is_list() && request.path.ends_with("prefix="));
    assert_eq!(looks(), 0);
    let printed = agent.printed();
    let (_, address) = printed.split_once("serving the page on ").unwrap();
    let address = address.split_whitespace().next().unwrap();
    let page = format!(
        "http://{}/",
        address.trim_start_matches("http://").trim_end_matches('/')
    );
    for _ in 0..3 {
        let answer = http().build().unwrap().get(&page).send().await.unwrap();
        let html = answer.text().await.unwrap();
        for expected in [
            "Archives beside this folder: 1, such as Nightly.tar",
            "<code>s3-backup-agent recover garage Nightly.tar</code>",
        ] {
            assert!(html.contains(expected), "{expected}: {html}");
        }
    }
    assert_eq!(looks(), 1, "the page looks once");
}

#[tokio::test]
async fn archives_behind_a_full_folder_are_found() {
    let server = Imitation::with([Quirk::PageSize(3)]).await;
    let bucket = server.bucket();
    bucket.put_backups(4).await;
    for key in ["A.tar", "old/x.tar", "z.tar"] {
        bucket.put(key, Sample::small("a1").tar).await;
    }
    let setup = Setup::of(server.location());
    let ran = setup.run(&["--json", "list"]).await.ended_with(0);
    let found = json!({"archives": 3, "is_more": false, "example": "A.tar"});
    assert_eq!(ran.json()["beside"], found);
}

#[tokio::test]
async fn archives_before_the_folder_are_named_although_no_more_can_be_listed() {
    let server = Imitation::with([Quirk::PageSize(3)]).await;
    let bucket = server.bucket();
    bucket.put_backups(4).await;
    bucket.put("A.tar", Sample::small("a1").tar).await;
    let proxy = Proxy::before(&server.endpoint()).await;
    let setup = Setup::of(Location {
        endpoint: proxy.endpoint(),
        ..server.location()
    });
    proxy.fault(
        |request| request.path.contains("start-after"),
        Fault::Answer("500 Internal Server Error", ""),
    );
    let ran = setup.run(&["--json", "list"]).await.ended_with(0);
    assert_eq!(proxy.faults_left(), 0, "test precondition not met");
    let found = json!({"archives": 1, "is_more": true, "example": "A.tar"});
    assert_eq!(ran.json()["beside"], found);
}

/// They could not be copied into it, and a directory may hold anything.
#[tokio::test]
async fn directory_is_not_searched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Nightly.tar"), Sample::small("a1").tar).unwrap();
    let setup = Setup::of(Location::directory(folder.path()));
    let ran = setup.run(&["list"]).await.ended_with(0);
    assert!(!ran.text().contains("beside"), "{}", ran.text());
}
