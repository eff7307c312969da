//! The backups of all locations as one list: a backup that is in several is one row.

use std::cmp::Reverse;
use std::collections::HashMap;

use askama::Template;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::check::ErrorView;
use super::escape::Own;
use super::human;
use super::location::LocationView;
use super::verifying::{RunState, Verifying};
use super::words::Words;
use crate::agent::catalog::Row;
use crate::agent::folder::Folder;
use crate::agent::model::{Finding, LastVerified};
use crate::backup::parse_date;

/// Rows shown at first.
const SHOWN: usize = 10;

/// Characters of an id that stay in an address.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The list.
#[derive(Debug, Template)]
#[template(path = "backups.html")]
pub(super) struct BackupsView<'p> {
    words: &'p Words,
    locations: &'p [LocationView<'p>],
    pub(super) rows: Vec<BackupView>,
    /// Number of all backups.
    pub(super) count: usize,
    pub(super) total_bytes: u64,
    pub(super) damaged: usize,
    pub(super) incomplete: usize,
}

/// A backup.
#[derive(Debug)]
pub(super) struct BackupView {
    pub(super) row: Row,
    /// Its id, in anchors and addresses.
    pub(super) id: Own,
    copies: Vec<CopyView>,
}

/// A backup in one location.
#[derive(Debug)]
struct CopyView {
    location_id: Own,
    location_name: String,
    row: Row,
    verified: Option<LastVerified>,
    run: Option<RunState>,
    /// Why its verification failed.
    error: Option<ErrorView>,
}

/// The rows of one location, and what is known about them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) location: &'s LocationView<'s>,
    pub(super) folder: &'s Folder,
}

impl<'p> BackupsView<'p> {
    /// Merges the lists, newest backup first; `all` shows every row.
    pub(super) fn of(
        words: &'p Words,
        sources: &[Source<'p>],
        locations: &'p [LocationView<'p>],
        verifying: &Verifying,
        all: bool,
    ) -> Self {
        let mut backups: HashMap<&str, Vec<(Source<'p>, &Row)>> = HashMap::new();
        for source in sources {
            for row in source.location.backups.rows.iter() {
                let copies = backups.entry(&row.backup_id).or_default();
                copies.push((*source, row));
            }
        }
        let rows = || backups.values().flatten().map(|(_, row)| row);
        let total_bytes = rows().map(|row| row.size_bytes).sum();
        let damaged = backups
            .values()
            .filter(|copies| copies.iter().any(|(source, row)| is_damaged(*source, row)))
            .count();
        let incomplete = backups
            .values()
            .filter(|copies| copies.iter().any(|(_, row)| row.faults.is_some()))
            .count();
        let count = backups.len();
        let mut backups: Vec<_> = backups.into_values().collect();
        backups.sort_by_cached_key(|copies| {
            let row = copies[0].1;
            Reverse((
                parse_date(&row.date),
                row.date.clone(),
                row.backup_id.clone(),
            ))
        });
        backups.truncate(if all { usize::MAX } else { SHOWN });
        Self {
            words,
            locations,
            rows: backups
                .into_iter()
                .map(|copies| BackupView::of(words, &copies, verifying))
                .collect(),
            count,
            total_bytes,
            damaged,
            incomplete,
        }
    }

    fn hidden(&self) -> usize {
        self.count - self.rows.len()
    }
}

impl BackupView {
    fn of(words: &Words, copies: &[(Source<'_>, &Row)], verifying: &Verifying) -> Self {
        let row = copies[0].1.clone();
        let copies = copies.iter().map(|(source, row)| {
            let status = &source.location.status;
            let verified = source.folder.last_verified(&row.backup_id, &row.version);
            let run = verifying
                .state(&status.id, &row.backup_id, &row.version)
                .filter(|run| !run.is_outdated(verified.as_ref()));
            let error = match &run {
                Some(RunState::Failed { failure, .. }) => Some(ErrorView::of(words, failure)),
                _ => None,
            };
            CopyView {
                location_id: source.location.id.clone(),
                location_name: status.name.clone(),
                verified,
                row: (*row).clone(),
                run,
                error,
            }
        });
        let id = utf8_percent_encode(&row.backup_id, ENCODED).to_string();
        Self {
            copies: copies.collect(),
            id: Own::quoting(&id),
            row,
        }
    }

    /// Whether Home Assistant encrypted it in every location, if that is known.
    fn is_protected(&self) -> Option<bool> {
        let mut protected = self.copies.iter().map(|copy| copy.row.is_protected);
        let first = protected.next()??;
        Some(first && protected.all(|other| other == Some(true)))
    }

    fn is_incomplete(&self) -> bool {
        self.copies.iter().any(|copy| copy.row.faults.is_some())
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.copies.iter().any(CopyView::is_damaged)
    }

    /// The oldest of its last verifications; none if a copy was never verified, or is damaged.
    fn verified(&self) -> Option<&LastVerified> {
        let verified: Option<Vec<_>> = self
            .copies
            .iter()
            .map(|copy| copy.verified.as_ref())
            .collect();
        let oldest = verified?.into_iter().min_by_key(|verified| &verified.at);
        oldest.filter(|_| !self.is_damaged())
    }
}

impl CopyView {
    fn is_damaged(&self) -> bool {
        self.row.is_changed
            || self
                .verified
                .as_ref()
                .is_some_and(|verified| verified.is_damaged)
    }

    /// Progress of a verification; none if it waits for its turn.
    fn percent(&self) -> Option<u64> {
        match self.run {
            Some(RunState::Running { percent }) => Some(percent),
            _ => None,
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.run, Some(RunState::Waiting | RunState::Running { .. }))
    }

    /// What the last verification on the page found.
    fn findings(&self) -> &[Finding] {
        match &self.run {
            Some(RunState::Ended { report, .. }) => &report.problems,
            _ => &[],
        }
    }
}

fn is_damaged(source: Source<'_>, row: &Row) -> bool {
    let verified = source.folder.last_verified(&row.backup_id, &row.version);
    row.is_changed || verified.is_some_and(|verified| verified.is_damaged)
}
