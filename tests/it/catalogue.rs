//! What goes wrong for people, as a table: how each case comes about, what `check` says to it, and what helps.
//!
//! Every case is produced for real, and `docs/troubleshooting.md` is written from the same table.

mod cases;
mod troubles;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use futures_util::StreamExt;
use s3_backup_agent::error::{Kind, Reason};
use serde_json::Value;

use crate::harness::{Agent, Setup};
use cases::{CASES, Case, Outcome};
use troubles::Trouble;

/// How many cases are tried at the same time.
const AT_ONCE: usize = 8;

const HEAD: &str = "\
<!-- Written by scripts/generate from tests/it/catalogue/cases.rs. Change that file, not this one. -->

# Troubleshooting

What goes wrong when a bucket is set up, and what helps. `s3-backup-agent check`, and every form that saves a location,
shows the step that fails, the provider's own words and the hint. Each case is tried by the tests, against a real server or
one that imitates the provider.

| what is wrong | fails at | code | reason | what helps |
|---|---|---|---|---|
";

const CORRECTED: &str = "
These are put right without asking, or offered as a correction:

| what is wrong | setting | reason | what helps |
|---|---|---|---|
";

/// What `check` says to a case. The one place that knows the answer's form.
async fn checked(agent: &Agent, trouble: &Trouble) -> Value {
    let answer = agent.post("/v1/locations/check", &trouble.location.json()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// What is not as the table has it, for each way in which the case comes about.
async fn differences(agent: &Agent, case: &Case) -> Vec<String> {
    let mut differences = Vec::new();
    for (number, made) in case.made.iter().enumerate() {
        let trouble = Trouble::make(made).await;
        let said = checked(agent, &trouble).await;
        let differs = match &case.outcome {
            Outcome::Fails { step, code, reason } => differs_in_failure(&said, step, code, reason, case.hint),
            Outcome::Corrects { key, reason } => differs_in_correction(&said, key, reason),
        };
        differences.extend(differs.map(|differs| format!("{} ({number}): {differs}\n{said:#}", case.title)));
        differences.extend(trouble.traces().map(|traces| format!("{} ({number}): left {traces:?}", case.title)));
    }
    differences
}

fn differs_in_failure(said: &Value, step: &str, code: &str, reason: &str, hint: &[&str]) -> Option<String> {
    let failed: Vec<_> = said["steps"].as_array()?.iter().filter(|step| step["ok"] == false).collect();
    let [failed] = failed[..] else { return Some(format!("{} steps fail, not one", failed.len())) };
    let error = &failed["error"];
    let found = [&failed["step"], &error["code"], &error["reason"]];
    if found != [step, code, reason] {
        return Some(format!("{found:?}, not {:?}", [step, code, reason]));
    }
    let words = error["hint"].as_str().unwrap_or_default();
    let missing = hint.iter().find(|word| !words.contains(**word))?;
    Some(format!("\"{missing}\" is not in the hint"))
}

fn differs_in_correction(said: &Value, key: &str, reason: &str) -> Option<String> {
    let notes = said["notes"].as_array()?;
    let is_noted = notes.iter().any(|note| note["code"] == reason && note["key"] == key);
    (!is_noted).then(|| format!("no note {reason} for {key}"))
}

#[tokio::test]
async fn check_names_the_failing_step_and_what_helps() {
    let agent = Setup::with([]).serve().await;
    let tried = futures_util::stream::iter(CASES).map(|case| differences(&agent, case));
    let differences: Vec<String> = tried.buffer_unordered(AT_ONCE).flat_map(futures_util::stream::iter).collect().await;
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

#[tokio::test]
async fn what_is_no_s3_server_is_no_empty_bucket() {
    let not_s3 = CASES.iter().filter(|case| matches!(case.outcome, Outcome::Fails { reason: "not_s3", .. }));
    for made in not_s3.flat_map(|case| case.made) {
        let trouble = Trouble::make(made).await;
        let agent = Setup::of(trouble.location.clone()).serve().await;
        let answer = agent.get("/v1/locations/other/backups").await;
        answer.is_problem(502, "storage_error", &["not an S3 server"]);
    }
}

/// The hint of a reason, or of the code where there is no finer reason.
fn hint_of(reason: &str) -> &'static str {
    let reasons = Reason::ALL.into_iter().map(|reason| (reason.code(), reason.hint()));
    let kinds = Kind::ALL.into_iter().map(|kind| (kind.code(), kind.facts().hint));
    let hints: BTreeMap<_, _> = kinds.chain(reasons).collect();
    hints.get(reason).unwrap_or_else(|| panic!("there is no reason {reason}"))
}

fn document() -> String {
    let (mut failures, mut corrections) = (String::new(), String::new());
    for Case { title, outcome, .. } in CASES {
        match outcome {
            Outcome::Fails { step, code, reason } => {
                writeln!(failures, "| {title} | {step} | `{code}` | `{reason}` | {} |", hint_of(reason)).unwrap();
            }
            Outcome::Corrects { key, reason } => {
                writeln!(corrections, "| {title} | `{key}` | `{reason}` | {} |", hint_of(reason)).unwrap();
            }
        }
    }
    format!("{HEAD}{failures}{CORRECTED}{corrections}")
}

#[test]
fn the_document_of_troubles_says_what_the_table_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    if std::env::var_os("S3_BACKUP_AGENT_GENERATE").is_some() {
        std::fs::write(&file, document()).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == document(), "docs/troubleshooting.md is not up to date: run scripts/generate");
}
