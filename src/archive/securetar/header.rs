//! The header of an encrypted archive.

use super::Error;

/// What each version from 2 on begins with.
const MAGIC: &[u8] = b"SecureTar";

/// Plain bytes of every chunk of version 3 but the last.
pub(super) const CHUNK_BYTES: u64 = 1024 * 1024;

/// Bytes that encryption adds to a chunk: one for its kind, and the authentication tag.
pub(super) const OVERHEAD_BYTES: u64 = 17;

/// Bytes of one AES block.
pub(super) const AES_BLOCK: u64 = 16;

/// The header of an encrypted archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// Version 2.
    V2(HeaderV2),
    /// Version 3.
    V3(HeaderV3),
}

/// A header of version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderV2 {
    pub(super) plain_size: u64,
    pub(super) salt: [u8; 16],
}

/// A header of version 3. It names no parameters of Argon2: the version defines them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderV3 {
    pub(super) plain_size: u64,
    pub(super) root_salt: [u8; 16],
    pub(super) validation_salt: [u8; 16],
    pub(super) validation_key: [u8; 32],
    pub(super) stream_salt: [u8; 16],
    pub(super) stream_header: [u8; 24],
}

impl Header {
    /// Parses the start of an archive.
    ///
    /// # Errors
    /// [`Error::Unknown`] without the mark, [`Error::Truncated`], [`Error::UnknownVersion`] and [`Error::BadHeader`].
    pub fn read(head: &[u8]) -> Result<Self, Error> {
        let rest = head.strip_prefix(MAGIC).ok_or(Error::Unknown)?;
        let mut fields = Fields(rest);
        let [version] = fields.take()?;
        let reserved: [u8; 6] = fields.take()?;
        let plain_size = u64::from_be_bytes(fields.take()?);
        let _unused: [u8; 8] = fields.take()?;
        let header = match version {
            2 => Self::V2(HeaderV2 {
                plain_size,
                salt: fields.take()?,
            }),
            3 => Self::V3(HeaderV3 {
                plain_size,
                root_salt: fields.take()?,
                validation_salt: fields.take()?,
                validation_key: fields.take()?,
                stream_salt: fields.take()?,
                stream_header: fields.take()?,
            }),
            other => return Err(Error::UnknownVersion(other)),
        };
        if reserved != [0; 6] {
            return Err(Error::BadHeader);
        }
        Ok(header)
    }

    /// Length of the header in bytes.
    #[must_use]
    pub const fn length(&self) -> usize {
        match self {
            Self::V2(_) => 48,
            Self::V3(_) => 136,
        }
    }

    /// Bytes of the plain archive.
    #[must_use]
    pub const fn plain_size(&self) -> u64 {
        match self {
            Self::V2(header) => header.plain_size,
            Self::V3(header) => header.plain_size,
        }
    }

    /// Bytes of the whole encrypted archive; `None` where no archive can be that large.
    #[must_use]
    pub fn archive_size(&self) -> Option<u64> {
        let plain = self.plain_size();
        let added = match self {
            Self::V2(_) => AES_BLOCK - plain % AES_BLOCK,
            Self::V3(_) => plain
                .div_ceil(CHUNK_BYTES)
                .max(1)
                .checked_mul(OVERHEAD_BYTES)?,
        };
        plain.checked_add(added)?.checked_add(self.length() as u64)
    }
}

/// Fields of fixed sizes, one after another.
struct Fields<'h>(&'h [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(*field)
    }
}
