//! Walks a tar by its headers, in pieces of any size, and keeps only `backup.json`.

use tar::{EntryType, Header, PaxExtensions};

use super::{Error, Manifest};

const BLOCK: usize = 512;

/// A real `backup.json` has a few KiB; with hundreds of add-ons some hundred KiB.
pub(super) const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// A pax header carries names, times and sizes.
const MAX_PAX_BYTES: u64 = 256 * 1024;

/// Takes a tar piece by piece; memory stays bounded whatever is in it.
#[derive(Debug)]
pub struct Walker {
    state: State,
    offset: u64,
    pax_size: Option<u64>,
    manifest: Option<Vec<u8>>,
}

#[derive(Debug)]
enum State {
    /// Collecting a header block.
    Header(Vec<u8>),
    /// Inside an entry: bytes of data left, padding after them, what is kept.
    Data { left: u64, padding: u64, keep: Option<(Keep, Vec<u8>)> },
    /// Past the end-of-archive mark; only padding follows.
    End,
}

#[derive(Debug, Clone, Copy)]
enum Keep {
    Manifest,
    Pax,
}

impl Default for Walker {
    fn default() -> Self {
        Self { state: State::Header(Vec::with_capacity(BLOCK)), offset: 0, pax_size: None, manifest: None }
    }
}

impl Walker {
    /// Takes the next piece.
    ///
    /// # Errors
    /// When it cannot be a tar; nothing more may be pushed then.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), Error> {
        while !piece.is_empty() {
            let taken = match &mut self.state {
                State::Header(block) => take(block, BLOCK - block.len(), piece),
                State::Data { left: 0, padding, .. } => skip(padding, piece),
                State::Data { left, keep: Some((_, kept)), .. } => {
                    let taken = take(kept, usize::try_from(*left).unwrap_or(usize::MAX), piece);
                    *left -= taken as u64;
                    taken
                }
                State::Data { left, keep: None, .. } => skip(left, piece),
                State::End => piece.len(),
            };
            self.offset += taken as u64;
            piece = &piece[taken..];
            self.advance()?;
        }
        Ok(())
    }

    /// Bytes from here that nothing is kept of: who has the tar at hand may leave them out, with [`Self::skip`].
    #[must_use]
    pub fn skippable(&self) -> u64 {
        match &self.state {
            State::Data { left, padding, keep: None } => left.saturating_add(*padding),
            _ => 0,
        }
    }

    /// Leaves out what is [`Self::skippable`].
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn skip(&mut self) -> Result<(), Error> {
        self.offset = self.offset.saturating_add(self.skippable());
        if let State::Data { left, padding, keep: None } = &mut self.state {
            (*left, *padding) = (0, 0);
        }
        self.advance()
    }

    /// Whether the end-of-archive mark was seen: only padding follows.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Says what the tar holds, once all of it was pushed.
    ///
    /// # Errors
    /// When it is cut off, or not a backup.
    pub fn finish(self) -> Result<Manifest, Error> {
        if !matches!(self.state, State::End) {
            return Err(Error::Truncated);
        }
        Manifest::parse(&self.manifest.ok_or(Error::NoManifest)?)
    }

    /// Goes on to the next state when the present one has all its bytes.
    fn advance(&mut self) -> Result<(), Error> {
        match &mut self.state {
            State::Header(block) if block.len() == BLOCK => {
                let block = std::mem::take(block);
                self.state = self.entry(&block)?;
                // An entry without data is over before its first byte.
                if matches!(self.state, State::Data { left: 0, padding: 0, .. }) {
                    self.advance()?;
                }
            }
            State::Data { left: 0, padding: 0, keep } => {
                match keep.take() {
                    Some((Keep::Manifest, data)) => self.manifest = Some(data),
                    Some((Keep::Pax, data)) => self.pax_size = pax_size(&data),
                    None => {}
                }
                self.state = State::Header(Vec::with_capacity(BLOCK));
            }
            _ => {}
        }
        Ok(())
    }

    fn entry(&mut self, block: &[u8]) -> Result<State, Error> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(State::End);
        }
        let bad = Error::BadHeader(self.offset - BLOCK as u64);
        let header = Header::from_byte_slice(block);
        if header.cksum().ok() != Some(checksum(block)) {
            return Err(bad);
        }
        let size = header.entry_size().map_err(|_| bad)?;
        let keep = match header.entry_type() {
            EntryType::XHeader => Some((Keep::Pax, limited("pax header", size, MAX_PAX_BYTES)?)),
            EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink => None,
            _ => return self.file(header, size),
        };
        Ok(State::Data { left: size, padding: padding(size), keep })
    }

    /// An ordinary entry. A pax header before it knows its real size when the header has no room for it (8 GiB).
    fn file(&mut self, header: &Header, size: u64) -> Result<State, Error> {
        let size = self.pax_size.take().unwrap_or(size);
        let keep = if is_manifest(&header.path_bytes()) {
            Some((Keep::Manifest, limited("backup.json", size, MAX_MANIFEST_BYTES)?))
        } else {
            None
        };
        Ok(State::Data { left: size, padding: padding(size), keep })
    }
}

