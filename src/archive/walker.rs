//! Walks a tar by its headers, in pieces of any size, and keeps only `backup.json`.

use super::header::{BLOCK, Header, Kind, Role, text};
use super::pax::Pax;
use super::{Error, Manifest};

/// A real `backup.json` has a few KiB; with hundreds of add-ons some hundred KiB.
const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// A pax header carries names, times and sizes.
const MAX_PAX_BYTES: u64 = 256 * 1024;

/// A longer name is not the manifest's.
const MAX_NAME_BYTES: u64 = 64;

/// Takes a tar piece by piece; memory stays bounded whatever is in it.
#[derive(Debug)]
pub struct Walker {
    state: State,
    offset: u64,
    /// What a pax header says of the next entry.
    pax: Option<Pax>,
    /// What the next entry is, when a name goes before it.
    named: Option<Role>,
    manifest: Option<Vec<u8>>,
    has_home_assistant: bool,
}

#[derive(Debug)]
enum State {
    /// Collecting a header block.
    Header(Vec<u8>),
    /// Inside an entry: bytes of data left, padding after them, what is kept.
    Data {
        left: u64,
        padding: u64,
        keep: Option<(Keep, Vec<u8>)>,
    },
    /// Past the end-of-archive mark; only padding follows.
    End,
}

#[derive(Debug, Clone, Copy)]
enum Keep {
    Manifest,
    Pax,
    GlobalPax,
    Name,
}

