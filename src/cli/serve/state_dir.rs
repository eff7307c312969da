//! The state directory, and that one agent alone uses it.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use tracing::warn;

/// Takes the directory; it is this agent's for as long as what is given back lives. An agent that stores backups and
/// forgets is better than none, so a directory that cannot be used is a warning.
///
/// # Errors
/// When another agent has it.
pub(super) fn lock(state_dir: &Path) -> io::Result<Option<File>> {
    let path = state_dir.join("agent.lock");
    // Backups of the embedded location are in it, and a backup may hold every password of a house.
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
    // What is there can be locked although nothing can be written.
    let opened = opened.or_else(|error| {
        warn!(
            "the state directory \"{}\" cannot be used: {error}. Backups are stored all the same, but interrupted uploads \
             start over, and what verifying finds is forgotten when the agent ends. Set state_dir to a directory that \
             the agent may write, and make room there",
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
