//! The contents of a backup's tar: the walker follows the headers of a stream, and the manifest becomes an
//! `AgentBackup`.

mod header;
mod inventory;
mod manifest;
mod pax;
mod walker;

use std::io::{self, Read, Seek, SeekFrom};

pub use manifest::Manifest;
pub use walker::{Contents, Walker};

/// Reason why a tar is not a backup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream ended inside an entry, or before the end-of-archive block.
    #[error("the tar is cut off: it ends before its end-of-archive mark")]
    Truncated,
    /// Invalid checksum or size in the header at this byte.
    #[error("the tar is damaged: the header at byte {0} is not a tar header")]
    BadHeader(u64),
    /// An entry that tools read in different ways, before this byte.
    #[error(
        "the tar has an entry that no backup has, before its byte {0}: a sparse file, a link with content, or two names"
    )]
    Unusual(u64),
    /// No manifest.
    #[error("the tar is not a Home Assistant backup: it holds no backup.json")]
    NoManifest,
    /// The manifest names Home Assistant's archive, but the tar has none.
    #[error(
        "the tar is incomplete: its backup.json says that it holds Home Assistant, but homeassistant.tar.gz is missing"
    )]
    NoHomeAssistant,
    /// Two manifests: some tools take the first, others the last.
    #[error("the tar holds two files named backup.json")]
    TwoManifests,
    /// Entry, its size and the limit in bytes: an entry kept in memory exceeds any real one.
    #[error("the tar's {0} has {1} bytes, more than the limit of {2}")]
    TooLarge(&'static str, u64, u64),
    /// More entries than any backup has; the limit in reads.
    #[error("the tar has too many entries: its end was not reached within {0} reads")]
    TooManyEntries(u32),
    /// The manifest is not in the form that Home Assistant writes.
    #[error("the backup.json in the tar is invalid: {0}")]
    BadManifest(#[from] serde_json::Error),
    /// The file could not be read.
    #[error("it could not be read: {0}")]
    Io(#[from] io::Error),
}

/// Bytes per read of a file: a header and its neighbours.
const READ_BYTES: usize = 32 * 1024;

/// Returns the contents of a tar file; seeks over the data of all other entries.
///
/// # Errors
/// When the file is not a complete backup, or cannot be read.
pub fn read_contents<R: Read + Seek>(mut file: R) -> Result<Contents, Error> {
    let mut walker = Walker::default();
    let mut buffer = vec![0; READ_BYTES];
    while !walker.is_at_end() {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        walker.push(&buffer[..read])?;
        let skippable = i64::try_from(walker.skippable()).map_err(|_| Error::Truncated)?;
        if skippable > 0 {
            file.seek(SeekFrom::Current(skippable))?;
            walker.skip()?;
        }
    }
    walker.finish()
}
