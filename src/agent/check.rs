//! Checks a location's settings step by step, and looks for a correction if a step fails. Removes its probes.
//!
//! The settings are tried unchanged first. If the provider's answer hints at a correction (region, addressing, checksum, an
//! endpoint that needs TLS), a second trial uses it. A correction is offered only if all of its steps succeed. No trial
//! drops TLS: an endpoint without TLS is offered if S3 answers there, but no signed request is sent to it.

mod candidates;
mod notes;
mod probe;
mod proof;
mod steps;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::model::{CheckNote, CheckReport, CheckStep, Failure};
use super::nearby::find as find_nearby;
use crate::config::{Backend, FolderId, Location, Problem, S3Settings, Secret};
use crate::error::{Error, Kind, Reason};
use crate::store::{Dialect, Route, Store};
use candidates::candidates;
use notes::{note_plain_http, note_short_secret, note_unused_fingerprint, secret_on_the_wire};
use steps::{LEFT_BEHIND, Trial};

/// Time limit of all corrections together; a user waits.
const CORRECTION_LIMIT: Duration = Duration::from_mins(1);

/// Time limit of the look at other folders.
const NEARBY_LIMIT: Duration = Duration::from_secs(15);

/// No provider's secrets are shorter: Alibaba's have 30 characters, Backblaze's 31.
const SHORTEST_SECRET: usize = 30;

/// Checks settings as they arrive over the protocol; `id_for` returns the id for a location with them.
pub(super) async fn check_json(
    settings: &serde_json::Value,
    id_for: impl FnOnce(Location) -> String,
) -> CheckReport {
    match Location::from_json(settings) {
        Ok((location, notes)) => {
            let mut checked = check(&location, None).await;
            checked.location_id = Some(id_for(location));
            checked.notes.extend(notes.into_iter().map(CheckNote::from));
            checked
        }
        Err(problems) => {
            let mut checked = CheckReport::unusable(&problems);
            checked.try_suggestions(settings, id_for).await;
            checked
        }
    }
}

/// Checks a location's settings, and sends each step of the first trial to `watcher` as it ends.
pub async fn check(
    location: &Location,
    watcher: Option<UnboundedSender<CheckStep>>,
) -> CheckReport {
    let start = Instant::now();
    let mut trial = Trial::run(location.clone(), None, watcher).await;
    let corrected = match &location.backend {
        Backend::S3(settings) if !trial.ok() => correct(location, settings, &mut trial).await,
        _ => None,
    };
    let found = match (&location.backend, &trial.dialect) {
        (Backend::S3(_), Some(dialect)) if trial.ok() => Some(settings_of(dialect)),
        _ => None,
    };
    if let Backend::S3(settings) = &location.backend {
        trial.notes.extend(note_plain_http(settings));
        trial.notes.extend(note_short_secret(settings));
        trial.notes.extend(note_unused_fingerprint(settings));
    }
    if trial.ok() {
        trial.notes.extend(note_nearby(location).await);
    }
    info!(
        location = location.id,
        ok = trial.ok(),
        duration_ms = start.elapsed().as_millis(),
        "checked"
    );
    CheckReport {
        ok: trial.ok(),
        steps: trial.steps,
        corrected,
        retried: None,
        found,
        folder: Some(FolderId::from(location).to_string()),
        location_id: None,
        notes: trial.notes,
    }
}

/// Returns the changes that make all steps succeed.
async fn correct(
    location: &Location,
    settings: &S3Settings,
    failed: &mut Trial,
) -> Option<BTreeMap<String, String>> {
    let error = failed.error()?;
    if error.reason == Reason::NoTls.code() {
        return without_tls(settings).await;
    }
    let until = Instant::now() + CORRECTION_LIMIT;
    if may_be_swapped(settings, error) && works_swapped(location, settings, until).await {
        failed.blame_signature(Reason::KeysSwapped);
        return None;
    }
    for changed in candidates(settings, error) {
        if Instant::now() >= until {
            break;
        }
        let asks_for_encryption = changed.encryption != settings.encryption;
        let location = Location {
            backend: Backend::S3(Box::new(changed)),
            ..location.clone()
        };
        let trial = Trial::run(location, Some(until), None).await;
        if let (true, Some(dialect)) = (trial.ok(), &trial.dialect) {
            let mut changes = dialect.difference(&Dialect::of(settings));
            // On `auto`, each agent finds it out itself.
            changes.retain(|(key, _)| *key != "checksum" || settings.checksum.is_given);
            if asks_for_encryption {
                changes.push(("encryption", "AES256".to_owned()));
            }
            return Some(
                changes
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            );
        }
        for note in trial.notes {
            if note.code == LEFT_BEHIND && !failed.notes.contains(&note) {
                failed.notes.push(note);
            }
        }
    }
    None
}

