//! Who is connected: no address takes all the places.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places that one address may have, of [`super::MAX_CONNECTIONS`].
const MAX_OF_ONE: usize = 48;

/// How many connections each address has.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// The place of one connection; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Crowd,
    from: Option<IpAddr>,
}

impl Crowd {
    /// A place for a connection from this address, unless it has enough already. A Unix socket has no addresses.
    pub(super) fn enter(&self, from: Option<IpAddr>) -> Option<Place> {
        if let Some(from) = from {
            let mut counts = self.counts();
            let count = counts.entry(from).or_default();
            if *count == MAX_OF_ONE {
                return None;
            }
            *count += 1;
        }
        Some(Place {
            crowd: self.clone(),
            from,
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(from) = self.from else { return };
        let mut counts = self.crowd.counts();
        if let Some(count) = counts.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_room_for_others() {
        let crowd = Crowd::default();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| Some(address.parse().unwrap()));
        let mut places: Vec<_> = (0..MAX_OF_ONE).map(|_| crowd.enter(one).unwrap()).collect();
        assert!(
            crowd.enter(one).is_none()
                && crowd.enter(other).is_some()
                && crowd.enter(None).is_some()
        );
        places.pop();
        assert!(crowd.enter(one).is_some());
        places.clear();
        assert!(crowd.counts().is_empty(), "nothing is kept of who is gone");
    }
}
