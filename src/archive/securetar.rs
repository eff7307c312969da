//! SecureTar, the encryption of the archives in a backup: reads versions 2 and 3, and writes none.
//!
//! Source of the format: the Python library `securetar`, with which Home Assistant and Supervisor encrypt. Version 2 is
//! AES-128-CBC without authentication. Version 3 is libsodium's secretstream in chunks of 1 MiB; the header alone tells
//! whether a password is right.

mod header;
mod key;
mod v2;
mod v3;

use std::io::{self, Chain, Cursor, Read};

pub use header::Header;
pub use key::Password;

/// Bytes at the start of an archive that tell what it is, and whether a password opens it.
pub const HEAD_BYTES: usize = 512;

/// Reason why an archive cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A version that this agent does not know.
    #[error(
        "it is encrypted with version {0} of SecureTar, which this agent does not know: update the agent"
    )]
    UnknownVersion(u8),
    /// The header has bytes that no writer sets.
    #[error("its SecureTar header is damaged")]
    BadHeader,
    /// Neither a tar nor SecureTar 2 or 3. Version 1 has no mark.
    #[error(
        "it is no tar, and not encrypted with SecureTar 2 or 3. If it is of a Home Assistant before 2025.2, it has version 1, \
         which the agent does not read: restore it with Home Assistant"
    )]
    Unknown,
    /// Another password than that of the backup.
    #[error("the encryption key does not open it")]
    WrongPassword,
    /// An encrypted archive, and no password.
    #[error("it is encrypted, and there is no encryption key")]
    NoPassword,
    /// The size in the header is not that of the archive.
    #[error("it is damaged: its size is not the one in its SecureTar header")]
    WrongSize,
    /// The archive ends early.
    #[error("it is cut off")]
    Truncated,
    /// A changed chunk; the byte of the archive where it begins.
    #[error("it is damaged: its bytes from {0} on were changed after encryption")]
    Damaged(u64),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// What an archive is, by its first [`HEAD_BYTES`].
#[derive(Debug)]
pub enum Content {
    /// Gzip or a tar.
    Plain,
    /// SecureTar.
    Encrypted(Header),
}

impl Content {
    /// Reads the start of an archive.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::UnknownVersion`] and [`Error::BadHeader`].
    pub fn of(head: &[u8]) -> Result<Self, Error> {
        if is_tar(head) {
            return Ok(Self::Plain);
        }
        Header::read(head).map(Self::Encrypted)
    }
}

/// Whether the bytes are the start of gzip or of a tar, which may have no entries.
pub(super) fn is_tar(head: &[u8]) -> bool {
    head.starts_with(b"\x1f\x8b\x08")
        || head.get(257..262) == Some(b"ustar")
        || (head.len() >= HEAD_BYTES && head.iter().all(|&byte| byte == 0))
}

/// The plain bytes of an archive.
#[derive(Debug)]
pub struct Plain<R> {
    reader: Reader<Chain<Cursor<Vec<u8>>, R>>,
    is_encrypted: bool,
    size: u64,
}

#[derive(Debug)]
enum Reader<R> {
    Plain(io::Take<R>),
    V2(v2::Reader<R>),
    V3(v3::Reader<R>),
}

impl<R: Read> Plain<R> {
    /// Opens an archive of `size` bytes.
    ///
    /// # Errors
    /// Those of the source, and an [`Error`] inside an [`io::Error`].
    pub fn open(mut source: R, size: u64, password: Option<&mut Password>) -> io::Result<Self> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let wanted = size.min(HEAD_BYTES as u64);
        source.by_ref().take(wanted).read_to_end(&mut head)?;
        if (head.len() as u64) < wanted {
            return Err(Error::Truncated.into());
        }
        let header = match Content::of(&head)? {
            Content::Plain => {
                let all = Cursor::new(head).chain(source);
                return Ok(Self {
                    reader: Reader::Plain(all.take(size)),
                    is_encrypted: false,
                    size,
                });
            }
            Content::Encrypted(header) => header,
        };
        if header.archive_size() != Some(size) {
            return Err(Error::WrongSize.into());
        }
        let password = password.ok_or(Error::NoPassword)?;
        let body = head.split_off(header.length());
        let reader = match &header {
            Header::V2(header) => {
                let key = password.open_v2(header, &body)?;
                let rest = Cursor::new(body).chain(source);
                Reader::V2(v2::Reader::new(rest, key, header))
            }
            Header::V3(header) => {
                let key = password.open_v3(header)?;
                let rest = Cursor::new(body).chain(source);
                Reader::V3(v3::Reader::new(rest, &key, header))
            }
        };
        Ok(Self {
            reader,
            is_encrypted: true,
            size: header.plain_size(),
        })
    }

    /// Whether the archive is encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Bytes of the plain archive.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.reader {
            Reader::Plain(reader) => {
                let read = reader.read(buffer)?;
                if read == 0 && !buffer.is_empty() && reader.limit() > 0 {
                    return Err(Error::Truncated.into());
                }
                Ok(read)
            }
            Reader::V2(reader) => reader.read(buffer),
            Reader::V3(reader) => reader.read(buffer),
        }
    }
}

/// Decrypted bytes that wait for their reader, in one buffer that is used again.
#[derive(Debug, Default)]
struct Piece {
    bytes: zeroize::Zeroizing<Vec<u8>>,
    /// What is left of them.
    ready: std::ops::Range<usize>,
}

impl Piece {
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.ready.len());
        let from = self.ready.start;
        buffer[..count].copy_from_slice(&self.bytes[from..from + count]);
        self.ready.start += count;
        count
    }

    /// Replaces the bytes by the next ones of the source.
    fn fill<R: Read>(&mut self, source: &mut R, count: usize) -> io::Result<()> {
        self.bytes.resize(count, 0);
        source
            .read_exact(&mut self.bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::Truncated.into(),
                _ => error,
            })
    }
}

#[cfg(test)]
mod tests;
