//! Log records for those who listen, and the last ones for diagnostics.
//!
//! Each listener has a queue of its own, so that records never cost it other events, and a rate that it can live with:
//! a burst, then so many a second. What is above that is counted and told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::record::Record;
use super::{Level, LevelHandle};

/// Records that a listener gets at once.
const BURST: u16 = 500;

/// Records a second after that.
const RATE: f64 = 100.0;

/// How often a listener is told what it lost.
const LOST_EVERY: Duration = Duration::from_secs(1);

/// The last records are kept for diagnostics, ...
const KEPT: usize = 200;

/// ... those of this level and above.
const KEPT_LEVEL: Level = Level::Info;

/// Hands log records on.
#[derive(Debug, Clone)]
pub struct Relay {
    level: LevelHandle,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queues: RwLock<Vec<Arc<Queue>>>,
    kept: Mutex<VecDeque<Arc<Record>>>,
}

/// What a listener is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A record.
    Record(Arc<Record>),
    /// So many records are left out here.
    Lost(u64),
}

/// One who listens. As long as it lives, the agent logs at its level at least.
#[derive(Debug)]
pub struct Listener {
    relay: Relay,
    queue: Arc<Queue>,
    told: Option<Instant>,
}

impl Relay {
    pub(super) fn new(level: LevelHandle) -> Self {
        Self {
            level,
            shared: Arc::default(),
        }
    }

    /// Starts listening.
    #[must_use]
    pub fn listen(&self, level: Level) -> Listener {
        let queue = Arc::new(Queue::new(level));
        self.shared
            .queues
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&queue));
        self.level.open(level);
        Listener {
            relay: self.clone(),
            queue,
            told: None,
        }
    }

    /// The last records, oldest first.
    #[must_use]
    pub fn last(&self) -> Vec<Arc<Record>> {
        self.shared.kept().iter().cloned().collect()
    }
}

impl Shared {
    fn take(&self, event: &Event<'_>) {
        let level = Level::from(*event.metadata().level());
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        let mut wanting = queues
            .iter()
            .filter(|queue| level <= queue.level && queue.has_room())
            .peekable();
        let is_kept = level <= KEPT_LEVEL;
        if !is_kept && wanting.peek().is_none() {
            return;
        }
        let record = Arc::new(Record::of(event));
        wanting.for_each(|queue| queue.push(&record));
        if is_kept {
            let mut kept = self.kept();
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(record);
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Record>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Relay {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        self.shared.take(event);
    }
}

impl Listener {
    /// What comes next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Told {
        loop {
            let due = self
                .told
                .map_or_else(Instant::now, |told| told + LOST_EVERY);
            let is_lacking = match self.queue.pop(Instant::now() >= due) {
                Ok(told) => {
                    if matches!(told, Told::Lost(_)) {
                        self.told = Some(Instant::now());
                    }
                    return told;
                }
                Err(is_lacking) => is_lacking,
            };
            tokio::select! {
                () = self.queue.filled.notified() => {}
                () = sleep_until(due), if is_lacking => {}
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut queues = self
            .relay
            .shared
            .queues
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        drop(queues);
        self.relay.level.close(self.queue.level);
    }
}

/// The records of one listener.
#[derive(Debug)]
struct Queue {
    level: Level,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug)]
struct State {
    records: VecDeque<Arc<Record>>,
    /// How many records it may get now.
    allowed: f64,
    counted: Instant,
    lost: u64,
}

impl Queue {
    fn new(level: Level) -> Self {
        let state = State {
            records: VecDeque::new(),
            allowed: BURST.into(),
            counted: Instant::now(),
            lost: 0,
        };
        Self {
            level,
            state: Mutex::new(state),
            filled: Notify::new(),
        }
    }

    /// Takes the room for a record, or counts it as lost, which is cheaper than to put it into words first.
    fn has_room(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let earned = now.saturating_duration_since(state.counted).as_secs_f64() * RATE;
        state.allowed = (state.allowed + earned).min(BURST.into());
        state.counted = now;
        let has_room = state.allowed >= 1.0 && state.records.len() < usize::from(BURST);
        if has_room {
            state.allowed -= 1.0;
        } else {
            state.lost += 1;
            drop(state);
            self.filled.notify_one();
        }
        has_room
    }

    fn push(&self, record: &Arc<Record>) {
        self.state().records.push_back(Arc::clone(record));
        self.filled.notify_one();
    }

    /// The next to tell; otherwise whether there is something that was lost and may not be told yet.
    fn pop(&self, may_tell_lost: bool) -> Result<Told, bool> {
        let mut state = self.state();
        if state.lost > 0 && may_tell_lost {
            return Ok(Told::Lost(std::mem::take(&mut state.lost)));
        }
        state
            .records
            .pop_front()
            .map(Told::Record)
            .ok_or(state.lost > 0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;
    use tracing::subscriber::with_default;
    use tracing::{debug, info};
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn relay() -> Relay {
        Relay::new(LevelHandle::new(Level::Info).0)
    }

    fn logged(relay: &Relay, count: usize) {
        with_default(Registry::default().with(relay.clone()), || {
            for number in 0..count {
                debug!(number, "counted");
            }
        });
    }

    /// All that can be told now.
    fn told(listener: &mut Listener) -> (usize, Vec<u64>) {
        let (mut records, mut lost) = (0, Vec::new());
        while let Some(told) = listener.next().now_or_never() {
            match told {
                Told::Record(_) => records += 1,
                Told::Lost(count) => lost.push(count),
            }
        }
        (records, lost)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_bounded_and_what_is_lost_is_told() {
        let relay = relay();
        let (mut all, mut few) = (relay.listen(Level::Trace), relay.listen(Level::Info));
        logged(&relay, 10_000);
        assert_eq!(told(&mut all), (500, vec![9500]));
        assert_eq!(
            told(&mut few),
            (0, vec![]),
            "what nobody asked for is not lost"
        );
        logged(&relay, 10);
        assert_eq!(told(&mut all), (0, vec![]), "told once a second at most");
        advance(Duration::from_secs(1)).await;
        logged(&relay, 1000);
        assert_eq!(told(&mut all), (100, vec![910]));
        advance(Duration::from_mins(1)).await;
        logged(&relay, 501);
        assert_eq!(
            told(&mut all),
            (500, vec![1]),
            "a quiet minute allows one burst, not more"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_last_is_told_although_nothing_follows() {
        let relay = relay();
        let mut listener = relay.listen(Level::Debug);
        logged(&relay, 501);
        assert_eq!(told(&mut listener), (500, vec![1]));
        logged(&relay, 3);
        let start = Instant::now();
        assert_eq!(listener.next().await, Told::Lost(3));
        assert!(
            start.elapsed() >= Duration::from_millis(999),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn the_last_records_are_kept_and_hold_their_fields() {
        let relay = relay();
        with_default(Registry::default().with(relay.clone()), || {
            debug!("not this one");
            for number in 0..300 {
                info!(number, name = "x", "kept {number}");
            }
        });
        let kept = relay.last();
        assert_eq!(
            (
                kept.len(),
                kept[0].message.as_str(),
                kept[199].message.as_str()
            ),
            (200, "kept 100", "kept 299")
        );
        let record = serde_json::to_value(&*kept[0]).unwrap();
        assert_eq!(
            record["fields"],
            serde_json::json!({"number": "100", "name": "x"})
        );
        assert_eq!(
            (&record["level"], &record["target"]),
            (&"info".into(), &module_path!().into())
        );
    }
}
