//! What a pax header says of the entry after it, as far as it changes what is read.
//!
//! Source: POSIX.1-2017, `pax`, "pax Extended Header": records of `LENGTH KEY=VALUE\n`, of which the last one counts.

/// What it says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    /// The size of the entry's data, where the header has no room for it (8 GiB).
    pub(super) size: Option<u64>,
    /// The entry's name.
    pub(super) name: Option<Vec<u8>>,
    /// The entry has holes.
    pub(super) is_sparse: bool,
}

impl Pax {
    /// Reads all records; `None` when one of them cannot be read.
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
            _ => self.is_sparse |= key.starts_with(b"GNU.sparse."),
        }
        Some(())
    }

    /// Whether it changes nothing of what is read.
    pub(super) fn is_harmless(&self) -> bool {
        *self == Self::default()
    }
}

/// Digits alone, and a number that every reader can hold.
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
    fn records_are_as_long_as_they_say() {
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
    fn what_readers_could_take_differently_is_refused() {
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
