//! Rate limits of a location, shared by all its transfers per direction.

use std::time::Duration;

use crate::lab::{Location, MIB, Sample, Setup, Stopwatch, garage};

/// 30 seconds at two MiB per second.
const LIMITED_MIB: u64 = 60;

/// Asserts that a transfer ended neither early nor, on an idle machine, late; returns its wall
/// time.
fn ended_in_time(what: &str, watch: &Stopwatch) -> Duration {
    let (elapsed, wall) = (watch.elapsed(), watch.wall());
    let measured =
        format!("{what}: {LIMITED_MIB} MiB at 2 MiB/s took {wall:?}, {elapsed:?} with a CPU");
    assert!(
        wall >= Duration::from_secs(29) && elapsed <= Duration::from_secs(36),
        "{measured}"
    );
    println!("{measured}");
    wall
}

#[tokio::test]
async fn rate_limit_applies_per_direction_and_location() {
    let bucket = garage::shared().bucket().await;
    let [free, limited] = ["free", "limited"].map(|id| Location {
        id: id.into(),
        ..Location::of(&bucket)
    });
    let limited = limited
        .by_host_name()
        .with("upload_limit", "2 MiB")
        .with("download_limit", "2 MiB/s");
    let agent = Setup::with([free, limited]).serve().await;
    let stored = Sample::new("stored", "Stored", LIMITED_MIB * MIB);
    agent.upload("free", &stored).await;
    // Created beforehand: that takes the test's thread for seconds.
    let [one, two] = ["up1", "up2"].map(|id| Sample::new(id, id, LIMITED_MIB / 2 * MIB));
    let unlimited = Sample::new("free", "Free", 40 * MIB);

    let watch = Stopwatch::start(&agent);
    let up = async {
        // Two concurrent transfers share the rate of one.
        tokio::join!(agent.upload("limited", &one), agent.upload("limited", &two));
        ended_in_time("up", &watch)
    };
    let down = async {
        assert!(agent.download("limited", "stored").await.unwrap().body == stored.tar);
        ended_in_time("down", &watch)
    };
    let beside = async {
        agent.upload("free", &unlimited).await;
        // A list does not queue behind transfers.
        agent.refreshed("limited").await;
        watch.wall()
    };
    let (up, down, beside) = tokio::join!(up, down, beside);
    // At the limited rate, it would take two thirds of the others' time.
    assert!(
        beside < up.min(down) / 2,
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
