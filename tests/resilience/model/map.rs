//! Expected bucket content: the possible states of each backup. A clear answer leaves one state; a
//! crash may leave several until the next observation.

use std::collections::{BTreeMap, BTreeSet};

/// SHA-256 of an existing backup, or `None`.
pub(super) type State = Option<String>;

#[derive(Debug, Default)]
pub(super) struct Map {
    now: BTreeMap<String, BTreeSet<State>>,
    /// States of foreign backups since the last list.
    since: BTreeMap<String, BTreeSet<State>>,
}

impl Map {
    fn states(&self, id: &str) -> BTreeSet<State> {
        self.now
            .get(id)
            .cloned()
            .unwrap_or_else(|| BTreeSet::from([None]))
    }

    /// Sets the only possible state.
    pub(super) fn is(&mut self, id: &str, state: State) {
        self.now.insert(id.to_owned(), BTreeSet::from([state]));
    }

    /// Adds a possible state.
    pub(super) fn may_be(&mut self, id: &str, state: State) {
        let mut states = self.states(id);
        states.insert(state);
        self.now.insert(id.to_owned(), states);
    }

    /// Records a change by another tool; an older list shows the previous state.
    pub(super) fn became(&mut self, id: &str, state: State) {
        let before = self.states(id);
        self.since.entry(id.to_owned()).or_default().extend(before);
        self.is(id, state);
    }

    /// Forgets older lists.
    pub(super) fn mark_all_fresh(&mut self) {
        self.since.clear();
    }

    /// Returns whether an older list may show another state.
    pub(super) fn may_be_shown_older(&self, id: &str) -> bool {
        self.since.contains_key(id)
    }

    /// Records an observation of its existence.
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

    /// Records an observation of its content.
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
