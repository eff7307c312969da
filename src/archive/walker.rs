//! Walks the headers of a tar that arrives in pieces of any size, and keeps only the manifest.

use super::header::{BLOCK, Header, Kind, Role, text};
use super::inventory::{Archive, Archives, FoundArchives, HEAD_BYTES, archive_name};
use super::pax::Pax;
use super::{Error, Manifest};
use crate::backup::Inventory;

/// Limit for the manifest in bytes; real ones have a few KiB, with hundreds of add-ons some hundred KiB.
pub(super) const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// Limit for a pax header in bytes; it holds names, times and sizes.
pub(super) const MAX_PAX_BYTES: u64 = 256 * 1024;

/// Limit for a GNU long name in bytes; a backup's are shorter.
const MAX_NAME_BYTES: u64 = 1024;

/// What the headers of a tar tell.
#[derive(Debug)]
pub struct Contents {
    /// The manifest.
    pub manifest: Manifest,
    /// What the backup lacks; `None` where the tar has more archives than a backup.
    pub inventory: Option<Box<Inventory>>,
}

/// Reader of a tar's headers; its memory is bounded for any input.
#[derive(Debug)]
pub struct Walker {
    state: State,
    offset: u64,
    /// The pax header before the next entry.
    pax: Option<Pax>,
    /// Name of the next entry, from a long name before it; empty if it is too long.
    named: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
    has_home_assistant: bool,
    archives: Archives,
}

#[derive(Debug)]
enum State {
    /// Collecting a header block.
    Header(Vec<u8>),
    /// Inside an entry: bytes of data and padding left, and the data to keep.
    Data {
        left: u64,
        padding: u64,
        keep: Option<(Keep, Vec<u8>)>,
    },
    /// Past the end-of-archive mark.
    End,
}

#[derive(Debug)]
enum Keep {
    Manifest,
    Pax,
    GlobalPax,
    Name,
    /// The first bytes of an archive: its name, and its size in bytes.
    Head(Vec<u8>, u64),
}

impl Default for Walker {
    fn default() -> Self {
        Self {
            state: State::Header(Vec::with_capacity(BLOCK)),
            offset: 0,
            pax: None,
            named: None,
            manifest: None,
            has_home_assistant: false,
            archives: Archives::default(),
        }
    }
}

impl Walker {
    /// Reads the next piece.
    ///
    /// # Errors
    /// When the bytes are not a tar; push no more then.
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

    /// Returns how many of the following bytes are not kept; a seekable source may leave them out by [`Self::skip`].
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

    /// Continues after the [`Self::skippable`] bytes.
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
            *left = 0;
            *padding = 0;
        }
        self.advance()
    }

    /// Returns the archives up to here.
    ///
    /// # Errors
    /// [`Error::TooManyFiles`].
    pub fn archives(&self) -> Result<&[Archive], Error> {
        self.archives.all()
    }

    /// Returns the archives up to here, and whether they are all.
    ///
    /// # Errors
    /// As [`Self::archives`].
    pub fn found(&self) -> Result<FoundArchives, Error> {
        Ok(FoundArchives {
            all: self.archives()?.to_vec(),
            is_complete: self.is_at_end(),
        })
    }

    /// Whether the end-of-archive mark was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Returns the contents after the last piece.
    ///
    /// # Errors
    /// When the tar is truncated, not a backup, or an incomplete one.
    pub fn finish(self) -> Result<Contents, Error> {
        if !matches!(self.state, State::End) {
            return Err(Error::Truncated);
        }
        let manifest = Manifest::parse(&self.manifest.ok_or(Error::NoManifest)?)?;
        // Python reads a damaged header as the end of the tar. Home Assistant then encrypts a shorter tar without an
        // error, and it writes backup.json first.
        if manifest.homeassistant_version().is_some() && !self.has_home_assistant {
            return Err(Error::NoHomeAssistant);
        }
        Ok(Contents {
            inventory: self.archives.inventory(&manifest),
            manifest,
        })
    }

    /// Enters the next state when the current one is complete.
    fn advance(&mut self) -> Result<(), Error> {
        match &mut self.state {
            State::Header(block) if block.len() == BLOCK => {
                let block = std::mem::take(block);
                self.state = self.entry(&block)?;
                // An entry without data has no byte to push.
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
                self.state = match keep.take() {
                    Some((keep, data)) => self.use_kept(keep, data)?,
                    None => State::Header(Vec::with_capacity(BLOCK)),
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// Uses the data kept of an entry, and returns the next state.
    fn use_kept(&mut self, keep: Keep, data: Vec<u8>) -> Result<State, Error> {
        match keep {
            Keep::Manifest => self.manifest = Some(data),
            Keep::Name => self.named = Some(text(&data).to_vec()),
            Keep::Head(name, size) => {
                let start = self.offset - data.len() as u64;
                self.archives.add(&name, start, size, &data);
                return Ok(State::Data {
                    left: size - data.len() as u64,
                    padding: padding(size),
                    keep: None,
                });
            }
            Keep::Pax => {
                self.pax = Some(
                    Pax::read(&data)
                        .filter(|pax| !pax.is_sparse)
                        .ok_or(self.unusual())?,
                );
            }
            // Not every reader supports global headers.
            Keep::GlobalPax if !Pax::read(&data).is_some_and(|pax| pax.is_harmless()) => {
                return Err(self.unusual());
            }
            Keep::GlobalPax => {}
        }
        Ok(State::Header(Vec::with_capacity(BLOCK)))
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
                self.named = Some(Vec::new());
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

    /// Enters an ordinary entry; headers before it may override its name and size.
    fn file(&mut self, header: &Header) -> Result<State, Error> {
        let pax = self.pax.take().unwrap_or_default();
        let named = self.named.take();
        let size = pax.size.unwrap_or(header.size);
        let is_file = header.kind == Kind::File;
        if !is_file && size > 0 {
            return Err(self.unusual());
        }
        let name = named.as_ref().or(pax.name.as_ref()).unwrap_or(&header.name);
        let keep = match (Role::of(name), archive_name(name)) {
            _ if !is_file => None,
            (Role::Manifest, _) if self.manifest.is_some() => return Err(Error::TwoManifests),
            (Role::Manifest, _) => {
                let data = limited("backup.json", size, MAX_MANIFEST_BYTES)?;
                Some((Keep::Manifest, data))
            }
            (role, Some(archive)) => {
                self.has_home_assistant |= role == Role::HomeAssistant;
                return Ok(State::Data {
                    left: size.min(HEAD_BYTES),
                    padding: 0,
                    keep: Some((Keep::Head(archive.to_vec(), size), Vec::new())),
                });
            }
            _ => None,
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
mod tests;
