//! The line at the top of the page: the last and the next backup, the space, and what is wrong.

use chrono::{DateTime, TimeDelta, Utc};

use super::backups::BackupsView;
use super::escape::{Filled, Own};
use super::location::LocationView;
use super::words::Words;
use crate::api::{self, Schedule};

/// How long Home Assistant may take to connect after the agent's start.
const CONNECTED_WITHIN: TimeDelta = TimeDelta::minutes(2);

/// The line.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) problems: Vec<Problem>,
    /// How a location stands that no request has told of: all may be well, or not.
    pub(super) unknown: Option<Own>,
    /// Time and name of the newest backup.
    pub(super) last: Option<(String, String)>,
    pub(super) next: NextBackup,
}

/// The next automatic backup.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextBackup {
    /// Home Assistant did not tell it.
    Unknown,
    /// None is scheduled.
    Never,
    /// RFC 3339.
    At(String),
}

/// Something that is wrong, and where the page shows more of it.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) text: Filled,
    pub(super) anchor: Own,
}

impl Summary {
    pub(super) fn of(
        words: &Words,
        state: &api::State,
        locations: &[LocationView<'_>],
        backups: &BackupsView<'_>,
    ) -> Self {
        let newest = backups.rows.first();
        let is_unknown = |location: &&LocationView<'_>| location.status.status == "unknown";
        let unknown = locations.iter().find(is_unknown);
        Self {
            problems: problems(words, state, locations, backups),
            unknown: unknown.map(|location| location.status_words.clone()),
            last: newest.map(|backup| (backup.row.date.clone(), backup.row.name.clone())),
            next: NextBackup::of(state.home_assistant.schedule(), Utc::now()),
        }
    }
}

impl NextBackup {
    fn of(told: Option<Schedule>, now: DateTime<Utc>) -> Self {
        let Some(Schedule { next_backup, .. }) = told else {
            return Self::Unknown;
        };
        let Some(time) = next_backup else {
            return Self::Never;
        };
        // A time that has passed says nothing about the one after it.
        match DateTime::parse_from_rfc3339(&time) {
            Ok(at) if at > now => Self::At(time),
            _ => Self::Unknown,
        }
    }
}

fn problems(
    words: &Words,
    state: &api::State,
    locations: &[LocationView<'_>],
    backups: &BackupsView<'_>,
) -> Vec<Problem> {
    let own = |text: &Own, anchor: &str| Problem {
        text: text.with("", ""),
        anchor: Own::new(anchor),
    };
    let mut found = Vec::new();
    if !state.problems.is_empty() {
        found.push(own(&words.problems.title, "problems"));
    }
    for location in locations
        .iter()
        .filter(|location| location.status.status == "error")
    {
        let text = Own::new("{location}: {status}")
            .with("status", &location.status_words)
            .with("location", &location.status.name);
        let anchor = Own::new(format!("location-{}", location.id.as_str()));
        found.push(Problem { text, anchor });
    }
    if backups.damaged > 0 {
        let text = words.summary.damaged.with("count", backups.damaged);
        let first = backups.rows.iter().find(|backup| backup.is_damaged());
        let anchor = first.map_or_else(
            || "backups".to_owned(),
            |backup| format!("backup-{}", backup.id.as_str()),
        );
        found.push(Problem {
            text,
            anchor: Own::new(anchor),
        });
    }
    if backups.incomplete > 0 {
        found.push(Problem {
            text: words.summary.incomplete.with("count", backups.incomplete),
            anchor: Own::new("backups"),
        });
    }
    let home_assistant = &state.home_assistant;
    let is_expected = home_assistant.was_connected()
        || (backups.count > 0 && Utc::now() - state.started_at > CONNECTED_WITHIN);
    if is_expected && !home_assistant.is_connected() {
        found.push(own(&words.summary.away, "diagnostics"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{NextBackup, Schedule};

    #[test]
    fn next_backup_is_shown_until_its_time() {
        let now = "2026-11-30T12:00:00Z".parse().unwrap();
        let later = "2026-12-01T04:45:00+01:00".to_owned();
        for (told, next) in [
            (None, NextBackup::Unknown),
            (Some(None), NextBackup::Never),
            (Some(Some(later.clone())), NextBackup::At(later)),
            (
                Some(Some("2026-11-30T11:59:59Z".to_owned())),
                NextBackup::Unknown,
            ),
        ] {
            let told = told.map(|next_backup| Schedule {
                next_backup,
                ..Schedule::default()
            });
            assert_eq!(NextBackup::of(told, now), next);
        }
    }
}
