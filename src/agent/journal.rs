//! What is known of uploads that have not ended, in `state_dir/uploads/`: when the sender leaves or the agent ends, only
//! what is missing is sent afterwards. Deletions that have not ended are noted there as well.
//!
//! One file for each upload: a line of JSON that says what it is, then a line for each part that is stored, each synced
//! to the disk. Lines are only added, so a torn write costs the last one and nothing else. A file is locked for as long
//! as its upload lives; what is not locked was left for the next attempt, by an upload that was interrupted or a process
//! that is gone. Nothing here may fail an upload: without
//! a journal it only cannot be resumed.

mod file;
mod overview;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tracing::warn;

use super::removal::Removal;
use crate::store::{Key, Keys};
use file::JournalFile;
pub(super) use overview::JournalStatus;

/// What was stored for an upload that nobody goes on with is kept this long.
pub(super) const KEPT_FOR: Duration = Duration::from_hours(24);

/// The first line: which upload this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// The bucket and its endpoint, or the directory.
    pub(super) place: String,
    /// The tar's key. Nothing was there when the upload began, so what is there without metadata is its own.
    pub(super) key: String,
    pub(super) backup_id: String,
    /// Of the multipart upload; none for a tar that goes there in one request.
    pub(super) upload_id: Option<String>,
    pub(super) part_size: u64,
    /// Of the tar in bytes, as announced; earlier versions did not note it.
    #[serde(default)]
    pub(super) size: Option<u64>,
    /// What tells how the tar is to be kept from how another one is; earlier versions did not note it.
    #[serde(default)]
    pub(super) kept: Option<String>,
}

/// A part that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredPart {
    /// From 0.
    pub(super) number: usize,
    pub(super) size: u64,
    /// As the store gave it, and takes it back when the upload is completed.
    pub(super) e_tag: String,
    /// What tells this part from another with the same number.
    pub(super) hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Upload(Header),
    Part(StoredPart),
    /// The part with this number is about to be replaced.
    Replacing(usize),
    /// Nobody wants what is stored, but the storage was away when it was to be removed.
    Unwanted,
    /// What is in place under the key has to go.
    Removing(Removal),
    /// Another attempt goes on with it.
    Wanted,
}

/// The journals of one state directory.
#[derive(Debug)]
pub(super) struct Journals {
    folder: PathBuf,
    has_warned: AtomicBool,
    ignored: Mutex<HashSet<PathBuf>>,
    /// Held while journals are opened to see whose they are: nobody may take one for locked meanwhile.
    looking: tokio::sync::Mutex<()>,
}

/// The journal of an upload under way. Dropping the last clone leaves it for a resume.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    file: Arc<JournalFile>,
    journals: Arc<Journals>,
}

/// An upload that nobody goes on with now: its sender left, or the process is gone.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) header: Header,
    pub(super) parts: BTreeMap<usize, StoredPart>,
    pub(super) journal: Journal,
    /// What has to go from its place, too.
    pub(super) removal: Option<Removal>,
    /// How long nothing was added to it.
    age: Duration,
    is_unwanted: bool,
}

/// What a journal says.
#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    header: Header,
    parts: BTreeMap<usize, StoredPart>,
    removal: Option<Removal>,
    is_unwanted: bool,
}

impl Header {
    /// Whether an upload in parts of this size, of a tar of that size that is to be kept so, may go on with it.
    pub(super) fn is_of(&self, part_size: u64, size: u64, kept: &str) -> bool {
        self.part_size == part_size
            && self.size.is_none_or(|announced| announced == size)
            && self.kept.as_deref().is_none_or(|before| before == kept)
    }
}

impl Left {
    /// Whether it would be removed by the next sweep, had it no other end.
    pub(super) fn is_doomed(&self) -> bool {
        self.is_unwanted || self.removal.is_some()
    }
}

