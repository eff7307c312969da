//! The entries of a tar, read one after another from a stream: memory is bounded for any input.

use std::io::{self, Read};

use super::Error;
use super::header::{BLOCK, Header, Kind, number, text};
use super::pax::Pax;
use super::walker::MAX_PAX_BYTES;

/// Limit for entries, which no backup has: each may take a file's place on a disk.
const MAX_ENTRIES: u64 = 1_000_000;

/// Limit for the headers that extend one entry: its name, its link and its pax records.
const MAX_EXTENSIONS: u32 = 16;

/// Limit for a path in bytes. Source: `PATH_MAX` in `linux/limits.h`.
const MAX_PATH_BYTES: u64 = 4096;

/// An entry of a tar.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As written, such as `./data/.storage`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of its content.
    pub size: u64,
    /// Permissions.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: u64,
    /// The path of the file that a hard link leads to.
    pub hard_link: Option<Vec<u8>>,
    /// The header block, and whether the path is longer than it can hold.
    pub(super) block: [u8; BLOCK],
    pub(super) is_long: bool,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic or hard link.
    Link,
    /// A device or a pipe.
    Special,
}

impl EntryKind {
    /// The name of the kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Link => "link",
            Self::Special => "special",
        }
    }
}

impl Entry {
    fn new(block: &[u8; BLOCK], path: Vec<u8>, is_long: bool, size: u64) -> Self {
        let is_hard_link = block[156] == b'1';
        let kind = match block[156] {
            b'1' | b'2' => EntryKind::Link,
            b'3' | b'4' | b'6' => EntryKind::Special,
            b'5' => EntryKind::Folder,
            0 if path.ends_with(b"/") => EntryKind::Folder,
            _ => EntryKind::File,
        };
        Self {
            path,
            kind,
            size,
            mode: number(&block[100..108]).map_or(0, |mode| (mode & 0o777) as u32),
            modified: number(&block[136..148]).unwrap_or_default(),
            hard_link: is_hard_link.then(|| text(&block[157..257]).to_vec()),
            block: *block,
            is_long,
        }
    }
}

/// Reader of a tar's entries. [`Read`] reads the content of the last one.
#[derive(Debug)]
pub struct Entries<R> {
    source: R,
    offset: u64,
    /// Bytes of the entry's content and padding to read.
    left: u64,
    padding: u64,
    count: u64,
    limit: u64,
    is_at_end: bool,
}

/// What the headers before an entry say of it.
#[derive(Debug, Default)]
struct Extensions {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> Entries<R> {
    /// Reads a tar from its start.
    pub const fn new(source: R) -> Self {
        Self::limited(source, MAX_ENTRIES)
    }

    pub(super) const fn limited(source: R, limit: u64) -> Self {
        Self {
            source,
            offset: 0,
            left: 0,
            padding: 0,
            count: 0,
            limit,
            is_at_end: false,
        }
    }

    /// Reads the source to its end, behind the end-of-archive mark: the checksum of gzip is there, and the last piece of an
    /// encrypted archive.
    ///
    /// # Errors
    /// Those of the source.
    pub fn finish(&mut self) -> Result<(), Error> {
        io::copy(&mut self.source, &mut io::sink())?;
        Ok(())
    }

    /// Skips what is left of the last entry, and returns the next one; `None` at the end-of-archive mark.
    ///
    /// # Errors
    /// When the tar is cut off or damaged, or has more entries than any backup.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        if self.is_at_end {
            return Ok(None);
        }
        self.skip()?;
        let mut before = Extensions::default();
        for _ in 0..=MAX_EXTENSIONS {
            let block = self.block()?;
            if block.iter().all(|&byte| byte == 0) {
                self.is_at_end = true;
                return Ok(None);
            }
            let header =
                Header::read(&block).ok_or(Error::BadHeader(self.offset - BLOCK as u64))?;
            match header.kind {
                Kind::Pax | Kind::LongName if before.pax.is_some() || before.name.is_some() => {
                    return Err(self.unusual());
                }
                Kind::Pax => before.pax = Some(self.pax(header.size, |pax| !pax.is_sparse)?),
                Kind::GlobalPax => drop(self.pax(header.size, Pax::is_harmless)?),
                Kind::LongName => {
                    let name = self.small("path", header.size, MAX_PATH_BYTES)?;
                    before.name = Some(text(&name).to_vec());
                }
                Kind::LongLink => {
                    let link = self.small("link", header.size, MAX_PATH_BYTES)?;
                    before.link = Some(text(&link).to_vec());
                }
                Kind::Sparse => return Err(self.unusual()),
                Kind::File | Kind::Empty => {
                    return self.entry(&block, header, before).map(Some);
                }
            }
        }
        Err(self.unusual())
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        header: Header,
        before: Extensions,
    ) -> Result<Entry, Error> {
        self.count += 1;
        if self.count > self.limit {
            return Err(Error::TooManyFiles(self.limit));
        }
        let Extensions { pax, name, link } = before;
        let pax = pax.unwrap_or_default();
        let size = pax.size.unwrap_or(header.size);
        if header.kind == Kind::Empty && size > 0 {
            return Err(self.unusual());
        }
        self.left = size;
        self.padding = padding(size);
        let long = name.or(pax.name);
        let is_long = long.is_some();
        let path = long.unwrap_or(header.name);
        if path.len() as u64 > MAX_PATH_BYTES {
            return Err(Error::TooLarge("path", path.len() as u64, MAX_PATH_BYTES));
        }
        let mut entry = Entry::new(block, path, is_long, size);
        if entry.hard_link.is_some() {
            entry.hard_link = link.or(pax.link).or(entry.hard_link);
        }
        Ok(entry)
    }

    fn pax(&mut self, size: u64, is_usual: impl Fn(&Pax) -> bool) -> Result<Pax, Error> {
        let records = self.small("pax header", size, MAX_PAX_BYTES)?;
        let pax = Pax::read(&records).filter(is_usual);
        pax.ok_or(self.unusual())
    }

    fn unusual(&self) -> Error {
        Error::Unusual(self.offset)
    }

    /// Reads the content of the last entry, which `limit` bytes hold.
    ///
    /// # Errors
    /// [`Error::TooLarge`], and those of the source.
    pub(super) fn content(&mut self, what: &'static str, limit: u64) -> Result<Vec<u8>, Error> {
        if self.left > limit {
            return Err(Error::TooLarge(what, self.left, limit));
        }
        let mut content = Vec::new();
        self.read_to_end(&mut content)?;
        Ok(content)
    }

    fn small(&mut self, what: &'static str, size: u64, limit: u64) -> Result<Vec<u8>, Error> {
        self.left = size;
        self.padding = padding(size);
        let content = self.content(what, limit)?;
        self.skip()?;
        Ok(content)
    }

    fn skip(&mut self) -> Result<(), Error> {
        let wanted = self.left + self.padding;
        let skipped = io::copy(&mut self.source.by_ref().take(wanted), &mut io::sink())?;
        self.offset += skipped;
        (self.left, self.padding) = (0, 0);
        if skipped == wanted {
            Ok(())
        } else {
            Err(Error::Truncated)
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Error> {
        let mut block = [0; BLOCK];
        match self.source.read_exact(&mut block) {
            Ok(()) => self.offset += BLOCK as u64,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Error::Truncated);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(block)
    }
}

impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.source.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            return Err(io::Error::other(Error::Truncated));
        }
        self.left -= read as u64;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Bytes up to the next block.
pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
