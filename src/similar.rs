//! "Did you mean": how far apart two names are.

/// Levenshtein distance: insertions, deletions and substitutions of letters.
pub(crate) fn distance(from: &str, to: &str) -> usize {
    let to = to.as_bytes();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..to.len() {
            let changed = diagonal + usize::from(to[column] != letter);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

/// Number of slips that a misspelt name of this length may have.
pub(crate) const fn slips(name: &str) -> usize {
    if name.len() < 6 { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_different_letters() {
        for (from, to, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("wasabi", "wassabi", 1),
            ("minio", "mino", 1),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
