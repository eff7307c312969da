//! The date of a backup.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};

/// Forms of a date with a time zone, besides RFC 3339.
const ZONED: [&str; 4] = [
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M%#z",
    "%Y%m%dT%H%M%S%.f%#z",
    "%Y%m%dT%H%M%#z",
];

/// Forms of a date without one.
const LOCAL: [&str; 4] = [
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y%m%dT%H%M%S%.f",
    "%Y%m%dT%H%M",
];

/// Parses the date of a backup in any form of ISO 8601 that HA reads, with UTC as the default time zone.
///
/// Source: `parse_datetime` in `homeassistant/util/dt.py`.
#[must_use]
pub fn parse_date(text: &str) -> Option<DateTime<FixedOffset>> {
    if let Ok(date) = DateTime::parse_from_rfc3339(text) {
        return Some(date);
    }
    let text = text.replacen(' ', "T", 1);
    let zoned = |form| DateTime::parse_from_str(&text, form).ok();
    let local = |form| NaiveDateTime::parse_from_str(&text, form).ok();
    let day = || {
        let day = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?;
        Some(day.and_time(NaiveTime::MIN))
    };
    ZONED.into_iter().find_map(zoned).or_else(|| {
        let date = LOCAL.into_iter().find_map(local).or_else(day)?;
        Some(date.and_utc().fixed_offset())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_iso_8601_form_of_home_assistant_is_parsed() {
        for (text, expected) in [
            (
                "2026-11-20T21:03:36.123456+01:00",
                "2026-11-20T20:03:36.123456Z",
            ),
            ("2026-11-20 21:03:36.5-0330", "2026-11-21T00:33:36.5Z"),
            ("2026-11-20T21:03:36+01", "2026-11-20T20:03:36Z"),
            ("2026-11-20T21:03Z", "2026-11-20T21:03:00Z"),
            ("2026-11-20T21:03:36", "2026-11-20T21:03:36Z"),
            ("2026-11-20 21:03", "2026-11-20T21:03:00Z"),
            ("20261120T210336Z", "2026-11-20T21:03:36Z"),
            ("20261120T210336", "2026-11-20T21:03:36Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
        ] {
            let expected = DateTime::parse_from_rfc3339(expected).unwrap();
            assert_eq!(parse_date(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_date() {
        for text in [
            "",
            " ",
            "yesterday",
            "2026",
            "1763672616",
            "20.11.2026",
            "2026-13-20T21:03:36Z",
            "2026-11-20T25:03:36Z",
            "2026-11-20T21:03:36Z and more",
            "T",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
