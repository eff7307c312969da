//! The contents of a backup's tar: the walker follows the headers of a stream, and the manifest becomes an
//! `AgentBackup`. The archives inside are decrypted, unpacked and read entry by entry.

mod decrypt;
pub mod entries;
mod extract;
mod header;
pub mod inner;
mod inventory;
mod manifest;
mod pax;
pub mod securetar;
mod walker;

use std::io::{self, Read, Seek, SeekFrom, Write};

pub use decrypt::{Decrypted, decrypt};
pub use extract::{Extracted, extract, inside};
pub use inventory::{Archive, FoundArchives, archive_name};
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
    /// No archive with content.
    #[error("it holds no archive")]
    NoArchive,
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
    Io(#[source] io::Error),
    /// An archive's encryption.
    #[error(transparent)]
    SecureTar(#[from] securetar::Error),
    /// An archive's gzip, in the decoder's words.
    #[error("its compression is damaged: {0}")]
    BadGzip(String),
    /// A gzip bomb.
    #[error("it unpacks to far more than its size, as no backup does")]
    Bomb,
    /// The limit for files in an archive.
    #[error("it has more than {0} files, as no backup has")]
    TooManyFiles(u64),
    /// The path of an archive, and why it cannot be opened.
    #[error("the archive \"{0}\" cannot be opened: {1}")]
    Within(String, #[source] Box<Self>),
    /// A folder on this machine, and why it holds a part of an archive only.
    #[error("{1}")]
    Incomplete(String, #[source] Box<Self>),
    /// A path on this machine, and why it was not written.
    #[error("\"{0}\" could not be written: {1}")]
    Write(String, #[source] io::Error),
}

impl Error {
    /// Adds the path of the archive that cannot be opened. A failed write is not its fault.
    #[must_use]
    pub fn within(self, path: &str) -> Self {
        match self {
            Self::Incomplete(folder, error) => {
                Self::Incomplete(folder, Box::new(error.within(path)))
            }
            error @ Self::Write(..) => error,
            error => Self::Within(path.to_owned(), Box::new(error)),
        }
    }

    /// The error inside.
    #[must_use]
    pub fn root(self) -> Self {
        match self {
            Self::Within(_, error) | Self::Incomplete(_, error) => error.root(),
            error => error,
        }
    }
}

impl From<io::Error> for Error {
    /// Unpacks an error of this module that a reader passed on.
    fn from(error: io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        error
            .downcast::<securetar::Error>()
            .map_or_else(Self::Io, Self::SecureTar)
    }
}

/// Bytes per read of a file: a header and its neighbours.
const READ_BYTES: usize = 32 * 1024;

/// Bytes that are copied at once.
const COPY_BYTES: usize = 64 * 1024;

/// Returns the contents of a tar file; seeks over the data of all other entries.
///
/// # Errors
/// When the file is not a complete backup, or cannot be read.
pub fn read_contents<R: Read + Seek>(file: R) -> Result<Contents, Error> {
    walk(file, |_| false)?.finish()
}

/// Returns the archives in a tar file, which may be incomplete, until `is_enough`; seeks over their data.
///
/// # Errors
/// When the headers are damaged, or the file cannot be read.
pub fn read_archives<R: Read + Seek>(
    file: R,
    is_enough: impl Fn(&[Archive]) -> bool,
) -> Result<FoundArchives, Error> {
    walk(file, |walker| walker.archives().map_or(true, &is_enough))?.found()
}

/// Walks the headers until `is_enough`, to their end, or to the end of the file.
fn walk<R: Read + Seek>(mut file: R, is_enough: impl Fn(&Walker) -> bool) -> Result<Walker, Error> {
    let mut walker = Walker::default();
    let mut buffer = vec![0; READ_BYTES];
    while !walker.is_at_end() && !is_enough(&walker) {
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
    Ok(walker)
}

/// Copies what is left of a reader to `to`, which messages call `name`.
///
/// # Errors
/// Those of the reader, and [`Error::Write`].
pub fn copy_content<R: Read, W: Write>(from: &mut R, to: &mut W, name: &str) -> Result<(), Error> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return to
                .flush()
                .map_err(|error| Error::Write(name.to_owned(), error));
        }
        to.write_all(&buffer[..read])
            .map_err(|error| Error::Write(name.to_owned(), error))?;
    }
}

#[cfg(test)]
mod tests;
