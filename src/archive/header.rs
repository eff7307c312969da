//! One tar header, read as strictly as Home Assistant's own reader. A header that two readers understand differently
//! is refused: it could be one backup here and another one there.
//!
//! Sources: POSIX.1-2017, `pax`, "ustar Interchange Format"; `TarInfo` in Python's `tarfile`, with which Home
//! Assistant and Supervisor read backups.

use tar::EntryType;

/// Bytes of a header block.
pub(super) const BLOCK: usize = 512;

/// A header's type, size and name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes of data after the header.
    pub(super) size: u64,
    pub(super) name: Vec<u8>,
}

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file, or an unknown type that stores its data like a file.
    File,
    /// A folder, a link or a device. Readers disagree on whether its data follows, so it must have none.
    Empty,
    /// A sparse file, which every reader expands in its own way.
    Sparse,
    /// A pax header, which extends the next entry's header.
    Pax,
    /// A pax header for all entries that follow.
    GlobalPax,
    /// The name of the next entry (GNU).
    LongName,
    /// The link target of the next entry (GNU).
    LongLink,
}

impl Header {
    /// Parses a block of [`BLOCK`] bytes; `None` when its checksum or size is invalid.
    pub(super) fn read(block: &[u8]) -> Option<Self> {
        let header = tar::Header::from_byte_slice(block);
        let fields = header.as_old();
        let mut expected = header.clone();
        expected.set_cksum();
        if number(&fields.cksum)? != number(&expected.as_old().cksum)? {
            return None;
        }
        let name = name(block);
        let kind = match header.entry_type() {
            // Tars older than ustar mark a folder by its name alone.
            EntryType::Regular if fields.linkflag == [0] && name.ends_with(b"/") => Kind::Empty,
            EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo => Kind::Empty,
            EntryType::GNUSparse => Kind::Sparse,
            EntryType::XHeader => Kind::Pax,
            // Solaris' name for a pax header.
            other if other.as_byte() == b'X' => Kind::Pax,
            EntryType::XGlobalHeader => Kind::GlobalPax,
            EntryType::GNULongName => Kind::LongName,
            EntryType::GNULongLink => Kind::LongLink,
            _ => Kind::File,
        };
        Some(Self {
            kind,
            size: number(&fields.size)?,
            name,
        })
    }
}

/// The role of an entry in a backup, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `backup.json`.
    Manifest,
    /// The archive of Home Assistant's configuration folder.
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

/// Returns a field's bytes before its first zero.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Joins prefix and name for every format, as `tarfile` does; the `tar` crate does so for ustar only.
fn name(block: &[u8]) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = text(&block[345..500]);
    if prefix.is_empty() {
        name.to_vec()
    } else {
        [prefix, b"/", name].concat()
    }
}

/// Parses octal digits or, when the first bit is set, a binary number. The `tar` crate also accepts signs and ignores
/// high bytes, which other readers do not.
pub(super) fn number(field: &[u8]) -> Option<u64> {
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
        let (mark, rest) = high.split_first()?;
        let is_small = *mark == 0x80 && rest.iter().all(|&byte| byte == 0);
        is_small.then(|| u64::from_be_bytes(*low))?
    };
    i64::try_from(number).is_ok().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_octal_and_positive_binary_sizes_are_accepted() {
        for (field, size) in [
            (&b"00000001750\0"[..], Some(1000)),
            (b"       1750 ", Some(1000)),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", Some(0)),
            (b"777777777777", Some((1 << 36) - 1)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(1 << 33)),
            // Negative, too large, or a number to some readers only.
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
