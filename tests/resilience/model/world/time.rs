//! The passage of time, and comparisons with the map.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;

use super::{DAY, World};
use crate::lab::time_passes;

impl World {
    pub(super) fn wait(&mut self, seconds: u64) {
        let (runtime, _) = self.running.as_ref().unwrap();
        runtime.block_on(time_passes(Duration::from_secs(seconds)));
        if seconds > 300 {
            self.map.mark_all_fresh();
        }
    }

    /// Leftovers of uploads are removed, and nothing else.
    pub(super) fn day(&mut self) {
        self.kill();
        self.server.make_older(DAY);
        self.moves_journals(|time| time - DAY);
        self.start();
        self.map.mark_all_fresh();
        self.until("no parts are left", |world| {
            world.server.unfinished().is_empty()
        });
    }

    /// Existing files are from the future until the next sweep.
    pub(super) fn set_clock_back(&mut self) {
        self.kill();
        self.moves_journals(|time| time + 30 * DAY);
        self.start();
        self.map.mark_all_fresh();
        self.until("no journal is of the future", |world| {
            world
                .journals()
                .iter()
                .all(|(_, time)| *time <= SystemTime::now())
        });
    }

    /// Reached within a day: a later sweep repeats what a busy machine delayed.
    pub(super) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _hour in 0..24 {
            if self.soon(&is_so) {
                return;
            }
            self.wait(60 * 60);
        }
        let (unfinished, journals) = (self.server.unfinished(), self.journals());
        panic!("not so within a day: {what}; unfinished: {unfinished:?}, journals: {journals:?}");
    }

    pub(super) fn soon(&self, is_so: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + Duration::from_secs(3);
        self.running.as_ref().unwrap().0.block_on(async {
            while !is_so(self) && Instant::now() < deadline {
                sleep(Duration::from_millis(10)).await;
            }
        });
        is_so(self)
    }

    /// Existing journals and their modification times.
    pub(super) fn journals(&self) -> Vec<(PathBuf, SystemTime)> {
        let files = fs::read_dir(self.state.path().join("uploads"))
            .into_iter()
            .flatten();
        let paths = files.map(|file| file.unwrap().path());
        paths
            .filter_map(|path| Some((path.clone(), path.metadata().ok()?.modified().unwrap())))
            .collect()
    }

    pub(super) fn moves_journals(&self, to: impl Fn(SystemTime) -> SystemTime) {
        for (path, time) in self.journals() {
            fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(to(time))
                .unwrap();
        }
    }

    /// Asserts that the bucket holds only uploaded or foreign content.
    pub(super) fn assert_bucket_content(&self) {
        for key in self.server.keys() {
            if !key.ends_with(".metadata.json") && !key.contains("garbage") {
                let tar = self.server.get(&key);
                assert!(
                    self.samples.values().any(|sample| sample.tar == tar),
                    "unknown origin: \"{key}\""
                );
            }
        }
    }
}