/// Whether the user has sent the secret as the ID already, by its length: the ID is sent in clear. The error may be any, as some
/// servers call an ID with slashes malformed.
fn may_be_swapped(settings: &S3Settings, error: &Failure) -> bool {
    let is_id_known = [Reason::WrongSecret, Reason::ExpiredToken]
        .iter()
        .any(|reason| reason.code() == error.reason);
    !is_id_known
        && settings.access_key_id.len() >= SHORTEST_SECRET
        && settings.secret_access_key.expose().len() < SHORTEST_SECRET
}

/// Whether all steps succeed with the ID and the secret of the access key in the place of each other. These are no correction to
/// offer: it would show the secret.
async fn works_swapped(location: &Location, settings: &S3Settings, until: Instant) -> bool {
    let swapped = S3Settings {
        access_key_id: settings.secret_access_key.expose().to_owned(),
        secret_access_key: Secret::new(settings.access_key_id.clone()),
        ..settings.clone()
    };
    let location = Location {
        backend: Backend::S3(Box::new(swapped)),
        ..location.clone()
    };
    Trial::run(location, Some(until), None).await.ok()
}

/// Returns the endpoint without TLS if an S3 server answers there. A user who wrote https:// has agreed to no more than one unsigned
/// request, and a secret that every request carries rules this out.
async fn without_tls(settings: &S3Settings) -> Option<BTreeMap<String, String>> {
    if secret_on_the_wire(settings).is_some() {
        return None;
    }
    let mut endpoint = settings.endpoint.clone();
    let port = endpoint.port_or_known_default();
    endpoint.set_scheme("http").ok()?;
    endpoint.set_port(port).ok()?;
    let plain = S3Settings {
        endpoint,
        ..settings.clone()
    };
    let greeting = Route::of(&plain).ok()?.greet().await.ok()?;
    if !greeting.is_s3 {
        return None;
    }
    let endpoint = plain.endpoint.as_str().trim_end_matches('/').to_owned();
    Some(BTreeMap::from([("endpoint".to_owned(), endpoint)]))
}

/// Notes backups in another folder when this one has none.
async fn note_nearby(location: &Location) -> Option<CheckNote> {
    let store = Store::open(location);
    let looking = find_nearby(&store, &location.prefix);
    let nearby = timeout(NEARBY_LIMIT, looking).await.ok()??;
    Some(CheckNote {
        code: "backups_elsewhere",
        reason: "backups_elsewhere",
        key: Some("prefix".to_owned()),
        message: nearby.sentence(),
        placeholders: [
            ("count", nearby.backups.to_string()),
            ("empty", nearby.empty),
            ("folder", nearby.folder),
        ]
        .into(),
        suggestion: Some(nearby.prefix),
    })
}

