//! Connections per address: one client cannot take all of a listener's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::auth::Peer;

/// Connections one address may have, of [`super::MAX_CONNECTIONS`].
const MAX_PER_ADDRESS: usize = 48;

/// Open connections of each address.
#[derive(Debug, Clone, Default)]
pub(super) struct Quota(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's place; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    quota: Quota,
    peer: Peer,
}

impl Quota {
    /// Takes a place, unless the address has enough already. The Unix socket has no addresses to tell apart.
    pub(super) fn enter(&self, peer: Peer) -> Option<Place> {
        if let Some(address) = peer.0 {
            let mut counts = self.0.lock();
            let count = counts.entry(address).or_default();
            if *count == MAX_PER_ADDRESS {
                return None;
            }
            *count += 1;
        }
        Some(Place {
            quota: self.clone(),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.peer.0 else { return };
        let mut counts = self.quota.0.lock();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_room_for_others() {
        let quota = Quota::default();
        let [one, other] =
            ["192.0.2.1", "192.0.2.2"].map(|address| Peer(Some(address.parse().unwrap())));
        let mut places: Vec<_> = (0..MAX_PER_ADDRESS)
            .map(|_| quota.enter(one).unwrap())
            .collect();
        assert!(
            quota.enter(one).is_none()
                && quota.enter(other).is_some()
                && quota.enter(Peer(None)).is_some()
        );
        places.pop();
        assert!(quota.enter(one).is_some());
        places.clear();
        assert!(
            quota.0.lock().is_empty(),
            "closed connections leave no entry"
        );
    }
}
