//! Real servers, real agents, independent reads of a bucket, and a network that fails.

pub(crate) mod agent;
pub(crate) mod bucket;
pub(crate) mod call;
pub(crate) mod capability;
pub(crate) mod daemon;
pub(crate) mod discard;
pub(crate) mod events;
pub(crate) mod front;
pub(crate) mod garage;
pub(crate) mod gateway;
mod guard;
mod half_sent;
pub(crate) mod liar;
mod port;
pub(crate) mod proxy;
pub(crate) mod quirks;
pub(crate) mod sample;
pub(crate) mod server;
pub(crate) mod setup;
pub(crate) mod socks;
pub(crate) mod stopwatch;
pub(crate) mod swift;
pub(crate) mod tunnel;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, advance, pause, resume, sleep};

pub(crate) use agent::Agent;
pub(crate) use bucket::Bucket;
pub(crate) use garage::Garage;
pub(crate) use half_sent::{HalfSent, make_day_old};
pub(crate) use proxy::{Fault, Proxy, Request};
pub(crate) use quirks::{Failure, Imitation, Quirk};
pub(crate) use sample::Sample;
pub(crate) use server::{Home, Server};
pub(crate) use setup::{Location, Setup, StateOn, as_other_user};
pub(crate) use stopwatch::Stopwatch;

pub(crate) const MIB: u64 = 1024 * 1024;

/// Upper bound for anything expected to happen; generous, because the machine is shared.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

/// Waits until `condition` holds; panics after [`TIMEOUT`].
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    assert!(
        holds_eventually(condition).await,
        "{what}: not within {TIMEOUT:?}"
    );
}

/// Returns whether `condition` holds within [`TIMEOUT`].
pub(crate) async fn holds_eventually<F: Future<Output = bool>>(
    mut condition: impl FnMut() -> F,
) -> bool {
    let deadline = Instant::now() + TIMEOUT;
    while !condition().await {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    true
}

/// Advances the clock of an agent in this process, which then does all due work.
pub(crate) async fn time_passes(time: Duration) {
    pause();
    advance(time).await;
    resume();
    sleep(Duration::from_millis(20)).await;
}

/// Returns a bucket of the shared server, and an agent with one location on it.
pub(crate) async fn agent_and_bucket() -> (Agent, Bucket) {
    let bucket = garage::shared().bucket().await;
    (Setup::of(Location::of(&bucket)).serve().await, bucket)
}

/// Like [`agent_and_bucket`], with a proxy between the two.
pub(crate) async fn agent_behind_proxy(
    change: impl FnOnce(&mut Location),
) -> (Agent, Proxy, Bucket) {
    let (proxy, bucket, mut location) = bucket_behind_proxy().await;
    change(&mut location);
    (Setup::of(location).serve().await, proxy, bucket)
}

/// Returns a bucket of the shared server, a proxy before it, and a location behind that.
pub(crate) async fn bucket_behind_proxy() -> (Proxy, Bucket, Location) {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    };
    (proxy, bucket, location)
}

/// Like [`agent_behind_proxy`], on a real server with the location `home`.
pub(crate) async fn home_behind_proxy(server: Server) -> (Agent, Proxy, Bucket) {
    let bucket = server.bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..server.location(&bucket)
    };
    (Setup::of(location).serve().await, proxy, bucket)
}

/// Waits for the sweep at startup, and returns its report.
pub(crate) async fn swept(agent: &Agent) -> Value {
    let last =
        async || agent.get("/v1/diagnostics").await.json()["locations"][0]["last_sweep"].take();
    eventually("the sweep runs", async || !last().await.is_null()).await;
    last().await
}

/// The root folder of the repository.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path of a part of the tests, built on demand by `scripts/parts`.
fn part(name: &str) -> PathBuf {
    let output = Command::new(repository().join("scripts/parts").join(name))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "scripts/parts/{name} failed");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// Lines of a server's log that contain `word`.
fn lines_with(log: &Path, word: &str) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    text.lines()
        .filter(|line| line.contains(word))
        .fold(String::new(), |lines, line| lines + line + "\n")
}

/// Reproducible pseudorandom bytes.
pub(crate) fn noise(seed: &str, size: usize) -> Vec<u8> {
    let seed = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
