//! What the tests stand on: real servers, real agents, an independent look into the bucket, and a network that fails.

pub(crate) mod agent;
pub(crate) mod bucket;
pub(crate) mod call;
pub(crate) mod discard;
pub(crate) mod events;
pub(crate) mod garage;
mod guard;
pub(crate) mod liar;
mod port;
pub(crate) mod proxy;
pub(crate) mod quirks;
pub(crate) mod sample;
pub(crate) mod server;
pub(crate) mod setup;
pub(crate) mod swift;

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, advance, pause, resume, sleep};

pub(crate) use agent::Agent;
pub(crate) use bucket::Bucket;
pub(crate) use garage::Garage;
pub(crate) use proxy::{Fault, Proxy, Request};
pub(crate) use quirks::{Failure, Imitation, Quirk};
pub(crate) use sample::Sample;
pub(crate) use server::Server;
pub(crate) use setup::{Location, Setup, StateOn, as_somebody_else};

pub(crate) const MIB: u64 = 1024 * 1024;

/// How long something may take that is expected to happen; generous, because the machine is shared.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `condition` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    assert!(
        comes_to_be(condition).await,
        "{what}: not within {PATIENCE:?}"
    );
}

/// Whether `condition` comes to hold in time.
pub(crate) async fn comes_to_be<F: Future<Output = bool>>(
    mut condition: impl FnMut() -> F,
) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    true
}

/// Lets time go by for the agent in this process, and it do what is due then.
pub(crate) async fn goes_by(time: Duration) {
    pause();
    advance(time).await;
    resume();
    sleep(Duration::from_millis(20)).await;
}

/// A bucket of the shared server, and an agent with one location on it.
pub(crate) async fn agent_and_bucket() -> (Agent, Bucket) {
    let bucket = garage::shared().bucket().await;
    (Setup::of(Location::of(&bucket)).serve().await, bucket)
}

/// The same with a proxy between them.
pub(crate) async fn agent_behind_proxy(
    change: impl FnOnce(&mut Location),
) -> (Agent, Proxy, Bucket) {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let mut location = Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    };
    change(&mut location);
    (Setup::of(location).serve().await, proxy, bucket)
}

/// The lines of a server's log in which `word` is.
fn lines_about(log: &Path, word: &str) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    text.lines()
        .filter(|line| line.contains(word))
        .fold(String::new(), |lines, line| lines + line + "\n")
}

/// Numbers that look random and are the same in every run.
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
