//! Sizes and times for people, as good as it goes without knowing where they live; the script writes them as they are used to.

use std::borrow::Borrow;

/// A size in the largest unit that leaves a number of 1 or more.
pub(super) fn size(bytes: impl Borrow<u64>) -> String {
    // The templates hand some values on by reference.
    let bytes = *bytes.borrow();
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = bytes.ilog2() / 10;
    let unit = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][exponent as usize - 1];
    // In tenths, rounded: a float would do the same less exactly.
    let tenths = (u128::from(bytes) * 10 + (1 << (exponent * 10 - 1))) >> (exponent * 10);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// The minute of an ISO 8601 time, or whatever else somebody wrote in its place.
pub(super) fn moment(time: &str) -> String {
    time.get(..16)
        .map_or_else(|| time.to_owned(), |minute| minute.replacen('T', " ", 1))
}

#[cfg(test)]
mod tests {
    use super::{moment, size};

    #[test]
    fn a_time_is_read_without_seconds() {
        assert_eq!(
            moment("2026-11-20T04:47:12.345678+01:00"),
            "2026-11-20 04:47"
        );
        assert_eq!(moment("Tuesday"), "Tuesday");
        assert_eq!(moment("üüüüüüüüüüüüüüüüüüü"), "üüüüüüüü");
    }

    #[test]
    fn a_size_is_short() {
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
