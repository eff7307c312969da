//! Rate limits of a location, shared by all its transfers per direction.

use std::time::{Duration, Instant};

use crate::lab::{Location, MIB, Sample, Setup, garage};

/// Two MiB per second for 30 seconds.
const LIMITED_MIB: u64 = 60;

fn is_held(what: &str, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    // 30 seconds on an idle machine; a busy one may be late, but never early.
    assert!(
        (29.0..=36.0).contains(&seconds),
        "{what}: {LIMITED_MIB} MiB at 2 MiB/s took {seconds:.1} s"
    );
    println!("{what}: {LIMITED_MIB} MiB at 2 MiB/s took {seconds:.1} s");
}

#[tokio::test]
async fn rate_limit_applies_per_direction_and_location() {
    let bucket = garage::shared().bucket().await;
    let free = Location {
        id: "free".into(),
        ..Location::of(&bucket)
    };
    let limited = Location {
        id: "limited".into(),
        ..Location::of(&bucket)
    };
    let limited = limited
        .with("upload_limit", "2 MiB")
        .with("download_limit", "2 MiB/s");
    let agent = Setup::with([free, limited]).serve().await;
    let there = Sample::new("there", "There", LIMITED_MIB * MIB);
    agent.upload("free", &there).await;

    let up = async {
        let (one, two) = (
            Sample::new("up1", "Up 1", LIMITED_MIB / 2 * MIB),
            Sample::new("up2", "Up 2", LIMITED_MIB / 2 * MIB),
        );
        let start = Instant::now();
        // Two concurrent transfers share the rate of one.
        tokio::join!(agent.upload("limited", &one), agent.upload("limited", &two));
        start.elapsed()
    };
    let down = async {
        let start = Instant::now();
        assert!(agent.download("limited", "there").await.unwrap().body == there.tar);
        start.elapsed()
    };
    let beside = async {
        let start = Instant::now();
        agent
            .upload("free", &Sample::new("free", "Free", 40 * MIB))
            .await;
        // A list does not queue behind transfers.
        agent.refreshed("limited").await;
        start.elapsed()
    };
    let (up, down, beside) = tokio::join!(up, down, beside);
    is_held("up", up);
    is_held("down", down);
    // At the limited rate, it would take at least 20 seconds.
    assert!(
        beside < Duration::from_secs(15),
        "the location without a limit was slowed: {beside:?}"
    );
}

#[tokio::test]
async fn unreasonably_low_rate_limit_is_refused() {
    let bucket = garage::shared().bucket().await;
    let ran = Setup::of(Location::of(&bucket).with("upload_limit", "100"))
        .run(&["list"])
        .await
        .ended_with(2);
    assert!(
        ran.stderr.contains("upload_limit") && ran.stderr.contains("16 KiB"),
        "{}",
        ran.stderr
    );
}
