//! Backups in another folder of the bucket, for a location whose own folder is empty.
//!
//! A prefix is easily almost right: `home/backups` for `home`, `Home` for `home`, none at all. On the day of a disaster an
//! empty list is the worst answer, so `check` and `list` name the prefix that has backups. It costs one listing of the
//! bucket's top folders and one page of each candidate; a key that may list its own folder only gets no answer.

use futures_util::{StreamExt, stream};
use tracing::debug;

use super::location::Location;
use crate::store::{Keys, Object, Patience, Role, Store};

/// Folders that are looked into.
const MAX_CANDIDATES: usize = 12;

/// Folders that are looked into concurrently.
const LOOKS_IN_FLIGHT: usize = 4;

/// Name of the folder below a prefix.
const BACKUPS: &str = "backups";

/// A prefix whose folder has backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearby {
    /// The location's own folder, which is empty.
    pub empty: String,
    /// The prefix to set.
    pub prefix: String,
    /// The folder with the backups.
    pub folder: String,
    /// Number of backups on its first page.
    pub backups: usize,
}

impl Nearby {
    /// What to tell a user, as a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self {
            empty,
            prefix,
            folder,
            backups,
        } = self;
        let (number, s) = match backups {
            1 => ("one".to_owned(), ""),
            more => (more.to_string(), "s"),
        };
        let set = match prefix.as_str() {
            "" => "Leave the prefix empty".to_owned(),
            prefix => format!("Set the prefix to \"{prefix}\""),
        };
        format!(
            "There is no backup in \"{empty}\", but {number} backup{s} in \"{folder}\". {set} to use that folder."
        )
    }
}

/// Returns the prefix that most likely is meant, if the location's folder is empty and another one has backups.
pub async fn nearby(location: &Location) -> Option<Nearby> {
    find(&location.store, &location.settings.prefix).await
}

/// The same for settings that no location has yet.
pub(super) async fn find(store: &Store, prefix: &str) -> Option<Nearby> {
    let own = Keys::new(prefix);
    if backups_in(store, own.folder()).await? > 0 {
        return None;
    }
    let top = store.folders("", Patience::NONE).await;
    let top = top.inspect_err(|error| debug!("no look at other folders: {error}"));
    let candidates = candidates(prefix, &top.unwrap_or_default());
    let found: Vec<_> = stream::iter(candidates)
        .map(|prefix| async {
            let folder = Keys::new(&prefix).folder().to_owned();
            let backups = backups_in(store, &folder).await.unwrap_or_default();
            Nearby {
                empty: own.folder().to_owned(),
                prefix,
                folder,
                backups,
            }
        })
        .buffered(LOOKS_IN_FLIGHT)
        .collect()
        .await;
    found.into_iter().find(|nearby| nearby.backups > 0)
}

/// Number of backups on the first page of a folder; none if it cannot be listed.
async fn backups_in(store: &Store, folder: &str) -> Option<usize> {
    let page = store.first_page(folder, Patience::NONE).await;
    let page = page.inspect_err(|error| debug!(folder, "not listed: {error}"));
    let is_backup = |object: &&Object| {
        object.key.role() == Role::Metadata && !object.key.is_in_location_below(folder)
    };
    Some(page.ok()?.objects.iter().filter(is_backup).count())
}

/// Returns other prefixes, the likeliest first; `top` are the folders at the top of the bucket.
fn candidates(prefix: &str, top: &[String]) -> Vec<String> {
    let prefix = prefix.trim_matches('/');
    let is_backups = |name: &str| name.eq_ignore_ascii_case(BACKUPS);
    let mut found: Vec<String> = Vec::new();
    let mut add = |candidate: &str| {
        let candidate = candidate.trim_matches('/').to_owned();
        if candidate != prefix && !found.contains(&candidate) {
            found.push(candidate);
        }
    };
    let (parent, last) = prefix.rsplit_once('/').unwrap_or(("", prefix));
    if is_backups(last) {
        add(parent);
    }
    let (first, rest) = prefix.split_once('/').unwrap_or((prefix, ""));
    for folder in top.iter().filter(|folder| alike(folder, first)) {
        add(&format!("{folder}/{rest}"));
        if is_backups(last) {
            let parent = parent.split_once('/').map_or("", |(_, rest)| rest);
            add(&format!("{folder}/{parent}"));
        }
    }
    add(&format!("{prefix}/{BACKUPS}"));
    if top.iter().any(|folder| folder == BACKUPS) {
        add("");
    }
    for folder in top {
        add(folder);
    }
    found.truncate(MAX_CANDIDATES);
    found
}

/// Whether two names differ by case, spaces or punctuation alone.
fn alike(one: &str, other: &str) -> bool {
    let letters = |text: &str| -> String {
        let letters = text.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    letters(one) == letters(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeliest_prefix_comes_first() {
        let top = ["Photos", "backups", "home"].map(str::to_owned);
        for (prefix, expected) in [
            ("home/backups", "home"),
            ("Home", "home"),
            ("HOME/backups", "HOME"),
            ("backups", ""),
            ("", "backups"),
            ("ho-me/attic", "home/attic"),
            ("attic", "attic/backups"),
        ] {
            let found = candidates(prefix, &top);
            assert_eq!(found[0], expected, "{prefix}");
            assert!(!found.contains(&prefix.to_owned()), "{prefix}");
        }
        assert_eq!(candidates("HOME/backups", &top)[2], "home");
        assert!(candidates("attic", &top).contains(&String::new()));
        assert!(candidates("", &top).contains(&"home".to_owned()));
        let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(candidates("", &many).len(), MAX_CANDIDATES);
    }

    #[test]
    fn sentence_says_what_to_set() {
        let nearby = |prefix: &str, backups| {
            let folder = Keys::new(prefix).folder().to_owned();
            let prefix = prefix.to_owned();
            Nearby {
                empty: "x/backups/".to_owned(),
                prefix,
                folder,
                backups,
            }
            .sentence()
        };
        assert_eq!(
            nearby("home", 3),
            "There is no backup in \"x/backups/\", but 3 backups in \"home/backups/\". Set the prefix to \"home\" to use \
             that folder."
        );
        assert!(nearby("", 1).contains("but one backup in \"backups/\". Leave the prefix empty"));
    }
}
