//! Bytes, times and hashes as text.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, SecondsFormat, Utc};

/// One kibibyte, in bytes.
pub(crate) const KIB: u64 = 1024;
/// One mebibyte, in bytes.
pub(crate) const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// One hour, in seconds.
pub(crate) const HOUR: u64 = 60 * 60;
/// One day, in seconds.
pub(crate) const DAY: u64 = 24 * HOUR;

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The SHA-256 in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes))
}

/// RFC 3339 in UTC, to the second.
pub(crate) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc3339_millis(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Bytes written as `8388608` or `8 MiB`; a rate may end in `/s`.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit.trim_end_matches("/s") {
        "" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Seconds written as hours or days: `12h`, `7d`.
pub(crate) fn parse_hours(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Bytes in the largest unit that leaves no remainder.
pub(crate) fn format_bytes(bytes: u64) -> String {
    for (unit, name) in [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
        if bytes > 0 && bytes.is_multiple_of(unit) {
            return format!("{} {name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// Seconds as whole days where possible, otherwise as hours.
pub(crate) fn format_hours(seconds: u64) -> String {
    match seconds {
        days if days > 0 && days.is_multiple_of(DAY) => format!("{}d", days / DAY),
        hours => format!("{}h", hours / HOUR),
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates_are_parsed() {
        for (text, bytes) in [
            ("0", 0),
            ("8388608", 8 << 20),
            ("8 MiB", 8 << 20),
            ("2MiB/s", 2 << 20),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
            assert_eq!(parse_bytes(&format_bytes(bytes)), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "8 MB", "-1", "1.5 MiB", "99999999999 GiB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn hours_and_days_are_parsed() {
        for (text, hours) in [("1h", 1), ("12 h", 12), ("7d", 168), ("367d", 8808)] {
            assert_eq!(parse_hours(text), Some(hours * HOUR), "{text}");
            assert_eq!(parse_hours(&format_hours(hours * HOUR)), Some(hours * HOUR));
        }
        for text in [
            "",
            "7",
            "d",
            "1w",
            "-1d",
            "99999999999999999999d",
            "999999999999999999d",
        ] {
            assert_eq!(parse_hours(text), None, "{text}");
        }
    }
}