fn settings_of(dialect: &Dialect) -> BTreeMap<String, String> {
    let words = [
        ("region", dialect.region.as_str()),
        ("addressing", dialect.addressing.as_str()),
        ("checksum", dialect.checksum.as_str()),
    ];
    words
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

impl CheckReport {
    fn unusable(problems: &[Problem]) -> Self {
        let step = |problem: &Problem| {
            let error = Error::new(Kind::InvalidRequest, problem.to_string())
                .with_reason(problem.reason)
                .with_placeholders(problem.placeholders.clone());
            let error = Some(Failure {
                reason: problem.code(),
                ..Failure::from(&error)
            });
            let key = Some(problem.key.clone());
            CheckStep {
                step: "settings",
                ok: false,
                duration_ms: 0,
                error,
                key,
            }
        };
        let corrected: BTreeMap<_, _> = problems.iter().flat_map(suggested).collect();
        Self {
            ok: false,
            steps: problems.iter().map(step).collect(),
            corrected: Some(corrected).filter(|corrected| !corrected.is_empty()),
            retried: None,
            found: None,
            folder: None,
            location_id: None,
            notes: Vec::new(),
        }
    }

    /// Checks the settings with the suggestions for those that are invalid, and adds the corrections that this finds.
    async fn try_suggestions(
        &mut self,
        settings: &serde_json::Value,
        id_for: impl FnOnce(Location) -> String,
    ) {
        let Some(corrected) = &mut self.corrected else {
            return;
        };
        let mut changed = settings.clone();
        for (key, value) in &*corrected {
            changed[key.as_str()] = value.as_str().into();
        }
        let Ok((location, notes)) = Location::from_json(&changed) else {
            self.retried = Some(Vec::new());
            return;
        };
        let again = check(&location, None).await;
        match again.corrected {
            Some(more) => corrected.extend(more),
            None if !again.ok => {
                self.retried = Some(again.steps.into_iter().filter(|step| !step.ok).collect());
            }
            None => {}
        }
        self.folder = again.folder;
        self.location_id = Some(id_for(location));
        self.notes = again.notes;
        self.notes.extend(notes.into_iter().map(CheckNote::from));
    }
}

/// The values that a problem suggests for its setting and for others.
fn suggested(problem: &Problem) -> impl Iterator<Item = (String, String)> {
    let own = problem.suggestion.iter();
    let own = own.map(|value| (problem.key.clone(), value.clone()));
    let others = problem.others.iter();
    own.chain(others.map(|(key, value)| ((*key).to_owned(), value.clone())))
}

impl From<Problem> for CheckNote {
    fn from(note: Problem) -> Self {
        let code = note.reason.map_or("note", Reason::code);
        Self {
            code,
            reason: code,
            key: Some(note.key),
            message: note.message,
            placeholders: note.placeholders,
            suggestion: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn settings(more: &[(&str, &str)]) -> S3Settings {
        let mut section = serde_json::json!({"endpoint": "https://s3.example.com", "bucket": "ha-backups",
            "access_key_id": "key", "secret_access_key": "secret"});
        for (key, value) in more {
            section[*key] = (*value).into();
        }
        let (location, _) = Location::from_json(&section).unwrap();
        let Backend::S3(settings) = location.backend else {
            panic!("not a bucket")
        };
        *settings
    }

    #[test]
    fn secret_without_tls_is_noted() {
        let noted = |endpoint, token| {
            note_plain_http(&settings(&[
                ("endpoint", endpoint),
                ("session_token", token),
            ]))
            .map(|note| note.code)
        };
        assert_eq!(noted("http://192.0.2.7:9000", "token"), Some("plain_http"));
        assert_eq!(noted("http://192.0.2.7:9000", ""), None);
        for endpoint in [
            "https://192.0.2.7:9000",
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
            "http://localhost",
        ] {
            assert_eq!(noted(endpoint, "token"), None, "{endpoint}");
        }
    }

    #[test]
    fn fingerprint_without_tls_is_noted() {
        let noted = |endpoint| {
            let fingerprint = ("certificate_sha256", &*"ab".repeat(32));
            let settings = settings(&[("endpoint", endpoint), fingerprint]);
            note_unused_fingerprint(&settings).is_some()
        };
        assert!(noted("http://nas:9000"));
        assert!(!noted("https://nas:9000"));
    }

    #[test]
    fn trial_starts_with_addressing_that_reaches_bucket() {
        let aws = settings(&[
            ("provider", "aws"),
            ("endpoint", "https://s3.eu-central-1.amazonaws.com"),
            ("bucket", "ha.backups"),
            ("addressing", "path"),
        ]);
        assert_eq!(
            aws.open_to_change().addressing.value,
            crate::provider::Addressing::Path
        );
    }
}
