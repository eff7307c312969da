//! Bytes, times and hashes as text.

use std::fmt::Write;
use std::time::Duration;

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

/// Formats a duration for people, in its two largest units.
pub(crate) fn lasting(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// Bytes as users write them: `8388608`, `8 MiB`, `15 MB`, `1.5 gb`. `k`, `M` and `G` alone are decimal, as providers and
/// operating systems mean them.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    bytes_of(number, unit)
}

/// Bytes per second: as [`parse_bytes`], with or without `/s`, or in bits as lines are sold: `8 Mbit/s`, `20 Mbps`.
pub(crate) fn parse_rate(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    // `Mb/s` means bits to some and bytes to others, and is refused.
    if let Some(bytes) = unit.strip_suffix("Bps") {
        return bytes_of(number, bytes);
    }
    let is_unclear = ["kb/s", "Kb/s", "Mb/s", "Gb/s"].contains(&unit);
    let lower = unit.to_ascii_lowercase();
    let bits = ["bit/s", "bits/s", "bit", "bps"]
        .into_iter()
        .find_map(|ending| lower.strip_suffix(ending));
    match bits {
        _ if is_unclear => None,
        Some(prefix) => bytes_of(number, prefix).and_then(|bits| some(number, bits / 8)),
        None => bytes_of(number, lower.strip_suffix("/s").unwrap_or(unit)),
    }
}

/// Bytes that are not rounded to none, which would be no limit.
fn some(thousandths: u128, bytes: u64) -> Option<u64> {
    (bytes > 0 || thousandths == 0).then_some(bytes)
}

/// A number of bytes with the unit `MiB`, `MB` or `M`, in any case.
fn bytes_of(thousandths: u128, unit: &str) -> Option<u64> {
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "ki" | "kib" => KIB,
        "mi" | "mib" => MIB,
        "gi" | "gib" => GIB,
        _ => return None,
    };
    scaled(thousandths, factor)
}

/// Seconds written as hours or days: `12h`, `7d`.
pub(crate) fn parse_hours(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    scaled(number, factor)
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

fn scaled(thousandths: u128, factor: u64) -> Option<u64> {
    let product = thousandths.checked_mul(u128::from(factor))?;
    some(thousandths, u64::try_from(product / 1000).ok()?)
}

/// A number in thousandths, with a decimal point or comma, and the unit after it. One before three digits may separate
/// thousands instead, and is refused.
fn number_and_unit(text: &str) -> Option<(u128, &str)> {
    let end = text.find(|letter: char| !matches!(letter, '0'..='9' | '.' | ','));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let (whole, decimals) = match number.split_once(['.', ',']) {
        Some((whole, decimals)) => {
            let is_fine = (1..=2).contains(&decimals.len());
            (whole, is_fine.then_some(decimals)?)
        }
        None => (number, ""),
    };
    let thousandths: u128 = format!("{whole}{decimals:0<3}").parse().ok()?;
    (!whole.is_empty()).then(|| (thousandths, unit.trim_start()))
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
            ("1.5 MiB", 3 << 19),
            ("15 MB", 15_000_000),
            ("0.25GB", 250_000_000),
            ("1,5 kb", 1500),
            ("16 M", 16_000_000),
            ("100 B", 100),
        ] {
            let rate = parse_rate(text);
            assert_eq!(
                (parse_bytes(text).or(rate), rate),
                (Some(bytes), Some(bytes))
            );
            assert_eq!(parse_bytes(&format_bytes(bytes)), Some(bytes), "{text}");
        }
        for (text, bytes) in [
            ("4 MB/s", 4_000_000),
            ("8 Mbit/s", 1_000_000),
            ("20 Mbps", 2_500_000),
            ("1.5 MiBit/s", 196_608),
            ("500 kbit", 62_500),
            ("2 MBps", 2_000_000),
        ] {
            assert_eq!((parse_bytes(text), parse_rate(text)), (None, Some(bytes)));
        }
        for text in [
            "",
            "MiB",
            "abc",
            "-1",
            "1,500 MiB",
            "20.000 KB",
            "16 Mb/s",
            "0.5",
            "7 bit/s",
            "1.2.3 MB",
            ".5 MB",
            "1. MB",
            "8 TB/h",
            "99999999999 GiB",
            "99999999999999999999999999999999999999999999",
        ] {
            assert_eq!(
                (parse_bytes(text), parse_rate(text)),
                (None, None),
                "{text}"
            );
        }
    }

    #[test]
    fn hours_and_days_are_parsed() {
        for (text, hours) in [
            ("1h", 1),
            ("12 h", 12),
            ("7d", 168),
            ("1.5d", 36),
            ("367d", 8808),
        ] {
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
