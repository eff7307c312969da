//! Copies that are interrupted or killed, and resume.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;

use super::{assert_same_backups, new, old, summary};
use crate::lab::{Garage, Location, MIB, Proxy, Sample, Setup, garage, sample};

/// Runs a copy and ends it with a signal once `is_enough` holds.
async fn ended_in_the_middle(setup: &Setup, signal: &str, is_enough: impl AsyncFn() -> bool) {
    let mut command = setup.command();
    command
        .args(["copy", "old", "new"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process: Child = command.spawn().unwrap();
    while !is_enough().await {
        assert!(
            process.try_wait().unwrap().is_none(),
            "precondition: the copy is still running"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let kill = format!("kill -{signal} {}", process.id());
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
    tokio::task::spawn_blocking(move || process.wait().unwrap())
        .await
        .unwrap();
}

/// 200 MiB; `scripts/move-large` uses 6 GiB, which takes too long for every run.
fn large_size() -> u64 {
    std::env::var("S3_BACKUP_AGENT_TEST_MOVE_MIB").map_or(200, |mib| mib.parse().unwrap()) * MIB
}

#[tokio::test]
async fn interrupted_large_copy_resumes() {
    let (server, size) = (Garage::new().await, large_size());
    let (from, to) = (garage::shared().bucket().await, server.bucket().await);
    let proxy = Proxy::before(&to.endpoint).await;
    let setup = Setup::with([
        old(&from),
        Location {
            endpoint: proxy.endpoint(),
            ..new(&to)
        },
    ]);
    let file = setup.path("large.tar");
    let sha256 = sample::write_large(&file, "a1", size);
    setup
        .run(&["upload", "old", file.to_str().unwrap()])
        .await
        .ended_with(0);
    fs::remove_file(&file).unwrap();
    let start = Instant::now();
    for (signal, enough) in [("KILL", size * 3 / 10), ("INT", size * 6 / 10)] {
        ended_in_the_middle(&setup, signal, async || proxy.part_bytes() >= enough).await;
        assert_eq!(
            (to.keys().await.len(), to.unfinished().await.len()),
            (0, 1),
            "after {signal}"
        );
    }
    setup.run(&["copy", "old", "new"]).await.ended_with(0);
    let twice = proxy.part_bytes() - size;
    println!(
        "{size} bytes, interrupted twice, in {:?}; {twice} bytes were sent twice",
        start.elapsed()
    );
    let keys = to.keys().await;
    assert_eq!((keys.len(), to.unfinished().await.len()), (2, 0));
    assert_eq!(to.sha256(&keys[1]).await, (size, sha256));
    // Per kill: four parts in flight, and one being sent.
    assert!(twice <= 2 * 5 * 5 * MIB, "{twice} bytes were sent twice");
}

#[tokio::test]
async fn killed_copy_of_a_thousand_small_backups_resumes() {
    let server = Garage::new().await;
    let (from, to) = (garage::shared().bucket().await, server.bucket().await);
    let setup = Setup::with([old(&from), new(&to)]);
    let samples = (0..1000).map(|index| {
        Sample::new(
            &format!("id{index:04}"),
            &format!("Nightly {index}"),
            10_240,
        )
    });
    let put = |sample: Sample| {
        let from = &from;
        async move { from.put_backup("then/", &sample.stem(), &sample).await }
    };
    futures_util::stream::iter(samples)
        .map(put)
        .buffer_unordered(8)
        .collect::<()>()
        .await;
    for enough in [300, 1100] {
        ended_in_the_middle(&setup, "KILL", async || to.keys().await.len() >= enough).await;
    }
    let ran = setup
        .run(&["copy", "old", "new", "--json"])
        .await
        .ended_with(0);
    let [copied, skipped, failed, left_out, _] = summary(&ran);
    assert_eq!((copied + skipped, failed, left_out), (1000, 0, 0));
    assert!(
        skipped >= 540,
        "existing backups were copied again: {skipped}"
    );
    // Same names: the result of a killed copy is recognised.
    assert_same_backups(&from, &to).await;
}
