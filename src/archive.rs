//! What is inside a backup: the tar is walked while it streams past, and its `backup.json` becomes an `AgentBackup`.

mod header;
mod manifest;
mod pax;
mod walker;

use std::io::{self, Read, Seek, SeekFrom};

pub use manifest::Manifest;
pub use walker::Walker;

/// Why a tar is not a backup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream ended inside an entry, or before the end-of-archive block.
    #[error("the tar is cut off: it ends before its end-of-archive mark")]
    Truncated,
    /// A header's checksum or size cannot be right.
    #[error("the tar is damaged: the header at byte {0} is not a tar header")]
    BadHeader(u64),
    /// An entry that tools read in different ways.
    #[error(
        "the tar has an entry that no backup has, before its byte {0}: a sparse file, a link with content, or two names"
    )]
    Unusual(u64),
    /// No `backup.json` in it.
    #[error("the tar is not a Home Assistant backup: it holds no backup.json")]
    NoManifest,
    /// Its `backup.json` says that Home Assistant's folder is in it.
    #[error(
        "the tar is not whole: its backup.json says that it holds Home Assistant, and homeassistant.tar.gz is missing"
    )]
    NoHomeAssistant,
    /// More than one `backup.json`: of these, one tool takes the first and another one the last.
    #[error("the tar holds two files backup.json")]
    TwoManifests,
    /// An entry that is kept in memory is larger than any real one.
    #[error("the tar's {0} has {1} bytes, more than the {2} that are read")]
    TooLarge(&'static str, u64, u64),
    /// More entries than any backup has.
    #[error("the tar is not looked through to its end within {0} reads")]
    TooManyEntries(u32),
    /// `backup.json` is not what Home Assistant writes.
    #[error("the backup.json in the tar cannot be read: {0}")]
    BadManifest(#[from] serde_json::Error),
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Bytes that are read of a file at a time: a header with the headers around it.
const READ_BYTES: usize = 32 * 1024;

/// Looks through a file, without reading what its entries hold, and gives its manifest.
///
/// # Errors
/// When the file is not a complete backup.
pub fn read_manifest<R: Read + Seek>(mut file: R) -> Result<Manifest, Error> {
    let (mut walker, mut buffer) = (Walker::default(), vec![0; READ_BYTES]);
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
