//! Journals in `state_dir/uploads/`: what it takes to resume an upload, or to finish a deletion, after a crash.
//!
//! One file per upload: a JSON line that identifies it, then a line per stored part, each synced to the disk. Lines are
//! only appended, so a torn write costs the last one and nothing else. A file is locked while its upload is active; an
//! unlocked file belongs to an interrupted upload. A journal that cannot be written never fails an upload: that upload
//! just cannot be resumed.
//!
//! The first line holds the format's version. Journals of version 0.1 are rewritten when they are read.

mod file;
mod migrate;
mod overview;
mod tombstone;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinError, spawn_blocking};
use tracing::warn;

use super::folder::FolderId;
use file::JournalFile;
pub(super) use overview::JournalStatus;
pub(super) use tombstone::Tombstone;

/// An interrupted upload expires after this long.
pub(super) const KEPT_FOR: Duration = Duration::from_hours(24);

/// Version of the format. Version 1, of 0.1, had no number.
const VERSION: u32 = 2;

/// The first line: identifies the upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) folder: FolderId,
    /// The tar's key. It was free when the upload began, so a tar there without metadata is this upload's own.
    pub(super) key: String,
    pub(super) backup_id: String,
    /// Id of the multipart upload; none for a tar that is stored with one request.
    pub(super) upload_id: Option<String>,
    pub(super) part_size: u64,
    /// Announced size of the tar in bytes; none in journals of earlier versions.
    #[serde(default)]
    pub(super) size: Option<u64>,
    /// Fingerprint of the settings that the object is stored with; none in journals of earlier versions.
    #[serde(default)]
    pub(super) kept: Option<String>,
}

/// A stored part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredPart {
    /// From 0.
    pub(super) number: usize,
    pub(super) size: u64,
    /// The provider's `ETag`, needed to complete the upload.
    pub(super) e_tag: String,
    /// Identifies the part's content.
    pub(super) hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Upload {
        version: u32,
        #[serde(flatten)]
        header: Header,
    },
    Part(StoredPart),
    /// The part with this number is about to be overwritten.
    Replacing(usize),
    /// The stored parts are to be aborted; the storage was away when the agent tried.
    #[serde(rename = "unwanted")]
    Discarded,
    /// The objects under the key are to be deleted.
    #[serde(rename = "removing")]
    Buried(Tombstone),
    /// Another attempt resumed the upload: revokes the two lines above.
    #[serde(rename = "wanted")]
    Resumed,
}

/// The journals of one state directory.
#[derive(Debug)]
pub(super) struct Journals {
    folder: PathBuf,
    /// Files that are not readable journals; each is logged once. Locked during a search, so that no other search takes the
    /// files that it opens for active ones; in a blocking thread only.
    ignored: Mutex<HashSet<PathBuf>>,
    /// Logs once that the folder cannot be written.
    unwritable: Once,
}

/// The journal of an active upload. Dropping the last clone leaves it for a resume.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    file: Arc<JournalFile>,
    journals: Arc<Journals>,
}

/// An upload that no task works on: its sender left, or its process is gone.
#[derive(Debug)]
pub(super) struct Interrupted {
    pub(super) header: Header,
    pub(super) parts: BTreeMap<usize, StoredPart>,
    pub(super) journal: Journal,
    pub(super) tombstone: Option<Tombstone>,
    /// Time since the last line.
    age: Duration,
    is_discarded: bool,
}

/// A parsed journal.
#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    header: Header,
    parts: BTreeMap<usize, StoredPart>,
    tombstone: Option<Tombstone>,
    is_discarded: bool,
}

impl Header {
    /// Whether an upload of a tar of `size` bytes in parts of `part_size` bytes, stored with settings `kept`, can resume
    /// this one.
    pub(super) fn is_of(&self, part_size: u64, size: u64, kept: &str) -> bool {
        self.part_size == part_size
            && self.size.is_none_or(|announced| announced == size)
            && self.kept.as_deref().is_none_or(|before| before == kept)
    }
}

impl Interrupted {
    /// Whether the next sweep removes it, whatever its age.
    pub(super) fn is_discarded(&self) -> bool {
        self.is_discarded || self.tombstone.is_some()
    }
}

