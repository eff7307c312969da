//! "Did you mean": the provider closest to a misspelt id.

use super::Provider;

/// A provider with the same letters, then one that has the word in its id or name, then one that is a slip away.
pub(super) fn nearest<'p>(id: &str, providers: &'p [Provider]) -> Option<&'p Provider> {
    let wanted = letters(id);
    let slips = if wanted.len() < 6 { 1 } else { 2 };
    let close = |provider: &&Provider| distance(&wanted, &letters(&provider.id));
    let same = providers
        .iter()
        .find(|provider| letters(&provider.id) == wanted || letters(&provider.name) == wanted);
    let word = || {
        providers
            .iter()
            .find(|provider| words(provider).any(|word| is_meant(&wanted, &word)))
    };
    let slip = || {
        providers
            .iter()
            .filter(|provider| close(provider) <= slips)
            .min_by_key(close)
    };
    same.or_else(word).or_else(slip)
}

fn letters(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

fn words(provider: &Provider) -> impl Iterator<Item = String> {
    let texts = [&provider.id, &provider.name];
    texts
        .into_iter()
        .flat_map(|text| text.split(|letter: char| !letter.is_ascii_alphanumeric()))
        .map(letters)
}

/// A short word must be the whole word: "s" means nothing.
fn is_meant(wanted: &str, word: &str) -> bool {
    !word.is_empty() && (wanted == word || (wanted.len() >= 3 && word.starts_with(wanted)))
}

/// How many letters must be put in, taken out or changed (Levenshtein's distance).
fn distance(from: &str, to: &str) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_are_counted() {
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
