//! Wrong tokens, counted: whoever guesses has to wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Wrong tokens that one address may send, ...
const ALLOWED: u32 = 10;

/// ... counted anew after this long without one.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

/// Addresses that are counted at the same time; with more of them, everybody new has to wait.
const MAX_ADDRESSES: usize = 1024;

/// Wrong tokens by address.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, (u32, Instant)>>);

impl Failures {
    /// Whether no token of this address is looked at for now.
    pub(super) fn must_wait(&self, address: IpAddr) -> bool {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, (_, last)| last.elapsed() < FORGOTTEN_AFTER);
        match failures.get(&address) {
            Some((count, _)) => *count >= ALLOWED,
            None => failures.len() >= MAX_ADDRESSES,
        }
    }

    /// Notes a wrong token.
    pub(super) fn note(&self, address: IpAddr) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = failures.entry(address).or_insert((0, Instant::now()));
        (*count, *last) = (*count + 1, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::advance;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[tokio::test(start_paused = true)]
    async fn ten_wrong_tokens_and_then_a_minute_of_waiting() {
        let failures = Failures::default();
        for _ in 0..10 {
            assert!(!failures.must_wait(address(1)));
            failures.note(address(1));
        }
        assert!(failures.must_wait(address(1)));
        assert!(!failures.must_wait(address(2)), "others do not wait");
        advance(Duration::from_secs(61)).await;
        assert!(!failures.must_wait(address(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_addresses_cost_no_more_memory() {
        let failures = Failures::default();
        (0..1024).for_each(|number| failures.note(address(number)));
        assert!(failures.must_wait(address(5000)));
        assert!(!failures.must_wait(address(5)));
    }
}
