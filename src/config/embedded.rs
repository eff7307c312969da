//! The embedded location: a directory on this machine, for backups until a location is configured.

use std::path::Path;

use super::folder::FolderId;
use super::location::{Backend, Location, Origin};
use super::reader::{Reader, empty_table};

/// Returns the embedded location if there is no other one, or if it holds backups from before and no other one has them.
pub(super) fn embedded(state_dir: &Path, others: &[Location], is_only: bool) -> Option<Location> {
    let directory = state_dir.join("local");
    let embedded = of(&directory)?;
    let folder = FolderId::from(&embedded);
    let is_other = |other: &Location| other.id != embedded.id && FolderId::from(other) != folder;
    let is_left = others.iter().all(is_other) && holds_files(&directory);
    (is_only || is_left).then_some(embedded)
}

fn of(directory: &Path) -> Option<Location> {
    let mut defaults = Reader::remote(empty_table());
    let backend = Backend::Directory(directory.to_owned());
    Some(Location {
        id: "local".into(),
        name: "Local directory".into(),
        origin: Origin::Embedded,
        ..Location::read_with(&mut defaults, |_| Some(backend))?
    })
}

/// Whether there is a file in a directory or below it. What cannot be read holds none.
fn holds_files(directory: &Path) -> bool {
    let mut entries = directory.read_dir().into_iter().flatten().flatten();
    entries.any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => holds_files(&entry.path()),
        found => found.is_ok(),
    })
}