impl Journals {
    pub(super) fn new(state_dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            folder: state_dir.join("uploads"),
            has_warned: AtomicBool::new(false),
            ignored: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        })
    }

    /// Begins a journal.
    pub(super) async fn begin(self: &Arc<Self>, header: Header) -> Option<Journal> {
        let journals = Arc::clone(self);
        let begun = spawn_blocking(move || {
            JournalFile::create(&journals.folder, &line(&Line::Upload(header))?)
        })
        .await;
        let file = self.noted(begun.map_err(io::Error::other).flatten())?;
        Some(Journal {
            file: Arc::new(file),
            journals: Arc::clone(self),
        })
    }

    /// Uploads of this backup to a folder of a place that were left.
    pub(super) async fn left(
        self: &Arc<Self>,
        place: &str,
        keys: &Keys,
        backup_id: &str,
    ) -> Vec<Left> {
        let mut left = self.left_in(place, keys).await;
        left.retain(|left| left.header.backup_id == backup_id);
        left
    }

    /// Uploads to a folder of a place that were left.
    pub(super) async fn left_in(self: &Arc<Self>, place: &str, keys: &Keys) -> Vec<Left> {
        let _looking = self.looking.lock().await;
        let mut left = self.all().await;
        left.retain(|left| {
            left.header.place == place && keys.may_be_ours(&Key::new(&left.header.key))
        });
        left
    }

    /// What was left and is dead: nothing happened on it for a day, nobody wants it, or it has to go.
    pub(super) async fn dead(self: &Arc<Self>) -> Vec<Left> {
        let _looking = self.looking.lock().await;
        let mut left = self.all().await;
        left.retain(|left| left.is_doomed() || left.age >= KEPT_FOR);
        left
    }

    async fn all(self: &Arc<Self>) -> Vec<Left> {
        let journals = Arc::clone(self);
        let read = spawn_blocking(move || file::unlocked(&journals.folder))
            .await
            .unwrap_or_default();
        let mut left = Vec::new();
        for (path, opened) in read {
            let parsed =
                opened.map(|(file, text, age)| parse(&text).map(|parsed| (file, parsed, age)));
            match parsed {
                Ok(Some((
                    file,
                    Parsed {
                        header,
                        parts,
                        removal,
                        is_unwanted,
                    },
                    age,
                ))) => {
                    let journal = Journal {
                        file: Arc::new(file),
                        journals: Arc::clone(self),
                    };
                    left.push(Left {
                        header,
                        parts,
                        journal,
                        removal,
                        age,
                        is_unwanted,
                    });
                }
                _ if self.is_known(&path) => {}
                Ok(None) => warn!(
                    "\"{}\" is ignored: it is not the journal of an upload",
                    path.display()
                ),
                Err(error) => warn!("\"{}\" is ignored: {error}", path.display()),
            }
        }
        left
    }

    /// Whether this file was ignored before; each is spoken of once.
    fn is_known(&self, path: &Path) -> bool {
        !self
            .ignored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_owned())
    }

    /// A full or read-only state directory is said once.
    fn noted<T>(&self, result: io::Result<T>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let folder = self.folder.display();
            warn!(
                "\"{folder}\" cannot be written: {error}; uploads go on, but not where they stopped when interrupted"
            );
        }
        None
    }
}

impl Journal {
    /// Notes a part that is stored.
    pub(super) async fn note(&self, part: StoredPart) {
        self.add(Line::Part(part)).await;
    }

    /// Forgets a part before another is stored under its number: if the agent is killed in between, nobody takes the one
    /// for the other.
    pub(super) async fn replacing(&self, number: usize) {
        self.add(Line::Replacing(number)).await;
    }

    /// What is stored could not be removed; it is tried again.
    pub(super) async fn unwanted(&self) {
        self.add(Line::Unwanted).await;
    }

    /// What is in place is about to be removed.
    pub(super) async fn removing(&self, removal: Removal) {
        self.add(Line::Removing(removal)).await;
    }

    /// What is stored is gone on with, whatever was to become of it.
    pub(super) async fn wanted(&self) {
        self.add(Line::Wanted).await;
    }

    /// The upload has ended, and nothing of it is left to go on with.
    pub(super) async fn end(self) {
        let file = Arc::clone(&self.file);
        let removed = spawn_blocking(move || file.remove()).await;
        self.journals
            .noted(removed.map_err(io::Error::other).flatten());
    }

    async fn add(&self, added: Line) {
        let file = Arc::clone(&self.file);
        let written = spawn_blocking(move || file.add(&line(&added)?)).await;
        self.journals
            .noted(written.map_err(io::Error::other).flatten());
    }
}

fn line(line: &Line) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads up to the first line that is no line of ours.
fn parse(text: &[u8]) -> Option<Parsed> {
    let mut lines = text
        .split_inclusive(|&byte| byte == b'\n')
        .map_while(|line| serde_json::from_slice(line).ok());
    let Some(Line::Upload(header)) = lines.next() else {
        return None;
    };
    let mut parsed = Parsed {
        header,
        parts: BTreeMap::new(),
        removal: None,
        is_unwanted: false,
    };
    for line in lines {
        match line {
            Line::Part(part) => {
                // Somebody goes on with it.
                (parsed.removal, parsed.is_unwanted) = (None, false);
                parsed.parts.insert(part.number, part);
            }
            Line::Replacing(number) => drop(parsed.parts.remove(&number)),
            Line::Unwanted => parsed.is_unwanted = true,
            Line::Removing(removal) => parsed.removal = Some(removal),
            Line::Wanted => (parsed.removal, parsed.is_unwanted) = (None, false),
            Line::Upload(_) => return None,
        }
    }
    Some(parsed)
}

#[cfg(test)]
mod tests;
