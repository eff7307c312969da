//! Tries a location's settings, step by step, and finds out what would work where they do not. Leaves nothing behind.
//!
//! The settings are tried as they are. Where a step fails that a provider's answers can put right (region, addressing,
//! checksum, the endpoint's scheme), everything is tried once more with what was learned; only what then works from
//! the first step to the last is offered.

mod steps;

use std::collections::BTreeMap;

use serde::Serialize;
use tracing::info;

use super::events::Report;
use crate::config::{Backend, Choice, Location, Problem, S3Settings};
use crate::error::{Error, Kind, Reason};
use crate::store::Dialect;
use steps::Trial;

/// Regions that servers of one's own go by when nobody set another.
const USUAL_REGIONS: [&str; 3] = ["us-east-1", "auto", "garage"];

/// One step of a check.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Its name, as in [`steps`]; `settings` when they cannot even be tried.
    pub step: &'static str,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took.
    pub duration_ms: u64,
    /// Why it failed.
    pub error: Option<Report>,
    /// The setting that is wrong; only in `settings`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// Whether all steps went well.
    pub ok: bool,
    /// The steps, up to the first that failed.
    pub steps: Vec<Step>,
    /// Settings to change, when that makes everything work.
    pub corrected: Option<BTreeMap<String, String>>,
    /// What was found out where the settings say `auto`.
    pub found: Option<BTreeMap<String, String>>,
    /// What people may want to know although it works.
    pub notes: Vec<Note>,
}

/// Something that does no harm.
#[derive(Debug, Clone, Serialize)]
pub struct Note {
    /// Its code.
    pub code: &'static str,
    /// The setting that it is about.
    pub key: Option<String>,
    /// What it is.
    pub message: String,
}

/// Tries settings as they came over the protocol.
pub async fn check_json(settings: &serde_json::Value) -> Checked {
    match Location::from_json(settings) {
        Ok((location, notes)) => {
            let mut checked = check(&location).await;
            checked.notes.extend(notes.into_iter().map(Note::from));
            checked
        }
        Err(problems) => Checked::unusable(&problems),
    }
}

/// Tries a location's settings.
pub async fn check(location: &Location) -> Checked {
    let trial = Trial::of(location.clone()).await;
    let corrected = match &location.backend {
        Backend::S3(settings) if !trial.ok() => correct(location, settings, &trial).await,
        _ => None,
    };
    let found = match (&location.backend, &trial.dialect) {
        (Backend::S3(_), Some(dialect)) if trial.ok() => Some(words(dialect)),
        _ => None,
    };
    info!(location = location.id, ok = trial.ok(), "checked");
    Checked { ok: trial.ok(), steps: trial.steps, corrected, found, notes: trial.notes }
}

/// Settings that would work, and what is different in them.
async fn correct(location: &Location, settings: &S3Settings, failed: &Trial) -> Option<BTreeMap<String, String>> {
    let error = failed.error()?;
    for changed in candidates(settings, error) {
        let location = Location { backend: Backend::S3(Box::new(changed)), ..location.clone() };
        let trial = Trial::of(location).await;
        if let (true, Some(dialect)) = (trial.ok(), &trial.dialect) {
            let changes = dialect.difference(&Dialect::of(settings));
            return Some(changes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        }
    }
    None
}

/// What may be worth a try after this error.
fn candidates(settings: &S3Settings, error: &Report) -> Vec<S3Settings> {
    let open = settings.open_to_change();
    let with_scheme = |scheme: &str| {
        let mut endpoint = open.endpoint.clone();
        endpoint.set_scheme(scheme).ok().map(|()| S3Settings { endpoint, ..open.clone() })
    };
    let with_region = |region: &str| {
        let region = Choice { value: region.to_owned(), is_given: false };
        S3Settings { region, ..open.clone() }
    };
    let is = |reason: Reason| error.reason == reason.code();
    if is(Reason::NoTls) {
        return with_scheme("http").into_iter().collect();
    }
    if is(Reason::TlsNeeded) {
        return with_scheme("https").into_iter().collect();
    }
    // Some servers take a signature for another region for a wrong one, and do not say which region is theirs.
    if is(Reason::WrongSecret) {
        let provider = settings.provider;
        let own = provider.region_in(&settings.endpoint).into_iter().chain([provider.region.clone()]);
        let usual = own.chain(USUAL_REGIONS.map(str::to_owned)).filter(|region| *region != settings.region.value);
        return usual.map(|region| with_region(&region)).take(USUAL_REGIONS.len()).collect();
    }
    let is_taught = [Kind::WrongRegion, Kind::StorageError, Kind::BucketNotFound, Kind::StorageForbidden]
        .iter()
        .any(|kind| kind.code() == error.code);
    let is_virtual = is(Reason::HostUnknown) || error.code == Kind::StorageCertificate.code();
    let may_help = (is_taught && settings.has_given()) || (is_virtual && settings.addressing.is_given);
    if may_help { vec![open] } else { Vec::new() }
}

fn words(dialect: &Dialect) -> BTreeMap<String, String> {
    let words = [
        ("region", dialect.region.as_str()),
        ("addressing", dialect.addressing.as_str()),
        ("checksum", dialect.checksum.as_str()),
    ];
    words.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl Checked {
    /// The first step that failed.
    #[must_use]
    pub fn error(&self) -> Option<&Report> {
        self.steps.iter().find_map(|step| step.error.as_ref())
    }

    fn unusable(problems: &[Problem]) -> Self {
        let step = |problem: &Problem| {
            let error = Error::new(Kind::InvalidRequest, problem.to_string()).with_reason(problem.reason);
            let (key, error) = (Some(problem.key.clone()), Some(Report::from(&error)));
            Step { step: "settings", ok: false, duration_ms: 0, error, key }
        };
        let suggested = problems.iter().filter_map(|problem| Some((problem.key.clone(), problem.suggestion.clone()?)));
        let corrected: BTreeMap<_, _> = suggested.collect();
        Self {
            ok: false,
            steps: problems.iter().map(step).collect(),
            corrected: Some(corrected).filter(|corrected| !corrected.is_empty()),
            found: None,
            notes: Vec::new(),
        }
    }
}

impl From<Problem> for Note {
    fn from(note: Problem) -> Self {
        let code = note.reason.map_or("note", Reason::code);
        Self { code, key: Some(note.key), message: note.message }
    }
}
