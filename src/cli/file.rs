//! The file that a command writes: beside its place first, so that it appears there whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs;

use super::CommandError;

/// What a result says of bytes that no SHA-256 was compared with.
pub(super) const NOT_VERIFIED: &str =
    "; not verified, because another tool uploaded it and there is no SHA-256";

/// Refuses a folder, and an existing file unless `force` is set.
pub(super) async fn refuse_taken(file: &Path, force: bool) -> Result<(), CommandError> {
    if file.is_dir() {
        let folder = format!("\"{}\" is a folder: name a file with -o", file.display());
        return Err(io::Error::new(io::ErrorKind::IsADirectory, folder).into());
    }
    if !force && !is_special(file).await && fs::try_exists(file).await? {
        let taken = format!(
            "\"{}\" already exists: replace it with --force, or choose another name with -o",
            file.display()
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, taken).into());
    }
    Ok(())
}

/// Whether something is there that is no regular file, such as a device or a pipe: it is written into and never replaced.
pub(super) async fn is_special(file: &Path) -> bool {
    let found = fs::metadata(file).await;
    found.is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// An incomplete file of one command, removed on drop.
pub(super) struct Partial(pub(super) PathBuf);

impl Partial {
    /// A name of its own beside the file, and no longer: that of the file may be as long as a file system allows.
    pub(super) fn beside(file: &Path) -> Self {
        let name = format!(".{}.partial", uuid::Uuid::new_v4().simple());
        Self(file.with_file_name(name))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // A completed file was renamed, so there is none to remove.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Error of a file that could not be written.
pub(super) fn cannot_write(file: &Path, error: &io::Error) -> io::Error {
    let why = format!(
        "\"{}\" could not be written: {error}. Choose another file with -o.",
        file.display()
    );
    io::Error::new(error.kind(), why)
}
