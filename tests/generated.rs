//! Files that follow from the agent's tables: each is up to date, or `S3_BACKUP_AGENT_GENERATE=1` writes it.
//!
//! `scripts/generate` does that. `contract/troubleshooting.rs` writes `docs/troubleshooting.md` in the same way.

mod providers;
mod reports;
mod servers;
mod settings;

use std::fs;
use std::path::Path;

/// Checks that a file holds `expected`, or writes it.
pub(crate) fn assert_up_to_date(path: &str, expected: impl FnOnce(&str) -> String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let found = fs::read_to_string(&file).unwrap_or_default();
    let expected = expected(&found);
    if std::env::var_os("S3_BACKUP_AGENT_GENERATE").is_some() {
        fs::write(&file, expected).unwrap();
    } else {
        assert!(
            found == expected,
            "{path} is not up to date: run scripts/generate"
        );
    }
}

/// A file with the part between `begin` and `end` replaced.
fn with_part(file: &str, begin: &str, end: &str, part: &str) -> String {
    let (before, rest) = file
        .split_once(begin)
        .unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("no {end}"));
    format!("{before}{begin}{part}{end}{after}")
}
