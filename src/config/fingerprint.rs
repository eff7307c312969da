//! SHA-256 fingerprints of certificates, as browsers and `openssl x509 -fingerprint -sha256` show them.

use std::fmt;

use crate::units::sha256;

/// Number of hexadecimal digits.
const DIGITS: usize = 64;

/// The SHA-256 of a certificate in DER form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Returns the fingerprint of a certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// Reads hexadecimal digits, with or without colons, also behind `sha256 Fingerprint=`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.rsplit_once('=').map_or(text, |(_, digits)| digits);
        let digits: String = digits
            .chars()
            .filter(|c| *c != ':' && !c.is_whitespace())
            .collect();
        let is_valid = digits.len() == DIGITS && digits.bytes().all(|it| it.is_ascii_hexdigit());
        is_valid.then(|| Self(digits.to_ascii_lowercase()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, digit) in self.0.chars().enumerate() {
            if number > 0 && number.is_multiple_of(2) {
                f.write_str(":")?;
            }
            write!(f, "{}", digit.to_ascii_uppercase())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_notations_are_one_fingerprint() {
        let fingerprint = Fingerprint::of(b"");
        let text = fingerprint.to_string();
        assert!(text.starts_with("E3:B0:C4:42:98:FC:"), "{text}");
        for text in [
            text.clone(),
            text.replace(':', ""),
            text.replace(':', " ").to_lowercase(),
            format!("sha256 Fingerprint={text}"),
        ] {
            assert_eq!(
                Fingerprint::parse(&text).as_ref(),
                Some(&fingerprint),
                "{text}"
            );
        }
        for wrong in [
            "",
            "E3:B0",
            &text[1..],
            &text.replace("E3", "G3"),
            &format!("{text}:00"),
        ] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }
}
