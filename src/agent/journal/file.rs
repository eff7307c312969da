//! The files of the journal: private, locked while in use, whole up to their last line.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::de::IgnoredAny;

use crate::agent::kept::sync_folder;

const ENDING: &str = "jsonl";

/// Before a journal has its first line on the disk.
const NEW_ENDING: &str = "new";

/// A process that was killed in that moment left it behind when it is older than this.
const NEW_FOR: Duration = Duration::from_hours(1);

/// A part's line has some 200 bytes, and an upload has 10,000 parts at most.
pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A file that this process has locked.
#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl JournalFile {
    /// Makes a file that holds `first`. It appears under its name when that line is on the disk.
    pub(super) fn create(folder: &Path, first: &[u8]) -> io::Result<Self> {
        if !folder.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            sync_folder(folder)?;
        }
        let name = uuid::Uuid::new_v4().simple().to_string();
        let (new, path) = (
            folder.join(format!("{name}.{NEW_ENDING}")),
            folder.join(format!("{name}.{ENDING}")),
        );
        let written =
            write_new(&new, first).and_then(|file| fs::rename(&new, &path).map(|()| file));
        match written {
            Ok(file) => {
                sync_folder(&path)?;
                Ok(Self {
                    path,
                    file: Mutex::new(file),
                })
            }
            Err(error) => {
                // A full disk leaves an empty file, and nothing may be left of a journal that is not one.
                drop(fs::remove_file(&new));
                Err(error)
            }
        }
    }

    /// Adds a line; when this returns it is on the disk.
    pub(super) fn add(&self, line: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let end = file.seek(SeekFrom::End(0))?;
        let written = file.write_all(line).and_then(|()| file.sync_data());
        if written.is_err() {
            // What would come after half a line could not be read.
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

/// A file, its text, and how long nothing was added to it.
type Opened = (JournalFile, Vec<u8>, Duration);

fn write_new(path: &Path, first: &[u8]) -> io::Result<File> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.lock()?;
    file.write_all(first)?;
    file.sync_all()?;
    Ok(file)
}

/// Whether this is the name of a journal.
pub(super) fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == ENDING)
}

/// The files that no process holds, with their text up to the last whole line.
pub(super) fn unlocked(folder: &Path) -> Vec<(PathBuf, io::Result<Opened>)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let (new, others): (Vec<_>, Vec<_>) = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .partition(|path| path.extension().is_some_and(|ending| ending == NEW_ENDING));
    for path in new {
        drop(remove_left(&path));
    }
    let ours = others.into_iter().filter(|path| is_journal(path));
    ours.filter_map(|path| open(&path).transpose().map(|opened| (path, opened)))
        .collect()
}

/// Bytes of the lines up to the first that is none: a power cut may leave half a line, zeros, or both before the rest of it.
fn whole_lines(text: &[u8]) -> usize {
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let is_whole =
        |line: &&[u8]| line.ends_with(b"\n") && serde_json::from_slice::<IgnoredAny>(line).is_ok();
    lines.take_while(is_whole).map(<[u8]>::len).sum()
}

/// Removes a file that never came to be a journal.
fn remove_left(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    if age >= NEW_FOR && file.try_lock().is_ok() {
        fs::remove_file(path)
    } else {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Option<Opened>> {
    let mut file = File::options().read(true).write(true).open(path)?;
    if file.try_lock().is_err() {
        return Ok(None);
    }
    let age = file.metadata()?.modified()?.elapsed().unwrap_or_else(|_| {
        // A clock that was set back: without this, it would never come to be old.
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
    Ok(Some((
        JournalFile {
            path: path.to_owned(),
            file: Mutex::new(file),
        },
        text,
        age,
    )))
}
