//! Numbers of bytes as people write them.

use std::str::FromStr;

const KIB: u64 = 1024;

/// A number of bytes, written as `8388608` or `8 MiB`; a rate may end in `/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ByteSize(pub(super) u64);

impl FromStr for ByteSize {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(drop)?;
        let unit = match text[digits..].trim_start().trim_end_matches("/s") {
            "" => 1,
            "KiB" => KIB,
            "MiB" => KIB * KIB,
            "GiB" => KIB * KIB * KIB,
            _ => return Err(()),
        };
        number.checked_mul(unit).map(Self).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates() {
        for (text, bytes) in [
            ("0", 0),
            ("8388608", 8 << 20),
            ("8 MiB", 8 << 20),
            ("2MiB/s", 2 << 20),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "8 MB", "-1", "1.5 MiB", "99999999999 GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
