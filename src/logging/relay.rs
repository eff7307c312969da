//! Log records for open streams, and the last ones for diagnostics.
//!
//! Each listener has a bounded queue of its own and a rate limit: a burst, then a number per second. Records above that are
//! counted and reported, so that a verbose log never delays a stream's other events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::record::Record;
use super::{Level, LevelHandle};

/// Records a listener gets at once.
const BURST: u16 = 500;

/// Records per second after that.
const RATE: f64 = 100.0;

/// Minimum interval between reports of lost records.
const LOST_INTERVAL: Duration = Duration::from_secs(1);

/// Records kept for diagnostics, ...
const KEPT: usize = 200;

/// ... of this level and above.
const KEPT_LEVEL: Level = Level::Info;

/// Hands log records to listeners.
#[derive(Debug, Clone)]
pub struct Relay {
    level: LevelHandle,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    queues: Vec<Queue>,
    kept: VecDeque<Arc<Record>>,
}

/// What a listener receives.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A record.
    Record(Arc<Record>),
    /// A number of records that were left out here.
    Lost(u64),
}

/// A receiver of records. While it exists, the agent logs at its level at least.
#[derive(Debug)]
pub struct Listener {
    relay: Relay,
    level: Level,
    records: mpsc::Receiver<Arc<Record>>,
    /// Counts all records lost so far.
    lost: watch::Receiver<u64>,
    reported: u64,
    reported_at: Option<Instant>,
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
        let (sender, records) = mpsc::channel(BURST.into());
        let queue = Queue::new(level, sender);
        let lost = queue.lost.subscribe();
        self.shared.lock().queues.push(queue);
        self.level.open(level);
        Listener {
            relay: self.clone(),
            level,
            records,
            lost,
            reported: 0,
            reported_at: None,
        }
    }

    /// Returns the last records, oldest first.
    #[must_use]
    pub fn last(&self) -> Vec<Arc<Record>> {
        self.shared.lock().kept.iter().cloned().collect()
    }
}

impl<S: Subscriber> Layer<S> for Relay {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = Level::from(*event.metadata().level());
        let is_kept = level <= KEPT_LEVEL;
        let wanting: Vec<_> = self
            .shared
            .lock()
            .queues
            .iter_mut()
            .filter(|queue| level <= queue.level)
            .filter_map(Queue::admit)
            .collect();
        if !is_kept && wanting.is_empty() {
            return;
        }
        // Built without the lock: a value may log while it is formatted.
        let mut record = Record::of(event);
        let kept = &mut self.shared.lock().kept;
        // With it, so that the times of all threads' records are in the order in which the records are kept and sent.
        record.time = Utc::now();
        let record = Arc::new(record);
        for queue in wanting {
            queue.send(Arc::clone(&record));
        }
        if is_kept {
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(record);
        }
    }
}

impl Listener {
    /// Waits for the next record or report. Cancel-safe.
    pub async fn next(&mut self) -> Told {
        loop {
            let now = Instant::now();
            let due = self.reported_at.map_or(now, |at| at + LOST_INTERVAL);
            let lost = *self.lost.borrow_and_update() - self.reported;
            if lost > 0 && now >= due {
                self.reported += lost;
                self.reported_at = Some(now);
                return Told::Lost(lost);
            }
            tokio::select! {
                biased;
                Some(record) = self.records.recv() => return Told::Record(record),
                Ok(()) = self.lost.changed() => {}
                () = sleep_until(due), if lost > 0 => {}
                else => std::future::pending().await,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.records.close();
        let mut shared = self.relay.shared.lock();
        shared.queues.retain(|queue| !queue.records.is_closed());
        drop(shared);
        self.relay.level.close(self.level);
    }
}

/// The sending half of a listener, with its rate limit.
#[derive(Debug)]
struct Queue {
    level: Level,
    records: mpsc::Sender<Arc<Record>>,
    /// Records it may get now.
    allowed: f64,
    counted_at: Instant,
    lost: watch::Sender<u64>,
}

impl Queue {
    fn new(level: Level, records: mpsc::Sender<Arc<Record>>) -> Self {
        Self {
            level,
            records,
            allowed: BURST.into(),
            counted_at: Instant::now(),
            lost: watch::Sender::new(0),
        }
    }

    /// Reserves room for a record, or counts it as lost, which is cheaper than to build it first.
    fn admit(&mut self) -> Option<mpsc::OwnedPermit<Arc<Record>>> {
        let now = Instant::now();
        let earned = now.saturating_duration_since(self.counted_at).as_secs_f64() * RATE;
        self.allowed = (self.allowed + earned).min(BURST.into());
        self.counted_at = now;
        let permit = (self.allowed >= 1.0).then(|| self.records.clone().try_reserve_owned());
        if let Some(Ok(permit)) = permit {
            self.allowed -= 1.0;
            return Some(permit);
        }
        self.lost.send_modify(|lost| *lost += 1);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use futures_util::FutureExt;
    use tokio::task::unconstrained;
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

    /// Receives everything available now.
    fn told(listener: &mut Listener) -> (usize, Vec<u64>) {
        let (mut records, mut lost) = (0, Vec::new());
        // Unconstrained, because tokio's budget ends a poll after 128 records.
        while let Some(told) = unconstrained(listener.next()).now_or_never() {
            match told {
                Told::Record(_) => records += 1,
                Told::Lost(count) => lost.push(count),
            }
        }
        (records, lost)
    }

    #[tokio::test(start_paused = true)]
    async fn burst_is_bounded_and_lost_records_are_reported() {
        let relay = relay();
        let (mut all, mut few) = (relay.listen(Level::Trace), relay.listen(Level::Info));
        logged(&relay, 10_000);
        assert_eq!(told(&mut all), (500, vec![9500]));
        assert_eq!(
            told(&mut few),
            (0, vec![]),
            "records below its level are not lost"
        );
        logged(&relay, 10);
        assert_eq!(
            told(&mut all),
            (0, vec![]),
            "reported once a second at most"
        );
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
    async fn records_lost_last_are_reported_without_a_further_record() {
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
    async fn records_of_several_threads_are_in_the_order_of_their_times() {
        const THREADS: usize = 8;
        for _ in 0..20 {
            let relay = relay();
            let mut listener = relay.listen(Level::Info);
            let start = Barrier::new(THREADS);
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        with_default(Registry::default().with(relay.clone()), || {
                            start.wait();
                            (0..60).for_each(|number| info!(number, "counted"));
                        });
                    });
                }
            });
            let sent = std::iter::from_fn(|| unconstrained(listener.next()).now_or_never());
            let sent: Vec<_> = sent
                .filter_map(|told| match told {
                    Told::Record(record) => Some(record.time),
                    Told::Lost(_) => None,
                })
                .collect();
            assert_eq!(sent.len(), THREADS * 60);
            assert!(sent.is_sorted(), "sent");
            assert!(relay.last().is_sorted_by_key(|record| record.time), "kept");
        }
    }

    #[tokio::test]
    async fn last_records_are_kept_with_their_fields() {
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
