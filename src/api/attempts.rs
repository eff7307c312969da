//! Wrong tokens: how many are too many, and for whom.
//!
//! The right token is never kept out by the wrong ones of others. An address that has shown it once is always listened to,
//! and so is the Unix socket, where all come from one place; an address that has not is not listened to for as long as it
//! has guessed too often.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// Where a request comes from, among its extensions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Peer(
    /// The client's address; a Unix socket has none.
    pub Option<IpAddr>,
);

/// Wrong tokens that are answered at once; a person who mistypes one needs a few.
const BURST: u32 = 20;

/// How long until one more is.
const EACH: Duration = Duration::from_secs(3);

/// Addresses that are remembered; beyond these all share one account.
const MAX_SOURCES: usize = 1024;

/// What is known of those who ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts(Arc<Mutex<HashMap<Peer, Source>>>);

#[derive(Debug, Default)]
struct Source {
    /// Has shown the token.
    is_proven: bool,
    wrong: u32,
    /// When the last of the wrong ones began to be forgotten.
    since: Option<Instant>,
}

impl Source {
    /// Forgets what is long ago.
    fn settle(&mut self) {
        let Some(since) = self.since else { return };
        let forgotten =
            u32::try_from(since.elapsed().as_millis() / EACH.as_millis()).unwrap_or(u32::MAX);
        self.wrong = self.wrong.saturating_sub(forgotten);
        self.since = (self.wrong > 0).then(|| since + EACH * forgotten);
    }
}

impl Attempts {
    /// Whether this peer is not listened to for now.
    pub(crate) fn is_held(&self, peer: Peer) -> bool {
        let mut sources = self.sources();
        let source = sources.get_mut(&known_as(peer));
        source.is_some_and(|source| {
            source.settle();
            source.wrong >= BURST && !source.is_proven && peer.0.is_some()
        })
    }

    /// Notes the right token.
    pub(crate) fn right(&self, peer: Peer) {
        if peer.0.is_some() {
            self.sources().entry(known_as(peer)).or_default().is_proven = true;
        }
    }

    /// Notes a wrong token, and says whether these are too many.
    pub(crate) fn wrong(&self, peer: Peer) -> bool {
        let mut sources = self.sources();
        let mut key = known_as(peer);
        if sources.len() >= MAX_SOURCES && !sources.contains_key(&key) {
            sources.retain(|_, source| {
                source.settle();
                source.is_proven || source.wrong > 0
            });
            if sources.len() >= MAX_SOURCES {
                key = Peer(Some(Ipv6Addr::UNSPECIFIED.into()));
            }
        }
        let source = sources.entry(key).or_default();
        source.settle();
        source.since.get_or_insert_with(Instant::now);
        source.wrong += 1;
        if source.wrong == BURST {
            let from = peer
                .0
                .map_or_else(|| "the socket".to_owned(), |address| address.to_string());
            warn!(
                "too many wrong tokens from {from}: answered with an error until there are fewer"
            );
        }
        // No more than it takes to be listened to again soon.
        source.wrong = source.wrong.min(BURST + 1);
        source.wrong > BURST
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<Peer, Source>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has one address of a network of version 6 has all of them.
fn known_as(peer: Peer) -> Peer {
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

    fn guessed(attempts: &Attempts, peer: Peer, times: u32) -> u32 {
        (0..times).map(|_| u32::from(attempts.wrong(peer))).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_who_guesses_is_not_listened_to_for_a_while() {
        let (attempts, stranger, other) =
            (Attempts::default(), peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(guessed(&attempts, stranger, BURST), 0);
        assert!(attempts.is_held(stranger) && !attempts.is_held(other));
        assert_eq!(guessed(&attempts, stranger, 1000), 1000);
        advance(EACH * 2).await;
        assert!(
            !attempts.is_held(stranger),
            "guessing on and on does not make it longer"
        );
        assert_eq!(
            guessed(&attempts, stranger, 2),
            1,
            "one more every few seconds"
        );
        assert!(attempts.is_held(stranger));
        advance(EACH * 100).await;
        assert_eq!(guessed(&attempts, stranger, BURST), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_the_token_is_listened_to_whatever_others_do() {
        let (attempts, home, socket) = (Attempts::default(), peer("192.0.2.1"), Peer(None));
        attempts.right(home);
        assert!(
            guessed(&attempts, home, 1000) > 0 && !attempts.is_held(home),
            "it shares its address with a stranger"
        );
        assert!(guessed(&attempts, socket, 1000) > 0 && !attempts.is_held(socket));
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_addresses_is_one_and_thousands_take_no_more_memory() {
        let attempts = Attempts::default();
        let one = |network: u32, host: u32| {
            peer(&format!(
                "2001:db8:{:x}:{:x}::{host:x}",
                network >> 16,
                network & 0xffff
            ))
        };
        let guess = |peer| _ = attempts.wrong(peer);
        (0..=BURST).for_each(|host| guess(one(1, host)));
        assert!(attempts.is_held(one(1, 9999)));
        (0..5000).for_each(|network| guess(one(network, 1)));
        assert!(attempts.sources().len() <= MAX_SOURCES + 1);
    }
}
