//! Broadcast of events. A slow subscriber loses events and learns how many.

use tokio::sync::broadcast;

use super::model::Event;

/// Events that a subscriber may lag behind before it loses some.
const BACKLOG: usize = 256;

/// Sender of events.
#[derive(Debug, Clone)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Events {
    /// Sends an event to all current subscribers.
    pub fn send(&self, event: Event) {
        // Fails only without subscribers.
        drop(self.0.send(event));
    }

    /// Whether there are subscribers.
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Subscribes to events.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
