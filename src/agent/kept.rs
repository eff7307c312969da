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
    let written = create(&new, text).and_then(|_| fs::rename(&new, path));
    if written.is_err() {
        drop(fs::remove_file(&new));
    }
    written.and_then(|()| sync_folder(path))
}

/// Creates a durable file, readable by its owner alone.
pub(super) fn create(path: &Path, text: &[u8]) -> io::Result<File> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()?;
    Ok(file)
}

/// Syncs the folder of a file, so that its name is durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
