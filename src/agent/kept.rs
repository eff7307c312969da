//! Small files of the state directory, written atomically.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces a file atomically and durably, readable by its owner alone.
pub(crate) fn keep(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // The leftover of a killed process is not reused: another user may be able to read it.
    drop(fs::remove_file(&new));
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let written = file
        .write_all(text)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        drop(fs::remove_file(&new));
    }
    written.and_then(|()| sync_folder(path))
}

/// Syncs the folder of a file, so that its name is durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
