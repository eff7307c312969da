//! What is inside a backup: the tar is walked while it streams past, and its `backup.json` becomes an `AgentBackup`.

mod manifest;
mod walker;

use std::io::{self, Read, Seek};

use tar::Archive;

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
    /// No `backup.json` in it.
    #[error("the tar is not a Home Assistant backup: it holds no backup.json")]
    NoManifest,
    /// An entry that is kept in memory is larger than any real one.
    #[error("the tar's {0} has {1} bytes, more than the {2} that are read")]
    TooLarge(&'static str, u64, u64),
    /// More entries than any backup has.
    #[error("the tar is not looked through to its end within {0} reads")]
    TooManyEntries(u32),
    /// `backup.json` is not what Home Assistant writes.
    #[error("the backup.json in the tar cannot be read: {0}")]
    BadManifest(#[from] serde_json::Error),
    /// The file is no tar. The parser's words would repeat what is in the file.
    #[error("it is not a tar that Home Assistant made")]
    NotATar,
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Finds the manifest in a file, without reading what is beside it.
///
/// # Errors
/// When the file is not a backup.
pub fn read_manifest<R: Read + Seek>(file: R) -> Result<Manifest, Error> {
    for entry in Archive::new(file).entries_with_seek()? {
        let entry = entry.map_err(|_| Error::NotATar)?;
        if walker::is_manifest(&entry.path_bytes()) {
            let mut json = Vec::new();
            entry.take(walker::MAX_MANIFEST_BYTES).read_to_end(&mut json)?;
            return Manifest::parse(&json);
        }
    }
    Err(Error::NoManifest)
}
