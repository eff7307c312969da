//! "Did you mean": the provider closest to a misspelt ID.

use super::Provider;
use crate::similar::{distance, slips};

/// Prefers a provider with the same letters, then one with the word in its ID or name, then one within the edit distance.
pub(super) fn nearest<'p>(id: &str, providers: &'p [Provider]) -> Option<&'p Provider> {
    let wanted = letters(id);
    let slips = slips(&wanted);
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

/// A short word must match a whole word: "s" alone is no hint.
fn is_meant(wanted: &str, word: &str) -> bool {
    !word.is_empty() && (wanted == word || (wanted.len() >= 3 && word.starts_with(wanted)))
}
