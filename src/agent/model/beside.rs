//! Archives beside a location's folder.

use serde::Serialize;

/// Archives beside a folder that no metadata object describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Beside {
    /// Their number, among the keys that were listed.
    pub archives: usize,
    /// Whether the bucket has more keys than that.
    pub is_more: bool,
    /// Key of the first one.
    pub example: String,
}

impl Beside {
    /// Their number, with a plus sign if there may be more.
    #[must_use]
    pub fn count(&self) -> String {
        let plus = if self.is_more { "+" } else { "" };
        format!("{}{plus}", self.archives)
    }

    /// The command that adopts the first one.
    #[must_use]
    pub fn command(&self, location: &str) -> String {
        format!(
            "s3-backup-agent recover {location} {}",
            quoted(&self.example)
        )
    }

    /// What to tell a user, as a sentence.
    #[must_use]
    pub fn sentence(&self, location: &str) -> String {
        let (lie, one) = match (self.archives, self.is_more) {
            (1, false) => ("archive lies", "it"),
            _ => ("archives lie", "one"),
        };
        let (count, command) = (self.count(), self.command(location));
        format!(
            "{count} {lie} beside this folder, such as \"{}\". To adopt {one}: {command}",
            self.example
        )
    }
}

/// A key as an argument of a shell.
fn quoted(key: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if key.chars().all(is_plain) {
        key.to_owned()
    } else {
        format!("'{}'", key.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_has_the_command() {
        let beside = |archives, is_more, example: &str| Beside {
            archives,
            is_more,
            example: example.to_owned(),
        };
        assert_eq!(
            beside(1, false, "x.tar").sentence("cellar"),
            "1 archive lies beside this folder, such as \"x.tar\". To adopt it: s3-backup-agent recover cellar x.tar"
        );
        let many = beside(1000, true, "old/it's.tar").sentence("cellar");
        assert!(many.starts_with("1000+ archives lie"), "{many}");
        assert!(
            many.ends_with("recover cellar 'old/it'\\''s.tar'"),
            "{many}"
        );
    }
}
