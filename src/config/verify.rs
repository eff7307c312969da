//! Scheduled verification of a location's backups.

use std::time::Duration;

use super::reader::Reader;

/// Scheduled verification. It is off by default, because reading costs egress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verify {
    /// Interval between runs.
    pub every: Duration,
    /// Backups for each run, those first that were not verified for the longest time; `None` for all.
    pub sample: Option<usize>,
    /// Whether backups are read whole.
    pub full: bool,
}

impl Verify {
    pub(super) fn read(section: &mut Reader<'_>) -> Option<Self> {
        let every = section.duration("verify_every");
        let sample = section.count("verify_sample");
        let mode = section.text("verify_mode");
        Some(Self {
            every: every?,
            sample,
            full: mode? == "full",
        })
    }
}