/// Whether an entry of this name is the manifest.
pub(super) fn is_manifest(name: &[u8]) -> bool {
    name.strip_prefix(b"./").unwrap_or(name) == b"backup.json"
}

fn take(into: &mut Vec<u8>, wanted: usize, piece: &[u8]) -> usize {
    let taken = wanted.min(piece.len());
    into.extend_from_slice(&piece[..taken]);
    taken
}

fn skip(left: &mut u64, piece: &[u8]) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(piece.len());
    *left -= taken as u64;
    taken
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn limited(what: &'static str, size: u64, limit: u64) -> Result<Vec<u8>, Error> {
    if size > limit { Err(Error::TooLarge(what, size, limit)) } else { Ok(Vec::new()) }
}

/// The sum of all bytes, those of the checksum itself counted as spaces.
fn checksum(block: &[u8]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..])
}

fn pax_size(data: &[u8]) -> Option<u64> {
    let mut records = PaxExtensions::new(data).filter_map(Result::ok);
    records.find(|record| record.key_bytes() == b"size")?.value().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &[u8] = br#"{"slug": "abc", "name": "n", "date": "2026-11-20T00:00:00+00:00"}"#;

    fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, data: &[u8]) {
        let mut header = Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, data).unwrap();
    }

    fn backup(manifest: &[u8]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, "./homeassistant.tar.gz", &[7; 1500]);
        append(&mut tar, "./empty", b"");
        append(&mut tar, "./backup.json", manifest);
        tar.into_inner().unwrap()
    }

    fn walk(tar: &[u8], piece: usize) -> Result<Manifest, Error> {
        let mut walker = Walker::default();
        tar.chunks(piece).try_for_each(|piece| walker.push(piece))?;
        walker.finish()
    }

    #[test]
    fn the_manifest_is_found_whatever_the_pieces() {
        let tar = backup(MANIFEST);
        for piece in [1, 7, 511, 512, 513, tar.len()] {
            assert_eq!(walk(&tar, piece).unwrap().backup_id(), "abc", "{piece}");
        }
    }

    #[test]
    fn what_is_not_kept_can_be_left_out() {
        let tar = backup(MANIFEST);
        let (mut walker, mut offset, mut pushed) = (Walker::default(), 0, 0);
        while !walker.is_at_end() {
            walker.push(&tar[offset..offset + 512]).unwrap();
            (offset, pushed) = (offset + 512, pushed + 512);
            offset += usize::try_from(walker.skippable()).unwrap();
            walker.skip().unwrap();
        }
        assert_eq!(walker.finish().unwrap().backup_id(), "abc");
        // A header of the large entry and of the empty one, the manifest's two blocks, the end.
        assert_eq!(pushed, 5 * 512);
    }

    #[test]
    fn bytes_after_the_end_do_not_matter() {
        let mut tar = backup(MANIFEST);
        tar.extend([0; 10_240]);
        assert_eq!(walk(&tar, 4096).unwrap().backup_id(), "abc");
    }

    #[test]
    fn a_cut_or_damaged_tar_is_refused() {
        let tar = backup(MANIFEST);
        for end in [0, 100, 512, 700, tar.len() - 1024] {
            assert!(matches!(walk(&tar[..end], 100), Err(Error::Truncated)), "{end}");
        }
        let mut damaged = tar.clone();
        damaged[5] ^= 1;
        assert!(matches!(walk(&damaged, 100), Err(Error::BadHeader(0))));
        assert!(matches!(walk(&[b'x'; 2048], 512), Err(Error::BadHeader(0))));
        assert!(matches!(walk(&backup(b"[]"), 100), Err(Error::BadManifest(_))));
        assert!(matches!(walk(&[0; 1024], 100), Err(Error::NoManifest)));
    }

    #[test]
    fn a_huge_manifest_is_refused_before_it_is_read() {
        let mut header = Header::new_ustar();
        header.set_path("backup.json").unwrap();
        header.set_size(1 << 40);
        header.set_cksum();
        assert!(matches!(walk(header.as_bytes(), 512), Err(Error::TooLarge("backup.json", ..))));
    }

    #[test]
    fn a_pax_header_gives_the_size_that_the_header_has_no_room_for() {
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_pax_extensions([("size", &b"600"[..])]).unwrap();
        let mut header = Header::new_ustar();
        header.set_path("big").unwrap();
        header.set_size(0);
        header.set_cksum();
        let mut bytes = tar.into_inner().unwrap();
        bytes.truncate(1024);
        bytes.extend(header.as_bytes());
        bytes.extend([1; 600]);
        bytes.extend([0; 424]);
        bytes.extend(backup(MANIFEST));
        assert_eq!(walk(&bytes, 333).unwrap().backup_id(), "abc");
    }
}
