//! Sizes and times without the visitor's locale; the script localises them.

use std::borrow::Borrow;

use super::escape::{Own, Piece};
use crate::backup::parse_date;

/// Formats a size in the largest unit that keeps the number at 1 or more.
pub(super) fn size(bytes: impl Borrow<u64>) -> Own {
    // The templates pass some values by reference.
    let bytes = *bytes.borrow();
    if bytes < 1024 {
        return Own::new(format!("{bytes} B"));
    }
    let exponent = bytes.ilog2() / 10;
    let unit = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][exponent as usize - 1];
    // Tenths in integers: a float would round less exactly.
    let tenths = (u128::from(bytes) * 10 + (1 << (exponent * 10 - 1))) >> (exponent * 10);
    Own::new(format!("{}.{} {unit}", tenths / 10, tenths % 10))
}

/// Formats a duration in its largest unit, rounded up.
pub(super) fn duration(seconds: impl Borrow<u64>) -> Own {
    let seconds = *seconds.borrow();
    Own::new(match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    })
}

/// Shortens an ISO 8601 time to the minute; returns any other text unchanged.
pub(super) fn moment(time: &str) -> Piece {
    match time.get(..16) {
        Some(minute) if parse_date(time).is_some() => {
            Piece::Own(Own::new(minute.replacen('T', " ", 1)))
        }
        _ => Piece::Value(time.to_owned()),
    }
}

/// An ISO 8601 time as it is, or another text from outside.
pub(super) fn stamp(time: &str) -> Piece {
    match parse_date(time) {
        Some(_) => Piece::Own(Own::new(time)),
        None => Piece::Value(time.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, moment, size, stamp};

    #[test]
    fn time_is_shortened_to_the_minute() {
        for (time, text) in [
            ("2026-11-20T04:47:12.345678+01:00", "2026-11-20 04:47"),
            ("2026-11-20", "2026-11-20"),
            ("Tuesday", "Tuesday"),
            ("üüüüüüüüüüüüüüüüüüü", "üüüüüüüüüüüüüüüüüüü"),
        ] {
            assert_eq!(moment(time).to_string(), text);
            assert_eq!(stamp(time).to_string(), time);
        }
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
            assert_eq!(size(bytes).as_str(), text);
        }
    }

    #[test]
    fn duration_is_rounded_up_to_the_minute() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "2 min"),
            (3600, "1 h 0 min"),
            (7384, "2 h 3 min"),
        ] {
            assert_eq!(duration(seconds).as_str(), text);
        }
    }
}
