//! One header of a tar, read as Home Assistant reads it: what two readers see differently could be one backup here and
//! another one there, so it is refused.
//!
//! Sources: POSIX.1-2017, `pax`, "ustar Interchange Format"; `TarInfo` in Python's `tarfile`, which Home Assistant and
//! Supervisor read backups with.

/// Bytes of a header.
pub(super) const BLOCK: usize = 512;

/// What a header announces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes of data after it.
    pub(super) size: u64,
    pub(super) name: Vec<u8>,
}

/// What its entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file, or something that nobody knows and that has its data here, too.
    File,
    /// A folder, a link or a device: some readers skip its data and some do not, so it may have none.
    Empty,
    /// A file with holes, which every reader fills in a way of its own.
    Sparse,
    /// What goes before an entry, and says of it what has no room in its header.
    Pax,
    /// The same for all entries that follow.
    GlobalPax,
    /// The name of the next entry.
    LongName,
    /// Where the next entry, a link, leads to.
    LongLink,
}

impl Header {
    /// Reads a block; `None` when it is not a header.
    pub(super) fn read(block: &[u8]) -> Option<Self> {
        if number(&block[148..156])? != checksum(block) {
            return None;
        }
        let name = name(block);
        let kind = match block[156] {
            // Before there was a type for folders.
            0 if name.ends_with(b"/") => Kind::Empty,
            b'1'..=b'6' => Kind::Empty,
            b'S' => Kind::Sparse,
            b'x' | b'X' => Kind::Pax,
            b'g' => Kind::GlobalPax,
            b'L' => Kind::LongName,
            b'K' => Kind::LongLink,
            _ => Kind::File,
        };
        Some(Self {
            kind,
            size: number(&block[124..136])?,
            name,
        })
    }
}

/// What an entry is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `backup.json`.
    Manifest,
    /// The tar with Home Assistant's own folder.
    HomeAssistant,
    Other,
}

impl Role {
    /// Sources: `read_backup` and `_encrypt_backup` in `homeassistant/components/backup/util.py`.
    pub(super) fn of(name: &[u8]) -> Self {
        match name.strip_prefix(b"./").unwrap_or(name) {
            b"backup.json" => Self::Manifest,
            b"homeassistant.tar" | b"homeassistant.tgz" | b"homeassistant.tar.gz" => {
                Self::HomeAssistant
            }
            _ => Self::Other,
        }
    }
}

/// Up to the first zero.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn name(block: &[u8]) -> Vec<u8> {
    let (name, folder) = (text(&block[..100]), text(&block[345..500]));
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}

/// A number in octal digits, or, when its first bit is set, in binary.
fn number(field: &[u8]) -> Option<u64> {
    let number = if field[0] & 0x80 == 0 {
        let digits = text(field).trim_ascii();
        let is_octal = digits.iter().all(|byte| matches!(byte, b'0'..=b'7'));
        let digits = std::str::from_utf8(digits).ok().filter(|_| is_octal)?;
        if digits.is_empty() {
            0
        } else {
            u64::from_str_radix(digits, 8).ok()?
        }
    } else {
        let (high, low) = field.split_last_chunk()?;
        let is_small = high
            .iter()
            .enumerate()
            .all(|(index, &byte)| byte == if index == 0 { 0x80 } else { 0 });
        is_small.then(|| u64::from_be_bytes(*low))?
    };
    i64::try_from(number).is_ok().then_some(number)
}

/// The sum of all bytes, those of the checksum itself counted as spaces.
fn checksum(block: &[u8]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_octal_or_binary_and_never_something_else() {
        for (field, size) in [
            (&b"00000001750\0"[..], Some(1000)),
            (b"       1750 ", Some(1000)),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", Some(0)),
            (b"777777777777", Some((1 << 36) - 1)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(1 << 33)),
            // Negative, too large, and what only some readers take for a number.
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\xff\0\0\0\0\0\0\0", None),
            (b"-0000001750\0", None),
            (b"+0000001750\0", None),
            (b"0o000001750\0", None),
            (b"00000001790\0", None),
        ] {
            assert_eq!(number(field), size, "{field:?}");
        }
    }
}
