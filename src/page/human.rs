//! Sizes and times without the visitor's locale; the script localises them.

use std::borrow::Borrow;

/// Formats a size in the largest unit that keeps the number at 1 or more.
pub(super) fn size(bytes: impl Borrow<u64>) -> String {
    // The templates pass some values by reference.
    let bytes = *bytes.borrow();
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = bytes.ilog2() / 10;
    let unit = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][exponent as usize - 1];
    // Tenths in integers: a float would round less exactly.
    let tenths = (u128::from(bytes) * 10 + (1 << (exponent * 10 - 1))) >> (exponent * 10);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Shortens an ISO 8601 time to the minute; returns any other text unchanged.
pub(super) fn moment(time: &str) -> String {
    time.get(..16)
        .map_or_else(|| time.to_owned(), |minute| minute.replacen('T', " ", 1))
}

#[cfg(test)]
mod tests {
    use super::{moment, size};

    #[test]
    fn time_is_shortened_to_the_minute() {
        assert_eq!(
            moment("2026-11-20T04:47:12.345678+01:00"),
            "2026-11-20 04:47"
        );
        assert_eq!(moment("Tuesday"), "Tuesday");
        assert_eq!(moment("üüüüüüüüüüüüüüüüüüü"), "üüüüüüüü");
    }

    #[test]
    fn size_is_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (50 << 20, "50.0 MiB"),
            (1_234_567_890, "1.1 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
