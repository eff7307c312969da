//! Keys in a listing that the server says are encoded (`EncodingType` is `url`).
//!
//! The encoding is a form's: a space arrives as `+`, a plus sign as `%2B`. Some servers leave a plus sign as it is, and
//! some encode nothing. Which one a server does is learned from a key whose readings differ: only one of them exists.

use object_store::path::Path;
use percent_encoding::percent_decode_str;

use crate::store::key::Key;

/// A way to read such a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As specified.
    Form,
    /// `+` is a plus sign.
    Percent,
    /// Nothing is encoded.
    Raw,
}

/// The readings that fit all keys so far; the first one is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Readings(Vec<Reading>);

impl Default for Readings {
    fn default() -> Self {
        Self(vec![Reading::Form, Reading::Percent, Reading::Raw])
    }
}

impl Readings {
    /// Decodes a key.
    pub(in crate::store) fn decode(&self, shown: &str) -> Option<String> {
        self.0.iter().find_map(|reading| reading.decode(shown))
    }

    /// The different keys that this one may be; one that no client can address is left out.
    pub(super) fn keys(&self, shown: &str) -> Vec<Key> {
        let mut keys = Vec::new();
        let read = self.0.iter().filter_map(|reading| reading.decode(shown));
        for key in read.filter_map(addressable) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// Keeps the readings that lead from `shown` to a key that exists. Returns whether the specified one is ruled out.
    pub(super) fn keep(&mut self, shown: &str, found: &Key) -> bool {
        let leads = |reading: &Reading| reading.decode(shown).as_deref() == Some(found.as_str());
        // Another listing may have learned in the meantime.
        if self.0.iter().any(leads) {
            self.0.retain(leads);
        }
        self.0.first() != Some(&Reading::Form)
    }
}

impl Reading {
    fn decode(self, shown: &str) -> Option<String> {
        let text = match self {
            Self::Raw => return Some(shown.to_owned()),
            Self::Percent => shown.to_owned(),
            Self::Form => shown.replace('+', " "),
        };
        let decoded = percent_decode_str(&text).decode_utf8().ok()?;
        Some(decoded.into_owned())
    }
}

/// Drops a key that `object_store` would not send back unchanged.
pub(super) fn addressable(key: String) -> Option<Key> {
    let is_addressable = Path::parse(&key).is_ok_and(|path| path.as_ref() == key);
    is_addressable.then(|| Key::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(shown: &str) -> Vec<String> {
        let keys = Readings::default().keys(shown);
        keys.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_keys_that_may_be_encoded_have_several_readings() {
        assert_eq!(keys("backups/a_b.tar"), ["backups/a_b.tar"]);
        assert_eq!(keys("50%.tar"), ["50%.tar"]);
        assert_eq!(keys("a b ä.tar"), ["a b ä.tar"]);
        assert_eq!(keys("a+b.tar"), ["a b.tar", "a+b.tar"]);
        assert_eq!(keys("%C3%A4.tar"), ["ä.tar", "%C3%A4.tar"]);
        assert_eq!(keys("%FF.tar"), ["%FF.tar"]);
        assert_eq!(keys("a+b%23.tar"), ["a b#.tar", "a+b#.tar", "a+b%23.tar"]);
    }

    #[test]
    fn existing_key_decides_how_the_others_are_read() {
        for (shown, found, expected, is_odd) in [
            ("a+b%23", "a b#", "x y# +", false),
            ("a+b%23", "a+b#", "x+y#++", true),
            ("a+b%23", "a+b%23", "x+y%23+%2B", true),
            ("a%23", "a#", "x y# +", false),
        ] {
            let mut readings = Readings::default();
            assert_eq!(readings.keep(shown, &Key::new(found)), is_odd, "{found}");
            let read = readings.decode("x+y%23+%2B");
            assert_eq!(read.as_deref(), Some(expected), "{found}");
        }
        let mut readings = Readings::default();
        assert!(readings.keep("a+b", &Key::new("a+b")));
        assert_eq!(readings.keys("a%20b").len(), 2, "still open");
        assert!(!Readings::default().keep("a+b", &Key::new("another")));
    }
}
