//! Writes the files of an inner tar into a folder, and nothing outside of it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::entries::{Entries, Entry, EntryKind};
use super::{Error, copy_content};

/// Limit for the paths in a report.
const MAX_LISTED: usize = 100;

/// Limit for folders inside each other: each entry may create as many.
const MAX_DEPTH: usize = 64;

/// Result of an extraction.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Files that were written, hard links included.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that were not: symbolic links, devices, and paths outside the folder.
    pub left_out: u64,
    /// Those among them that are files, whose content is missing.
    pub left_out_files: u64,
    /// Paths of the first of them.
    pub left_out_paths: Vec<String>,
}

/// Extracts all files and folders into an empty folder, which others cannot read. Symbolic links are left out, so no path
/// leads outside. Reads the tar to its end, where its checksum is.
///
/// # Errors
/// Those of the tar, and [`Error::Write`]; [`Error::Incomplete`] once the folder holds some of it.
pub fn extract<R: Read>(entries: &mut Entries<R>, folder: &Path) -> Result<Extracted, Error> {
    prepare(folder).map_err(|error| cannot_write(folder, error))?;
    let mut extracted = Extracted::default();
    let all = extracted.all(entries, folder);
    match all.and_then(|()| entries.finish()) {
        Ok(()) => Ok(extracted),
        Err(error) if is_empty(folder) => Err(error),
        Err(error) => {
            let folder = folder.display().to_string();
            Err(Error::Incomplete(folder, Box::new(error)))
        }
    }
}

impl Extracted {
    fn all<R: Read>(&mut self, entries: &mut Entries<R>, folder: &Path) -> Result<(), Error> {
        while let Some(entry) = entries.next_entry()? {
            let path = below(&entry.path).map(|path| folder.join(path));
            match (entry.kind, path) {
                (EntryKind::File, Some(path)) if path != folder => {
                    write(entries, &entry, &path)?;
                    self.files += 1;
                    self.bytes += entry.size;
                }
                (EntryKind::Folder, Some(path)) => {
                    create_folder(&path).map_err(|error| cannot_write(&path, error))?;
                }
                (EntryKind::Link, Some(path)) if link(&entry, folder, &path) => self.files += 1,
                _ => self.leave_out(&entry),
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, entry: &Entry) {
        self.left_out += 1;
        self.left_out_files +=
            u64::from(entry.kind == EntryKind::File || entry.hard_link.is_some());
        if self.left_out_paths.len() < MAX_LISTED {
            let path = String::from_utf8_lossy(&entry.path);
            self.left_out_paths.push(path.into_owned());
        }
    }
}

/// Returns the path of an entry below a folder; `None` when it leads outside.
#[must_use]
pub fn inside(path: &[u8]) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    if path.starts_with(b"/") || path.contains(&0) {
        return None;
    }
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return None,
            name => inside.push(OsStr::from_bytes(name)),
        }
    }
    Some(inside)
}

/// The same; also `None` when it leads too deep.
fn below(path: &[u8]) -> Option<PathBuf> {
    inside(path).filter(|path| path.iter().count() <= MAX_DEPTH)
}

fn prepare(folder: &Path) -> io::Result<()> {
    create_folder(folder)?;
    if fs::read_dir(folder)?.next().is_some() {
        let why = "the folder is not empty. Choose another one with -o";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    Ok(())
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut found| found.next().is_none())
}

fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write<R: Read>(entries: &mut Entries<R>, entry: &Entry, path: &Path) -> Result<(), Error> {
    let mut file = create(entry, path).map_err(|error| cannot_write(path, error))?;
    let copied = copy_content(entries, &mut file, &path.display().to_string());
    if copied.is_err() {
        // A cut file would look like a complete one.
        drop(fs::remove_file(path));
    }
    copied?;
    let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(entry.modified));
    if let Some(modified) = modified {
        // A time that the file system cannot hold is no reason to fail.
        drop(file.set_times(FileTimes::new().set_modified(modified)));
    }
    Ok(())
}

/// Creates a hard link to a file that was extracted; false when there is none, or the file system has no such links.
///
/// A copy would let a small archive fill the disk.
fn link(entry: &Entry, folder: &Path, path: &Path) -> bool {
    let target = entry.hard_link.as_ref().and_then(|target| below(target));
    let Some(target) = target.map(|target| folder.join(target)) else {
        return false;
    };
    let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_file());
    if path == folder || target == path || !is_file(&target) {
        return false;
    }
    let linked = create_parent(path).and_then(|()| {
        if is_file(path) {
            fs::remove_file(path)?;
        }
        fs::hard_link(&target, path)
    });
    linked.is_ok()
}

/// Creates a file; a second one of the same path replaces the first, as tar does.
fn create(entry: &Entry, path: &Path) -> io::Result<File> {
    create_parent(path)?;
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o600 | (entry.mode & 0o100));
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        opened => opened,
    }
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), create_folder)
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    Error::Write(path.display().to_string(), error)
}

#[cfg(test)]
mod tests;
