//! Small files of the state directory that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Puts a file in place of what was there, readable by its owner alone. After a power cut there is the old one or the new
/// one, never half of it.
pub(crate) fn keep(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // What a process that was killed left is not written over: somebody else may be able to read that file.
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

/// Makes the names in a file's folder last.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
