//! Versions of Home Assistant.

/// A version such as `2026.11.0` or `2026.12.0b3`, in the order of releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    numbers: [u32; 3],
    /// Number of the beta; those before a beta are 0, and a release comes after all.
    stage: u32,
}

impl Version {
    /// Parses a version; `None` for any other form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().splitn(3, '.');
        let numbers = [rest.next()?, rest.next()?].map(|number| number.parse().ok());
        let [Some(year), Some(month)] = numbers else {
            return None;
        };
        let patch = rest.next().unwrap_or("0");
        let digits = patch.find(|c: char| !c.is_ascii_digit());
        let (patch, stage) = patch.split_at(digits.unwrap_or(patch.len()));
        let stage = match stage.strip_prefix('b') {
            _ if stage.is_empty() => u32::MAX,
            Some(beta) => beta.parse().ok()?,
            None if stage.starts_with(".dev") => 0,
            None => return None,
        };
        Some(Self {
            numbers: [year, month, patch.parse().ok()?],
            stage,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_the_order_of_releases() {
        let ordered = [
            "2025.12.5",
            "2026.3.4",
            "2026.11.0.dev202610250217",
            "2026.11.0b1",
            "2026.11.0b10",
            "2026.11.0",
            "2026.11.1",
            "2026.12",
        ];
        let versions = ordered.map(|text| Version::parse(text).unwrap());
        assert!(versions.is_sorted_by(|one, other| one < other));
        for other in ["", "2026", "2026.x.1", "2026.11.0-custom", "v2026.11.0"] {
            assert_eq!(Version::parse(other), None, "{other}");
        }
    }
}
