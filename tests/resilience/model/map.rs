//! What must be in the bucket: for each backup the states that it may be in. After what was answered clearly there is one,
//! after a crash there may be several, until somebody looks.

use std::collections::{BTreeMap, BTreeSet};

/// SHA-256 of a backup that is there, or that it is not.
pub(super) type State = Option<String>;

#[derive(Debug, Default)]
pub(super) struct Map {
    now: BTreeMap<String, BTreeSet<State>>,
    /// States in which another tool's backups were since the last list was taken.
    since: BTreeMap<String, BTreeSet<State>>,
}

impl Map {
    fn states(&self, id: &str) -> BTreeSet<State> {
        self.now
            .get(id)
            .cloned()
            .unwrap_or_else(|| BTreeSet::from([None]))
    }

    /// It is in this state.
    pub(super) fn is(&mut self, id: &str, state: State) {
        self.now.insert(id.to_owned(), BTreeSet::from([state]));
    }

    /// It may be in this state now, or as it was.
    pub(super) fn may_be(&mut self, id: &str, state: State) {
        let mut states = self.states(id);
        states.insert(state);
        self.now.insert(id.to_owned(), states);
    }

    /// Another tool brought it into this state; an older list shows it as it was.
    pub(super) fn became(&mut self, id: &str, state: State) {
        let before = self.states(id);
        self.since.entry(id.to_owned()).or_default().extend(before);
        self.is(id, state);
    }

    /// Older lists are forgotten.
    pub(super) fn all_is_fresh(&mut self) {
        self.since.clear();
    }

    /// Whether an older list may show another state than there is.
    pub(super) fn may_be_shown_older(&self, id: &str) -> bool {
        self.since.contains_key(id)
    }

    /// Somebody saw whether it is there.
    pub(super) fn is_seen(&mut self, id: &str, is_there: bool) {
        let mut states = self.states(id);
        states.retain(|state| state.is_some() == is_there);
        if states.is_empty()
            && self
                .since
                .get(id)
                .is_some_and(|old| old.iter().any(|state| state.is_some() == is_there))
        {
            return;
        }
        assert!(
            !states.is_empty(),
            "\"{id}\" is {}, but may be in {:?}",
            said(is_there),
            self.states(id)
        );
        self.now.insert(id.to_owned(), states);
    }

    /// Somebody read it.
    pub(super) fn is_read(&mut self, id: &str, sha256: &str) {
        let state = Some(sha256.to_owned());
        if self.states(id).contains(&state) {
            self.is(id, state);
        } else {
            let may_be = self.since.get(id).is_some_and(|old| old.contains(&state));
            assert!(
                may_be,
                "\"{id}\" is read as {sha256}, but may be in {:?}",
                self.states(id)
            );
        }
    }
}

fn said(is_there: bool) -> &'static str {
    if is_there { "there" } else { "not there" }
}
