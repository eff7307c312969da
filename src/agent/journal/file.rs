//! Journal files: readable by their owner alone, locked while in use, valid up to their last line.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::de::IgnoredAny;

use crate::agent::kept::{create, sync_folder};

const EXTENSION: &str = "jsonl";

/// Extension until the first line is on the disk.
const NEW_EXTENSION: &str = "new";

/// A new file that is older than this belongs to a process that was killed.
const NEW_FOR: Duration = Duration::from_hours(1);

/// A part's line has some 200 bytes, and an upload has at most 10,000 parts.
pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A file that this process has locked.
#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl JournalFile {
    fn new(path: PathBuf, file: File) -> Self {
        let file = Mutex::new(file);
        Self { path, file }
    }

    /// Creates a file that holds `first`. It gets its name once that line is on the disk.
    pub(super) fn create(folder: &Path, first: &[u8]) -> io::Result<Self> {
        if !folder.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            sync_folder(folder)?;
        }
        let name = uuid::Uuid::new_v4().simple().to_string();
        let new = folder.join(format!("{name}.{NEW_EXTENSION}"));
        let path = folder.join(format!("{name}.{EXTENSION}"));
        let written =
            create_locked(&new, first).and_then(|file| fs::rename(&new, &path).map(|()| file));
        match written {
            Ok(file) => {
                sync_folder(&path)?;
                Ok(Self::new(path, file))
            }
            Err(error) => {
                // A full disk leaves an empty file.
                drop(fs::remove_file(&new));
                Err(error)
            }
        }
    }

    /// Appends a line and syncs it to the disk.
    pub(super) fn add(&self, line: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock();
        let end = file.seek(SeekFrom::End(0))?;
        let written = file.write_all(line).and_then(|()| file.sync_data());
        if written.is_err() {
            // A torn line would hide every line after it.
            drop(file.set_len(end));
        }
        written
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A locked file and its content.
pub(super) struct Opened {
    pub(super) file: JournalFile,
    pub(super) text: Vec<u8>,
    /// Time since the last write.
    pub(super) age: Duration,
}

fn create_locked(path: &Path, text: &[u8]) -> io::Result<File> {
    let file = create(path, text)?;
    file.lock()?;
    Ok(file)
}

/// Replaces a file that this process has locked, and keeps its age.
fn replace(path: &Path, text: &[u8], modified: SystemTime) -> io::Result<File> {
    let new = path.with_extension(NEW_EXTENSION);
    drop(fs::remove_file(&new));
    let file = create_locked(&new, text)?;
    file.set_modified(modified)?;
    fs::rename(&new, path)?;
    sync_folder(path)?;
    Ok(file)
}

/// Rewrites text of an earlier version; none if it is current.
type Upgrade = fn(&[u8]) -> Option<Vec<u8>>;

/// Opens the files that no process has locked, and rewrites those of an earlier version.
pub(super) fn unlocked(folder: &Path, upgrade: Upgrade) -> Vec<(PathBuf, io::Result<Opened>)> {
    for path in with_extension(folder, NEW_EXTENSION) {
        drop(remove_stale(&path));
    }
    journals(folder)
        .into_iter()
        .filter_map(|path| {
            open(&path, upgrade)
                .transpose()
                .map(|opened| (path, opened))
        })
        .collect()
}

/// Paths of all journals, locked or not.
pub(super) fn journals(folder: &Path) -> Vec<PathBuf> {
    with_extension(folder, EXTENSION)
}

fn with_extension(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

/// Number of bytes before the first torn line: a power cut may leave half a line, zeros, or both before the rest of it.
fn whole_lines(text: &[u8]) -> usize {
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let is_whole =
        |line: &&[u8]| line.ends_with(b"\n") && serde_json::from_slice::<IgnoredAny>(line).is_ok();
    lines.take_while(is_whole).map(<[u8]>::len).sum()
}

/// Removes a file whose process was killed before it wrote the first line.
fn remove_stale(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    if age >= NEW_FOR && file.try_lock().is_ok() {
        fs::remove_file(path)
    } else {
        Ok(())
    }
}

fn open(path: &Path, upgrade: Upgrade) -> io::Result<Option<Opened>> {
    let mut file = File::options().read(true).write(true).open(path)?;
    if file.try_lock().is_err() {
        return Ok(None);
    }
    let metadata = file.metadata()?;
    if metadata.ino() != fs::metadata(path)?.ino() {
        // Another process replaced the file before the lock.
        return Ok(None);
    }
    let modified = metadata.modified()?;
    let age = modified.elapsed().unwrap_or_else(|_| {
        // The clock was set back. Without this, the file would never expire.
        drop(file.set_modified(SystemTime::now()));
        Duration::ZERO
    });
    let mut text = Vec::new();
    Read::by_ref(&mut file)
        .take(MAX_BYTES)
        .read_to_end(&mut text)?;
    let whole = whole_lines(&text);
    if whole < text.len() && whole > 0 {
        file.set_len(whole as u64)?;
        text.truncate(whole);
    }
    if let Some(upgraded) = upgrade(&text) {
        // If that fails, the next reader upgrades the file.
        if let Ok(new) = replace(path, &upgraded, modified) {
            file = new;
        }
        text = upgraded;
    }
    let file = JournalFile::new(path.to_owned(), file);
    Ok(Some(Opened { file, text, age }))
}
