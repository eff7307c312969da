//! The tar inside an archive of a backup: encrypted or not, compressed or not.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::Error;
use super::entries::Entries;
use super::securetar::{self, Password, Plain};

/// Limits for what an archive unpacks to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Unpacked bytes for each packed one. A whole archive of a backup stays far below, a bomb has 1,000.
    pub(super) ratio: u64,
    /// Bytes that any archive may unpack to: a small one may hold a file of zeros.
    pub(super) free: u64,
    /// Bytes that no archive may unpack to.
    pub(super) all: u64,
}

/// Limits for the archives of a backup: 1 GiB, then a ratio of 250, and 4 TiB at most.
const LIMITS: Limits = Limits {
    ratio: 250,
    free: 1 << 30,
    all: 1 << 42,
};

/// Bytes that tell gzip.
const GZIP: &[u8] = b"\x1f\x8b\x08";

/// The plain bytes of an archive, with the first of them.
type Start<R> = Chain<Cursor<Vec<u8>>, Plain<R>>;

/// Reader of the bytes of an inner tar.
#[derive(Debug)]
pub enum Inner<R> {
    /// An uncompressed tar.
    Tar(Start<R>),
    /// A compressed one.
    Gzip(Box<Gunzip<R>>),
}

/// Decompresses, within limits.
#[derive(Debug)]
pub struct Gunzip<R> {
    decoder: MultiGzDecoder<BufReader<Counted<Start<R>>>>,
    unpacked: u64,
    limits: Limits,
}

#[derive(Debug)]
struct Counted<R> {
    source: R,
    count: u64,
}

/// Opens an archive of `size` bytes as a tar.
///
/// # Errors
/// Those of its encryption.
pub fn open<R: Read>(
    source: R,
    size: u64,
    password: Option<&mut Password>,
) -> Result<Entries<Inner<R>>, Error> {
    open_within(source, size, password, LIMITS)
}

pub(super) fn open_within<R: Read>(
    source: R,
    size: u64,
    password: Option<&mut Password>,
    limits: Limits,
) -> Result<Entries<Inner<R>>, Error> {
    let mut plain = Plain::open(source, size, password)?;
    let mut start = Vec::new();
    plain
        .by_ref()
        .take(GZIP.len() as u64)
        .read_to_end(&mut start)?;
    let is_gzip = start == GZIP;
    let start = Cursor::new(start).chain(plain);
    let inner = if is_gzip {
        let counted = Counted {
            source: start,
            count: 0,
        };
        Inner::Gzip(Box::new(Gunzip {
            decoder: MultiGzDecoder::new(BufReader::with_capacity(64 * 1024, counted)),
            unpacked: 0,
            limits,
        }))
    } else {
        Inner::Tar(start)
    };
    Ok(Entries::new(inner))
}

impl<R: Read> Read for Inner<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tar(tar) => tar.read(buffer),
            Self::Gzip(gunzip) => gunzip.read(buffer),
        }
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer).map_err(classify)?;
        self.unpacked += read as u64;
        let packed = self.decoder.get_ref().get_ref().count;
        let Limits { ratio, free, all } = self.limits;
        let allowed = packed.saturating_mul(ratio).max(free).min(all);
        if self.unpacked > allowed {
            return Err(io::Error::other(Error::Bomb));
        }
        Ok(read)
    }
}

/// Tells damaged gzip from an error of what is compressed.
fn classify(error: io::Error) -> io::Error {
    let is_known = |inner: &(dyn std::error::Error + Send + Sync + 'static)| {
        inner.is::<securetar::Error>() || inner.is::<Error>()
    };
    match error.kind() {
        _ if error.get_ref().is_some_and(is_known) => error,
        io::ErrorKind::UnexpectedEof => io::Error::other(Error::Truncated),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            io::Error::other(Error::BadGzip(error.to_string()))
        }
        _ => error,
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}
