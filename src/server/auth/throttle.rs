//! Throttling of wrong tokens by address.
//!
//! Wrong tokens never lock out the right one: an address that has shown it once, and the Unix socket, whose clients share
//! one source, are always served. Every other address is refused while it has guessed too often.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

use super::Peer;

/// Wrong tokens before an address is throttled; a person who mistypes one needs a few.
const BURST: u32 = 20;

/// Time after which one wrong token is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3);

/// Addresses remembered one by one; all others share one account.
const MAX_SOURCES: usize = 1024;

/// Wrong tokens by source.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<Peer, Source>>);

#[derive(Debug, Default)]
struct Source {
    has_shown_token: bool,
    wrong: u32,
    /// Since when the oldest of the wrong tokens is being forgotten.
    since: Option<Instant>,
}

impl Source {
    fn forget_old(&mut self) {
        let Some(since) = self.since else { return };
        let forgotten = since.elapsed().as_millis() / FORGOTTEN_AFTER.as_millis();
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        self.wrong = self.wrong.saturating_sub(forgotten);
        self.since = (self.wrong > 0).then(|| since + FORGOTTEN_AFTER * forgotten);
    }
}

impl Throttle {
    /// Whether this peer is refused for now, even with the right token: a lucky guess must not be told from a wrong one.
    pub(super) fn is_throttled(&self, peer: Peer) -> bool {
        self.0
            .lock()
            .get_mut(&source_of(peer))
            .is_some_and(|source| {
                source.forget_old();
                source.wrong >= BURST && !source.has_shown_token && peer.0.is_some()
            })
    }

    /// Notes that the peer has shown the token.
    pub(super) fn trust(&self, peer: Peer) {
        if peer.0.is_some() {
            let mut sources = self.0.lock();
            sources.entry(source_of(peer)).or_default().has_shown_token = true;
        }
    }

    /// Counts a wrong token. Returns whether there were too many.
    pub(super) fn count_wrong(&self, peer: Peer) -> bool {
        let mut sources = self.0.lock();
        let mut key = source_of(peer);
        if sources.len() >= MAX_SOURCES && !sources.contains_key(&key) {
            sources.retain(|_, source| {
                source.forget_old();
                source.has_shown_token || source.wrong > 0
            });
            if sources.len() >= MAX_SOURCES {
                key = Peer(Some(Ipv6Addr::UNSPECIFIED.into()));
            }
        }
        let source = sources.entry(key).or_default();
        source.forget_old();
        source.since.get_or_insert_with(Instant::now);
        source.wrong += 1;
        // Logged once per burst, not once per guess.
        if source.wrong == BURST {
            let from = peer
                .0
                .map_or_else(|| "the socket".to_owned(), |address| address.to_string());
            warn!("too many wrong tokens from {from}: refusing its calls for now");
        }
        // Bounded, so that further guesses do not make the pause longer.
        source.wrong = source.wrong.min(BURST + 1);
        source.wrong > BURST
    }
}

/// A client with one IPv6 address usually has its whole /64 network, so the network is the source.
fn source_of(peer: Peer) -> Peer {
    Peer(peer.0.map(|address| match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn peer(address: &str) -> Peer {
        Peer(Some(address.parse().unwrap()))
    }

    /// Returns how many of the guesses were throttled.
    fn guess(throttle: &Throttle, peer: Peer, times: u32) -> u32 {
        (0..times)
            .map(|_| u32::from(throttle.count_wrong(peer)))
            .sum()
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_address_is_throttled_for_a_while() {
        let throttle = Throttle::default();
        let (stranger, other) = (peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(guess(&throttle, stranger, BURST), 0);
        assert!(throttle.is_throttled(stranger) && !throttle.is_throttled(other));
        assert_eq!(guess(&throttle, stranger, 1000), 1000);
        advance(FORGOTTEN_AFTER * 2).await;
        assert!(
            !throttle.is_throttled(stranger),
            "more guesses do not make the pause longer"
        );
        assert_eq!(guess(&throttle, stranger, 2), 1, "one more every 3 s");
        assert!(throttle.is_throttled(stranger));
        advance(FORGOTTEN_AFTER * 100).await;
        assert_eq!(guess(&throttle, stranger, BURST), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn address_that_showed_the_token_is_never_throttled() {
        let throttle = Throttle::default();
        let (home, socket) = (peer("192.0.2.1"), Peer(None));
        throttle.trust(home);
        assert!(
            guess(&throttle, home, 1000) > 0 && !throttle.is_throttled(home),
            "it shares its address with a stranger"
        );
        assert!(guess(&throttle, socket, 1000) > 0 && !throttle.is_throttled(socket));
    }

    #[tokio::test(start_paused = true)]
    async fn ipv6_network_is_one_source_and_memory_is_bounded() {
        let throttle = Throttle::default();
        let one = |network: u32, host: u32| {
            peer(&format!(
                "2001:db8:{:x}:{:x}::{host:x}",
                network >> 16,
                network & 0xffff
            ))
        };
        for host in 0..=BURST {
            throttle.count_wrong(one(1, host));
        }
        assert!(throttle.is_throttled(one(1, 9999)));
        for network in 0..5000 {
            throttle.count_wrong(one(network, 1));
        }
        assert!(throttle.0.lock().len() <= MAX_SOURCES + 1);
    }
}