impl Default for Walker {
    fn default() -> Self {
        let state = State::Header(Vec::with_capacity(BLOCK));
        Self {
            state,
            offset: 0,
            pax: None,
            named: None,
            manifest: None,
            has_home_assistant: false,
        }
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
                State::Data {
                    left: 0, padding, ..
                } => skip(padding, piece),
                State::Data {
                    left,
                    keep: Some((_, kept)),
                    ..
                } => {
                    let taken = take(kept, usize::try_from(*left).unwrap_or(usize::MAX), piece);
                    *left -= taken as u64;
                    taken
                }
                State::Data {
                    left, keep: None, ..
                } => skip(left, piece),
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
            State::Data {
                left,
                padding,
                keep: None,
            } => left.saturating_add(*padding),
            _ => 0,
        }
    }

    /// Leaves out what is [`Self::skippable`].
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn skip(&mut self) -> Result<(), Error> {
        self.offset = self.offset.saturating_add(self.skippable());
        if let State::Data {
            left,
            padding,
            keep: None,
        } = &mut self.state
        {
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
    /// When it is cut off, not a backup, or not all of one.
    pub fn finish(self) -> Result<Manifest, Error> {
        if !matches!(self.state, State::End) {
            return Err(Error::Truncated);
        }
        let manifest = Manifest::parse(&self.manifest.ok_or(Error::NoManifest)?)?;
        // Python takes a damaged header for the end of a tar. What Home Assistant encrypts ends there as well, as if all
        // were well, and it writes backup.json first.
        if manifest.homeassistant_version().is_some() && !self.has_home_assistant {
            return Err(Error::NoHomeAssistant);
        }
        Ok(manifest)
    }

    /// Goes on to the next state when the present one has all its bytes.
    fn advance(&mut self) -> Result<(), Error> {
        match &mut self.state {
            State::Header(block) if block.len() == BLOCK => {
                let block = std::mem::take(block);
                self.state = self.entry(&block)?;
                // An entry without data is over before its first byte.
                if matches!(
                    self.state,
                    State::Data {
                        left: 0,
                        padding: 0,
                        ..
                    }
                ) {
                    self.advance()?;
                }
            }
            State::Data {
                left: 0,
                padding: 0,
                keep,
            } => {
                if let Some((keep, data)) = keep.take() {
                    self.take_in(keep, data)?;
                }
                self.state = State::Header(Vec::with_capacity(BLOCK));
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes what was kept of an entry.
    fn take_in(&mut self, keep: Keep, data: Vec<u8>) -> Result<(), Error> {
        match keep {
            Keep::Manifest => self.manifest = Some(data),
            Keep::Name => self.named = Some(Role::of(text(&data))),
            Keep::Pax => {
                self.pax = Some(
                    Pax::read(&data)
                        .filter(|pax| !pax.is_sparse)
                        .ok_or(self.unusual())?,
                );
            }
            // Not every reader heeds it.
            Keep::GlobalPax if !Pax::read(&data).is_some_and(|pax| pax.is_harmless()) => {
                return Err(self.unusual());
            }
            Keep::GlobalPax => {}
        }
        Ok(())
    }

    fn entry(&mut self, block: &[u8]) -> Result<State, Error> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(State::End);
        }
        let header = Header::read(block).ok_or(Error::BadHeader(self.offset - BLOCK as u64))?;
        let keep = match header.kind {
            Kind::Pax | Kind::LongName if self.pax.is_some() || self.named.is_some() => {
                return Err(self.unusual());
            }
            Kind::Pax => Some((
                Keep::Pax,
                limited("pax header", header.size, MAX_PAX_BYTES)?,
            )),
            Kind::GlobalPax => Some((
                Keep::GlobalPax,
                limited("pax header", header.size, MAX_PAX_BYTES)?,
            )),
            Kind::LongName if header.size <= MAX_NAME_BYTES => Some((Keep::Name, Vec::new())),
            Kind::LongName => {
                self.named = Some(Role::Other);
                None
            }
            Kind::LongLink => None,
            Kind::Sparse => return Err(self.unusual()),
            Kind::File | Kind::Empty => return self.file(&header),
        };
        Ok(State::Data {
            left: header.size,
            padding: padding(header.size),
            keep,
        })
    }

    /// An ordinary entry, as what goes before it says.
    fn file(&mut self, header: &Header) -> Result<State, Error> {
        let (pax, named) = (self.pax.take().unwrap_or_default(), self.named.take());
        let size = pax.size.unwrap_or(header.size);
        let is_file = header.kind == Kind::File;
        if !is_file && size > 0 {
            return Err(self.unusual());
        }
        let role = named.unwrap_or_else(|| Role::of(pax.name.as_ref().unwrap_or(&header.name)));
        self.has_home_assistant |= role == Role::HomeAssistant && is_file;
        let keep = match (role == Role::Manifest && is_file, &self.manifest) {
            (false, _) => None,
            (true, None) => Some((
                Keep::Manifest,
                limited("backup.json", size, MAX_MANIFEST_BYTES)?,
            )),
            (true, Some(_)) => return Err(Error::TwoManifests),
        };
        Ok(State::Data {
            left: size,
            padding: padding(size),
            keep,
        })
    }

    fn unusual(&self) -> Error {
        Error::Unusual(self.offset)
    }
}

fn take(into: &mut Vec<u8>, wanted: usize, piece: &[u8]) -> usize {
    let taken = wanted.min(piece.len());
    into.extend_from_slice(&piece[..taken]);
    taken
}

fn skip(left: &mut u64, piece: &[u8]) -> usize {
    let taken = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(piece.len());
    *left -= taken as u64;
    taken
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn limited(what: &'static str, size: u64, limit: u64) -> Result<Vec<u8>, Error> {
    if size > limit {
        Err(Error::TooLarge(what, size, limit))
    } else {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use tar::Header as Written;

    use super::*;

    const MANIFEST: &[u8] = br#"{"slug": "abc", "name": "n", "date": "2026-11-20T00:00:00+00:00"}"#;

    fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, data: &[u8]) {
        let mut header = Written::new_ustar();
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

    fn head(kind: u8, name: &str, size: u64) -> Vec<u8> {
        let mut header = Written::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.as_mut_bytes()[156] = kind;
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn padded(data: &[u8]) -> Vec<u8> {
        let mut padded = data.to_vec();
        padded.resize(data.len().next_multiple_of(BLOCK), 0);
        padded
    }

    fn entry(kind: u8, name: &str, data: &[u8]) -> Vec<u8> {
        [head(kind, name, data.len() as u64), padded(data)].concat()
    }

    fn pax(records: &str) -> Vec<u8> {
        entry(b'x', "pax", records.as_bytes())
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
            assert!(
                matches!(walk(&tar[..end], 100), Err(Error::Truncated)),
                "{end}"
            );
        }
        let mut damaged = tar.clone();
        damaged[5] ^= 1;
        assert!(matches!(walk(&damaged, 100), Err(Error::BadHeader(0))));
        assert!(matches!(walk(&[b'x'; 2048], 512), Err(Error::BadHeader(0))));
        assert!(matches!(
            walk(&backup(b"[]"), 100),
            Err(Error::BadManifest(_))
        ));
        assert!(matches!(walk(&[0; 1024], 100), Err(Error::NoManifest)));
    }

    #[test]
    fn what_lost_home_assistant_on_the_way_is_refused() {
        let manifest = br#"{"slug": "abc", "name": "n", "date": "2026-11-20T00:00:00+00:00",
            "homeassistant": {"version": "2026.11.0"}}"#;
        let first = entry(b'0', "./backup.json", manifest);
        for (name, is_there) in [
            ("./homeassistant.tar.gz", true),
            ("homeassistant.tgz", true),
            ("./homeassistant.tar", true),
            ("./ssl.tar.gz", false),
            ("./x/homeassistant.tar.gz", false),
        ] {
            let walked = walk(
                &[&*first, &entry(b'0', name, b"data"), &[0; 1024]].concat(),
                512,
            );
            assert_eq!(walked.is_ok(), is_there, "{name}: {walked:?}");
            assert!(
                is_there || matches!(walked, Err(Error::NoHomeAssistant)),
                "{name}: {walked:?}"
            );
        }
    }

    #[test]
    fn a_huge_manifest_is_refused_before_it_is_read() {
        let header = head(b'0', "backup.json", 1 << 40);
        assert!(matches!(
            walk(&header, 512),
            Err(Error::TooLarge("backup.json", ..))
        ));
        for kind in [b'x', b'g', b'X'] {
            assert!(matches!(
                walk(&head(kind, "pax", 1 << 30), 512),
                Err(Error::TooLarge("pax header", ..))
            ));
        }
    }

    #[test]
    fn a_pax_header_gives_the_size_that_the_header_has_no_room_for() {
        let tar = [
            pax("12 size=600\n"),
            entry(b'0', "big", &[1; 600]),
            backup(MANIFEST),
        ]
        .concat();
        let mut without = tar.clone();
        // The size in the header itself is of no importance then.
        without[1024..1536].copy_from_slice(&head(b'0', "big", 0));
        for tar in [tar, without] {
            assert_eq!(walk(&tar, 333).unwrap().backup_id(), "abc");
        }
    }

    #[test]
    fn the_manifest_is_found_by_any_name_that_home_assistant_knows_it_by() {
        for before in [
            pax("22 path=./backup.json\n"),
            entry(b'L', "././@LongLink", b"./backup.json\0"),
        ] {
            let tar = [before, entry(b'0', "something", MANIFEST), vec![0; 1024]].concat();
            assert_eq!(walk(&tar, 512).unwrap().backup_id(), "abc");
        }
        for before in [
            pax("9 path=a\n"),
            entry(b'L', "././@LongLink", &[b'x'; 5000]),
        ] {
            let tar = [
                before,
                entry(b'0', "./backup.json", MANIFEST),
                vec![0; 1024],
            ]
            .concat();
            assert!(
                matches!(walk(&tar, 512), Err(Error::NoManifest)),
                "its name is another one"
            );
        }
        let mut header = Written::new_ustar();
        header.set_path("backup.json").unwrap();
        header.as_ustar_mut().unwrap().prefix[0] = b'.';
        header.set_size(MANIFEST.len() as u64);
        header.set_cksum();
        let tar = [header.as_bytes(), &padded(MANIFEST)[..], &[0; 1024]].concat();
        assert_eq!(
            walk(&tar, 512).unwrap().backup_id(),
            "abc",
            "half of the name is in the prefix"
        );
    }

    #[test]
    fn what_two_readers_see_differently_is_refused() {
        let (one, two) = (
            entry(b'0', "./backup.json", MANIFEST),
            entry(b'0', "backup.json", MANIFEST),
        );
        assert!(matches!(
            walk(&[&*one, &two].concat(), 512),
            Err(Error::TwoManifests)
        ));
        let name = || entry(b'L', "././@LongLink", b"./backup.json\0");
        for (what, tar) in [
            ("a folder with data", entry(b'5', "./backup.json", MANIFEST)),
            ("a link with data", entry(b'2', "x", b"data")),
            ("an old folder with data", entry(0, "x/", b"data")),
            (
                "a link that a pax header gives data",
                [pax("11 size=60\n"), entry(b'1', "x", b"")].concat(),
            ),
            ("a sparse file", entry(b'S', "x", b"data")),
            (
                "a sparse file of the newer kind",
                [pax("22 GNU.sparse.major=1\n"), one.clone()].concat(),
            ),
            (
                "a pax header that cannot be read",
                [pax("99 size=600\n"), one.clone()].concat(),
            ),
            (
                "a pax header for all",
                [entry(b'g', "pax", b"11 size=60\n"), one.clone()].concat(),
            ),
            (
                "two pax headers",
                [pax("11 size=60\n"), pax("11 size=61\n")].concat(),
            ),
            ("two names", [name(), name()].concat()),
            ("a name of each kind", [name(), pax("9 path=a\n")].concat()),
        ] {
            let tar = [&*tar, &one, &[0; 1024]].concat();
            assert!(
                matches!(walk(&tar, 512), Err(Error::Unusual(_))),
                "{what}: {:?}",
                walk(&tar, 512)
            );
        }
        let link = [entry(b'2', "backup.json", b""), backup(MANIFEST)].concat();
        assert_eq!(
            walk(&link, 512).unwrap().backup_id(),
            "abc",
            "a link of that name is no manifest"
        );
    }

    #[test]
    fn a_file_is_read_as_a_stream_is() {
        let large = entry(b'0', "./large", &vec![1; 200_000]);
        let tar = [large, backup(MANIFEST)].concat();
        let read = |tar: &[u8]| super::super::read_manifest(std::io::Cursor::new(tar));
        assert_eq!(read(&tar).unwrap().backup_id(), "abc");
        assert!(matches!(read(&tar[..100_000]), Err(Error::Truncated)));
        assert!(matches!(
            read(&tar[..tar.len() - 1024]),
            Err(Error::Truncated)
        ));
        assert!(matches!(read(b"no tar"), Err(Error::Truncated)));
        assert!(matches!(
            read(&head(b'0', "huge", (1 << 36) - 1)),
            Err(Error::Truncated)
        ));
        // Names that go on for gigabytes are not taken into memory.
        assert!(matches!(
            read(&head(b'L', "././@LongLink", (1 << 36) - 1)),
            Err(Error::Truncated)
        ));
    }
}
