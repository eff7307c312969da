//! Exit codes of commands.

use std::fs;

use super::{partials, setup, upload};
use crate::lab::{Fault, Location, MIB, Proxy, Sample, Setup, garage};

#[tokio::test]
async fn exit_codes_distinguish_failures() {
    let (setup, bucket) = setup().await;
    // 2: wrong usage or configuration
    setup.run(&["dance"]).await.ended_with(2);
    setup.run(&["download", "garage"]).await.ended_with(2);
    let wrong = Setup::of(Location {
        bucket: String::new(),
        part_size: "1 KiB".into(),
        ..Location::of(&bucket)
    });
    let ran = wrong.run(&["list"]).await.ended_with(2);
    for words in [
        "locations[0].bucket",
        "locations[0].part_size",
        "5 MiB",
        "agent.toml",
    ] {
        assert!(
            ran.stderr.contains(words),
            "all problems at once, each with its source: {}",
            ran.stderr
        );
    }
    // 3: not found
    let ran = setup
        .run(&["download", "garage", "missing"])
        .await
        .ended_with(3);
    assert!(
        ran.stderr.contains("missing") && ran.stderr.contains("error: "),
        "{}",
        ran.stderr
    );
    setup.run(&["list", "attic"]).await.ended_with(3);
    setup
        .run(&["delete", "garage", "missing"])
        .await
        .ended_with(3);
    // 5: damaged data
    let file = setup.path("no.tar");
    fs::write(&file, "no tar").unwrap();
    let ran = setup
        .run(&["upload", "garage", file.to_str().unwrap()])
        .await
        .ended_with(5);
    assert!(ran.stderr.contains("no.tar"), "{}", ran.stderr);
    let sample = Sample::new("a1", "Damaged", 6 * MIB);
    upload(&setup, &sample).await.ended_with(0);
    let mut damaged = sample.tar.to_vec();
    damaged[1_000_000] ^= 1;
    bucket
        .put(&format!("backups/{}.tar", sample.stem()), damaged)
        .await;
    let out = setup.path("damaged.tar");
    let ran = setup
        .run(&["download", "garage", "a1", "-o", out.to_str().unwrap()])
        .await
        .ended_with(5);
    assert!(
        ran.stderr.contains("is damaged") && ran.stderr.contains("Restore another backup"),
        "{}",
        ran.stderr
    );
    assert!(
        !out.exists() && partials(&setup) == 0,
        "a damaged file is left behind"
    );
    // 1: anything else
    let refused = Setup::of(Location {
        secret: "0".repeat(64),
        ..Location::of(&bucket)
    });
    let ran = refused.run(&["list"]).await.ended_with(1);
    assert!(ran.stderr.contains("secret access key"), "{}", ran.stderr);
    setup
        .run(&["upload", "garage", "/no/such.tar"])
        .await
        .code
        .eq(&0)
        .then(|| panic!("a missing file was uploaded"));
}

#[tokio::test]
async fn unreadable_backup_is_reported_neither_sound_nor_damaged() {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let setup = Setup::of(Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    });
    for id in ["a1", "b2"] {
        bucket.put_backup("", id, &Sample::small(id)).await;
    }
    for command in [&["list"][..], &["verify"], &["verify", "garage"]] {
        let refused = Fault::Answer(
            "403 Forbidden",
            "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>",
        );
        proxy.fault(|request| request.reads("b2.metadata.json"), refused);
        let ran = setup.run(command).await.ended_with(1);
        assert!(
            ran.text().contains("b2.metadata.json") && ran.text().contains("a1"),
            "{}",
            ran.text()
        );
        assert_eq!(proxy.faults_left(), 0);
    }
}

#[tokio::test]
async fn unreachable_storage_has_its_own_exit_code() {
    let (setup, bucket) = setup().await;
    let endpoint = format!("http://{}", crate::api::access::free_address());
    let away = Setup::of(Location {
        endpoint: endpoint.clone(),
        ..Location::of(&bucket)
    });
    let two = [
        Location::of(&bucket),
        Location {
            id: "away".into(),
            endpoint: endpoint.clone(),
            ..Location::of(&bucket)
        },
    ];
    let ran = Setup::with(two).run(&["list"]).await.ended_with(4);
    assert!(
        ran.text().contains("garage: 0 backups") && ran.text().contains(&endpoint),
        "{}",
        ran.text()
    );
    let ran = away.run(&["list"]).await.ended_with(4);
    assert!(
        ran.stderr.contains(&endpoint) && ran.stderr.contains("Check the endpoint"),
        "{}",
        ran.stderr
    );
    drop(setup);
}
