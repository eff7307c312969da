//! The log level at run time: the configured one, the one set since, and those of open streams.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Registry, reload};

use super::Level;

/// Records kept for diagnostics at any level.
const KEPT: Level = Level::Info;

/// Changes the log level while the agent runs.
#[derive(Clone)]
pub struct LevelHandle {
    wanted: Arc<Mutex<Wanted>>,
    printed: Arc<AtomicU8>,
    filter: reload::Handle<LevelFilter, Registry>,
}

#[derive(Debug)]
struct Wanted {
    configured: Level,
    set: Option<Level>,
    /// Number of open streams at each level.
    streams: [usize; Level::ALL.len()],
}

impl Wanted {
    fn base(&self) -> Level {
        self.set.unwrap_or(self.configured)
    }

    /// Returns the most verbose level.
    fn effective(&self) -> Level {
        let open = Level::ALL
            .into_iter()
            .zip(self.streams)
            .filter(|(_, streams)| *streams > 0);
        open.map(|(level, _)| level)
            .max()
            .map_or(self.base(), |asked| asked.max(self.base()))
    }
}

impl LevelHandle {
    pub(super) fn new(configured: Level) -> (Self, reload::Layer<LevelFilter, Registry>) {
        let (layer, filter) = reload::Layer::new(configured.max(KEPT).into());
        let wanted = Wanted {
            configured,
            set: None,
            streams: [0; Level::ALL.len()],
        };
        let printed = Arc::new(AtomicU8::new(configured as u8));
        (
            Self {
                wanted: Arc::new(Mutex::new(wanted)),
                printed,
                filter,
            },
            layer,
        )
    }

    /// Sets the level, or resets it to the configured one. Takes effect with the next record.
    pub fn set(&self, level: Option<Level>) {
        let mut wanted = self.wanted.lock();
        wanted.set = level;
        self.apply(&wanted);
    }

    /// Returns the level that is set, and the one that open streams raise it to.
    #[must_use]
    pub fn get(&self) -> (Level, Level) {
        let wanted = self.wanted.lock();
        (wanted.base(), wanted.effective())
    }

    /// Counts a stream that wants records of this level and above.
    pub(super) fn open(&self, level: Level) {
        let mut wanted = self.wanted.lock();
        wanted.streams[level as usize] += 1;
        self.apply(&wanted);
    }

    /// Undoes [`Self::open`].
    pub(super) fn close(&self, level: Level) {
        let mut wanted = self.wanted.lock();
        let open = &mut wanted.streams[level as usize];
        *open = open.saturating_sub(1);
        self.apply(&wanted);
    }

    /// Whether a record is printed to standard error.
    pub(super) fn is_printed(&self, metadata: &Metadata<'_>) -> bool {
        Level::from(*metadata.level()) as u8 <= self.printed.load(Ordering::Relaxed)
    }

    fn apply(&self, wanted: &Wanted) {
        let level = wanted.effective();
        self.printed.store(level as u8, Ordering::Relaxed);
        // Fails only when the subscriber is gone, and its log with it.
        drop(
            self.filter
                .modify(|filter| *filter = level.max(KEPT).into()),
        );
    }
}

impl fmt::Debug for LevelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LevelHandle")
            .field(&self.wanted.lock())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_verbose_stream_counts_and_level_falls_back() {
        let (level, _layer) = LevelHandle::new(Level::Warn);
        level.open(Level::Debug);
        level.open(Level::Trace);
        level.open(Level::Debug);
        assert_eq!(level.get(), (Level::Warn, Level::Trace));
        level.close(Level::Trace);
        level.close(Level::Debug);
        assert_eq!(level.get(), (Level::Warn, Level::Debug));
        level.set(Some(Level::Info));
        level.close(Level::Debug);
        assert_eq!(level.get(), (Level::Info, Level::Info));
        level.set(None);
        level.open(Level::Error);
        assert_eq!(
            level.get(),
            (Level::Warn, Level::Warn),
            "a stream never lowers the verbosity"
        );
    }
}
