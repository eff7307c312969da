//! Room in the queue of a range: bounds the bytes that wait for the client.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

/// Room in a queue, in bytes.
#[derive(Clone)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    all: u32,
}

impl Room {
    pub(super) fn of(bytes: u64) -> Self {
        let all = u32::try_from(bytes).unwrap_or(u32::MAX >> 3).max(1);
        Self {
            free: Arc::new(Semaphore::new(usize::try_from(all).unwrap_or(1))),
            all,
        }
    }

    fn share(&self, piece: &Bytes) -> u32 {
        u32::try_from(piece.len()).unwrap_or(self.all).min(self.all)
    }

    /// Waits until the queue has room for a piece.
    pub(super) async fn take(&self, piece: &Bytes) {
        if let Ok(permit) = self.free.acquire_many(self.share(piece)).await {
            permit.forget();
        }
    }

    /// Returns the room of a piece that left the queue.
    pub(super) fn free(&self, piece: &Bytes) {
        let share = usize::try_from(self.share(piece)).unwrap_or_default();
        self.free.add_permits(share);
    }
}
