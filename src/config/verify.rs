//! Whether a location's backups are verified by themselves, and how.

use std::str::FromStr;
use std::time::Duration;

use super::reader::Reader;

const HOUR: u64 = 60 * 60;

/// Verifying on a schedule. It is off unless somebody asks for it: reading costs egress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verify {
    /// How often.
    pub every: Duration,
    /// How many backups each time, those that were not verified for the longest time first; all without it.
    pub sample: Option<usize>,
    /// Whether they are read whole.
    pub full: bool,
}

impl Verify {
    pub(super) fn read(section: &mut Reader<'_>) -> Option<Self> {
        let every = section
            .parsed(
                "verify_every",
                "a time such as \"7d\" or \"12h\", or \"off\"",
            )
            .map(|Every(every)| every);
        let sample = section
            .parsed("verify_sample", "a number of backups, or \"all\"")
            .unwrap_or(Sample(Some(1)));
        let full = section
            .parsed("verify_mode", "\"full\" or \"quick\"")
            .is_none_or(|Full(full)| full);
        Some(Self {
            every: every.flatten()?,
            sample: sample.0,
            full,
        })
    }
}

/// `12h`, `7d`, or nothing for `off`.
struct Every(Option<Duration>);

/// A number, or nothing for `all`.
struct Sample(Option<usize>);

struct Full(bool);

impl FromStr for Every {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if matches!(text, "off" | "0") {
            return Ok(Self(None));
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(drop)?;
        let hours = match text[digits..].trim_start() {
            "h" => number,
            "d" => number.checked_mul(24).ok_or(())?,
            _ => return Err(()),
        };
        // More often would only cost; more rarely than once a year is no schedule.
        if (1..=366 * 24).contains(&hours) {
            Ok(Self(Some(Duration::from_secs(hours * HOUR))))
        } else {
            Err(())
        }
    }
}

impl FromStr for Sample {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "all" => Ok(Self(None)),
            number => number
                .parse()
                .ok()
                .filter(|number| *number > 0)
                .map(|number| Self(Some(number)))
                .ok_or(()),
        }
    }
}

impl FromStr for Full {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "full" => Ok(Self(true)),
            "quick" => Ok(Self(false)),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_hours_and_days() {
        for (text, hours) in [("1h", 1), ("12 h", 12), ("7d", 168), ("366d", 8784)] {
            let Every(every) = text.parse().ok().unwrap();
            assert_eq!(every, Some(Duration::from_secs(hours * HOUR)), "{text}");
        }
        assert!(matches!("off".parse(), Ok(Every(None))));
        for text in [
            "",
            "7",
            "d",
            "0d",
            "1w",
            "-1d",
            "367d",
            "99999999999999999999d",
            "999999999999999999d",
        ] {
            assert!(text.parse::<Every>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_sample_is_a_number_or_all() {
        assert!(
            matches!("3".parse(), Ok(Sample(Some(3)))) && matches!("all".parse(), Ok(Sample(None)))
        );
        for text in ["0", "-1", "some", ""] {
            assert!(text.parse::<Sample>().is_err(), "{text}");
        }
    }
}
