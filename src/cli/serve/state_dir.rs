//! The state directory, locked by one agent at a time.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use tracing::warn;

/// Locks the directory until the returned file is dropped. An unusable directory is only a warning: an agent that stores
/// backups without a journal is better than none.
///
/// # Errors
/// When another agent holds the lock.
pub(super) fn lock(state_dir: &Path) -> io::Result<Option<File>> {
    let path = state_dir.join("agent.lock");
    // It holds the embedded location's backups, and a backup may hold every password of a house.
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir);
    let opened = made.and_then(|()| {
        File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
    });
    // A read-only file or directory can still be locked.
    let opened = opened.or_else(|error| {
        warn!(
            "the state directory \"{}\" cannot be used: {error}. Backups are still stored, but interrupted uploads start over, \
             and results of verification are lost when the agent ends. Set state_dir to a writable directory with free \
             space",
            state_dir.display()
        );
        File::open(&path).or_else(|_| File::open(state_dir))
    });
    let Ok(file) = opened else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let taken = format!(
                "Another agent runs with the state directory \"{}\": stop that one first.",
                state_dir.display()
            );
            Err(io::Error::new(io::ErrorKind::AddrInUse, taken))
        }
        Err(TryLockError::Error(error)) => {
            let folder = state_dir.display();
            warn!("\"{folder}\" cannot be locked: {error}; no other agent may use it");
            Ok(None)
        }
    }
}
