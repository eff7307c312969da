//! The log level at run time: the configured one, the one that was set since, and what open streams ask for.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Registry, reload};

use super::Level;

/// Kept for diagnostics whatever the level is.
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
    /// How many streams are open at each level.
    streams: [usize; Level::ALL.len()],
}

impl Wanted {
    fn base(&self) -> Level {
        self.set.unwrap_or(self.configured)
    }

    /// The most verbose of all.
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

    /// Sets the level, or goes back to the configured one; takes effect with the next record.
    pub fn set(&self, level: Option<Level>) {
        let mut wanted = self.wanted();
        wanted.set = level;
        self.apply(&wanted);
    }

    /// The level that is set, and the one that open streams have made of it.
    #[must_use]
    pub fn get(&self) -> (Level, Level) {
        let wanted = self.wanted();
        (wanted.base(), wanted.effective())
    }

    /// Records of this level and above are wanted by one more stream.
    pub(super) fn open(&self, level: Level) {
        let mut wanted = self.wanted();
        wanted.streams[level as usize] += 1;
        self.apply(&wanted);
    }

    /// The opposite of [`Self::open`].
    pub(super) fn close(&self, level: Level) {
        let mut wanted = self.wanted();
        let open = &mut wanted.streams[level as usize];
        *open = open.saturating_sub(1);
        self.apply(&wanted);
    }

    /// Whether a record goes to standard error.
    pub(super) fn is_printed(&self, metadata: &Metadata<'_>) -> bool {
        Level::from(*metadata.level()) as u8 <= self.printed.load(Ordering::Relaxed)
    }

    fn apply(&self, wanted: &Wanted) {
        let level = wanted.effective();
        self.printed.store(level as u8, Ordering::Relaxed);
        // Fails only when the subscriber is gone, and then there is no log to set.
        drop(
            self.filter
                .modify(|filter| *filter = level.max(KEPT).into()),
        );
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LevelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LevelHandle").field(&self.wanted()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_verbose_counts_and_falls_back() {
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
            "a stream never makes it quieter"
        );
    }
}
