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

/// Result of an extraction.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Files that were written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that were not: links, devices, and paths outside the folder.
    pub left_out: u64,
    /// Paths of the first of them.
    pub left_out_paths: Vec<String>,
}

/// Extracts all files and folders into an empty folder, which others cannot read. Links are left out, so no path leads
/// outside.
///
/// # Errors
/// Those of the tar, and [`Error::Write`].
pub fn extract<R: Read>(entries: &mut Entries<R>, folder: &Path) -> Result<Extracted, Error> {
    prepare(folder).map_err(|error| cannot_write(folder, error))?;
    let mut extracted = Extracted::default();
    while let Some(entry) = entries.next_entry()? {
        let inside = inside(&entry.path);
        match (entry.kind, inside) {
            (EntryKind::File, Some(path)) if !path.as_os_str().is_empty() => {
                let path = folder.join(path);
                write(entries, &entry, &path)?;
                extracted.files += 1;
                extracted.bytes += entry.size;
            }
            (EntryKind::Folder, Some(path)) => {
                let path = folder.join(path);
                create_folder(&path).map_err(|error| cannot_write(&path, error))?;
            }
            _ => extracted.leave_out(&entry),
        }
    }
    Ok(extracted)
}

impl Extracted {
    fn leave_out(&mut self, entry: &Entry) {
        self.left_out += 1;
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

fn prepare(folder: &Path) -> io::Result<()> {
    create_folder(folder)?;
    if fs::read_dir(folder)?.next().is_some() {
        let why = "the folder is not empty. Choose another one with -o";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    Ok(())
}

fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write<R: Read>(entries: &mut Entries<R>, entry: &Entry, path: &Path) -> Result<(), Error> {
    let mut file = create(entry, path).map_err(|error| cannot_write(path, error))?;
    copy_content(entries, &mut file, &path.display().to_string())?;
    let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(entry.modified));
    if let Some(modified) = modified {
        // A time that the file system cannot hold is no reason to fail.
        drop(file.set_times(FileTimes::new().set_modified(modified)));
    }
    Ok(())
}

/// Creates a file; a second one of the same path replaces the first, as tar does.
fn create(entry: &Entry, path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
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

fn cannot_write(path: &Path, error: io::Error) -> Error {
    Error::Write(path.display().to_string(), error)
}