impl Journals {
    pub(super) fn new(state_dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            folder: state_dir.join("uploads"),
            ignored: Mutex::default(),
            unwritable: Once::new(),
        })
    }

    /// Creates a journal; none if the state directory cannot be written.
    pub(super) async fn begin(self: &Arc<Self>, header: Header) -> Option<Journal> {
        let journals = Arc::clone(self);
        let begun = spawn_blocking(move || {
            let version = VERSION;
            let first = line(&Line::Upload { version, header })?;
            JournalFile::create(&journals.folder, &first)
        })
        .await;
        let file = self.noted(begun)?;
        Some(Journal {
            file: Arc::new(file),
            journals: Arc::clone(self),
        })
    }

    /// Interrupted uploads of a backup to a folder.
    pub(super) async fn interrupted(
        self: &Arc<Self>,
        folder: &FolderId,
        backup_id: &str,
    ) -> Vec<Interrupted> {
        let (folder, backup_id) = (folder.clone(), backup_id.to_owned());
        self.search(move |Interrupted { header, .. }| {
            header.folder == folder && header.backup_id == backup_id
        })
        .await
    }

    /// Interrupted uploads to a folder.
    pub(super) async fn interrupted_in(self: &Arc<Self>, folder: &FolderId) -> Vec<Interrupted> {
        let folder = folder.clone();
        self.search(move |upload| upload.header.folder == folder)
            .await
    }

    /// Interrupted uploads to be swept: a day old, discarded, or with a tombstone.
    pub(super) async fn expired(self: &Arc<Self>) -> Vec<Interrupted> {
        self.search(|upload| upload.is_discarded() || upload.age >= KEPT_FOR)
            .await
    }

    async fn search(
        self: &Arc<Self>,
        is_wanted: impl Fn(&Interrupted) -> bool + Send + 'static,
    ) -> Vec<Interrupted> {
        let journals = Arc::clone(self);
        let searched = spawn_blocking(move || {
            let mut ignored = journals.ignored.lock();
            let mut uploads = journals.all(&mut ignored);
            uploads.retain(is_wanted);
            uploads
        });
        searched.await.unwrap_or_default()
    }

    fn all(self: &Arc<Self>, ignored: &mut HashSet<PathBuf>) -> Vec<Interrupted> {
        let mut uploads = Vec::new();
        for (path, opened) in file::unlocked(&self.folder, migrate::upgraded) {
            match opened.map(|opened| Some((parse(&opened.text)?, opened))) {
                Ok(Some((parsed, opened))) => uploads.push(Interrupted {
                    header: parsed.header,
                    parts: parsed.parts,
                    journal: Journal {
                        file: Arc::new(opened.file),
                        journals: Arc::clone(self),
                    },
                    tombstone: parsed.tombstone,
                    age: opened.age,
                    is_discarded: parsed.is_discarded,
                }),
                _ if !ignored.insert(path.clone()) => {}
                Ok(None) => warn!(
                    "\"{}\" is ignored: it is not a journal that this version reads",
                    path.display()
                ),
                Err(error) => warn!("\"{}\" is ignored: {error}", path.display()),
            }
        }
        uploads
    }

    /// Logs a full or read-only state directory once.
    fn noted<T>(&self, ended: Result<io::Result<T>, JoinError>) -> Option<T> {
        let result = ended.map_err(io::Error::other).flatten();
        if let Err(error) = &result {
            let folder = self.folder.display();
            self.unwritable.call_once(|| warn!(
                "\"{folder}\" cannot be written: {error}; uploads continue, but cannot be resumed after an interruption"
            ));
        }
        result.ok()
    }
}

impl Journal {
    /// Records a stored part.
    pub(super) async fn note(&self, part: StoredPart) {
        self.add(Line::Part(part)).await;
    }

    /// Forgets a part before another one overwrites it, so that a crash in between does not mix them up.
    pub(super) async fn replacing(&self, number: usize) {
        self.add(Line::Replacing(number)).await;
    }

    /// Leaves the parts to the sweep.
    pub(super) async fn discarded(&self) {
        self.add(Line::Discarded).await;
    }

    /// Records objects to be deleted.
    pub(super) async fn bury(&self, tombstone: Tombstone) {
        self.add(Line::Buried(tombstone)).await;
    }

    /// Revokes [`Self::discarded`] and [`Self::bury`]: an upload resumes the stored parts.
    pub(super) async fn resumed(&self) {
        self.add(Line::Resumed).await;
    }

    /// Removes the journal: nothing is left to resume or to delete.
    pub(super) async fn end(self) {
        let file = Arc::clone(&self.file);
        let removed = spawn_blocking(move || file.remove()).await;
        self.journals.noted(removed);
    }

    async fn add(&self, added: Line) {
        let file = Arc::clone(&self.file);
        let written = spawn_blocking(move || file.add(&line(&added)?)).await;
        self.journals.noted(written);
    }
}

fn line(line: &Line) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads up to the first invalid line.
fn parse(text: &[u8]) -> Option<Parsed> {
    let mut lines = text
        .split_inclusive(|&byte| byte == b'\n')
        .map_while(|line| serde_json::from_slice(line).ok());
    let Some(Line::Upload { version, header }) = lines.next() else {
        return None;
    };
    if version > VERSION {
        return None;
    }
    let mut parsed = Parsed {
        header,
        parts: BTreeMap::new(),
        tombstone: None,
        is_discarded: false,
    };
    for line in lines {
        match line {
            Line::Part(part) => {
                // An upload resumed it.
                parsed.tombstone = None;
                parsed.is_discarded = false;
                parsed.parts.insert(part.number, part);
            }
            Line::Replacing(number) => drop(parsed.parts.remove(&number)),
            Line::Discarded => parsed.is_discarded = true,
            Line::Buried(tombstone) => parsed.tombstone = Some(tombstone),
            Line::Resumed => {
                parsed.tombstone = None;
                parsed.is_discarded = false;
            }
            Line::Upload { .. } => return None,
        }
    }
    Some(parsed)
}

#[cfg(test)]
mod tests;
