//! The records of a pax header that change how the next entry is read.
//!
//! Source: POSIX.1-2017, `pax`, "pax Extended Header": records of `LENGTH KEY=VALUE\n`; the last
//! record of a key wins. The `tar` crate splits records at line ends, but a value may hold one.

/// The records that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    /// Size of the entry's data in bytes; the header's own field ends at 8 GiB.
    pub(super) size: Option<u64>,
    /// The entry's name.
    pub(super) name: Option<Vec<u8>>,
    /// The path that the entry links to.
    pub(super) link: Option<Vec<u8>>,
    /// Whether the entry is a sparse file.
    pub(super) is_sparse: bool,
}

impl Pax {
    /// Parses all records; `None` when one is malformed.
    pub(super) fn read(mut records: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        while !records.is_empty() {
            let space = records.iter().position(|&byte| byte == b' ')?;
            let record = records.split_off(..decimal(&records[..space])?)?;
            let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            pax.note(&record[..equals], &record[equals + 1..])?;
        }
        Some(pax)
    }

    fn note(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"size" => self.size = Some(u64::try_from(decimal(value)?).ok()?),
            b"path" => self.name = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            _ => self.is_sparse |= key.starts_with(b"GNU.sparse."),
        }
        Some(())
    }

    /// Whether no record changes how entries are read.
    pub(super) fn is_harmless(&self) -> bool {
        *self == Self::default()
    }
}

/// Parses plain digits into a number that every reader can hold.
fn decimal(digits: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits
        .parse()
        .ok()
        .filter(|number| isize::try_from(*number).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_length_decides_where_a_record_ends() {
        let pax = Pax::read(b"12 size=600\n29 mtime=1.5\n12 size=9999999\n22 path=./backup.json\n")
            .unwrap();
        assert_eq!(
            (pax.size, pax.name.as_deref()),
            (Some(600), Some(&b"./backup.json"[..])),
            "a value may hold a line"
        );
        assert!(Pax::read(b"20 comment=whatever\n").unwrap().is_harmless());
        assert!(Pax::read(b"22 GNU.sparse.major=1\n").unwrap().is_sparse);
    }

    #[test]
    fn ambiguous_records_are_refused() {
        for records in [
            &b"12 size=600"[..],
            b"11 size=600\n",
            b"13 size=600\n",
            b"0 size=600\n",
            b"3 size=600\n",
            b"99999999999999999999999 size=600\n",
            b"size=600\n",
            b"13 size=+600\n",
            b"13 size=-600\n",
            b"32 size=99999999999999999999999\n",
            b"7 size\n",
            b"\0\0",
        ] {
            assert_eq!(
                Pax::read(records),
                None,
                "{:?}",
                String::from_utf8_lossy(records)
            );
        }
    }
}
