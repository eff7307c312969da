//! Common failures as a table: cause, result of `check`, remedy.
//!
//! Every case is reproduced, and `docs/troubleshooting.md` is generated from the same table.

mod case;
mod cases;
mod cases_of_words;
mod causes;
mod sayings;
mod troubles;

use std::collections::BTreeMap;
use std::fmt::Write;

use futures_util::StreamExt;
use s3_backup_agent::error::{Kind, Reason};
use serde_json::Value;

use crate::generated::assert_up_to_date;
use crate::lab::{Agent, Setup};
use case::{Case, Outcome};
use cases::cases;
use troubles::Trouble;

/// Number of concurrent cases.
const AT_ONCE: usize = 8;

const HEAD: &str = "\
<!-- Written by scripts/generate from tests/contract/troubleshooting/cases.rs. Change that file, not this one. -->

# Troubleshooting

What goes wrong when a bucket is set up, and what helps. `s3-backup-agent check`, and every form that saves a location,
shows the step that fails, the provider's own words and the hint. The project's tests produce each case, on a real or a
simulated server.

A change in Home Assistant counts at once. After a change in `agent.toml`, in a file that it names, or in the app's options, restart
the agent. `HOST` in a command is the endpoint's host; the agent's own message has yours.

| what is wrong | fails at | code | reason | what helps |
|---|---|---|---|---|
";

const WARNED: &str = "
These don't forbid a location: backups can be stored and restored. The check warns of them, with the provider's own words:

| what is wrong | note |
|---|---|
";

const NOTED: &str = "
The agent corrects these values itself:

| what is wrong | setting | reason | what helps |
|---|---|---|---|
";

/// Runs `check` on settings. Only this function and the next three know the form of the answer.
async fn checked(agent: &Agent, settings: &Value) -> Value {
    let answer = agent.post("/v1/locations/check", settings).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn differs_in_failure(said: &Value, expected: [&str; 3], hint: &[&str]) -> Option<String> {
    let failed: Vec<_> = said["steps"]
        .as_array()?
        .iter()
        .filter(|step| step["ok"] == false)
        .collect();
    let [failed] = failed[..] else {
        return Some(format!("{} steps fail, not one", failed.len()));
    };
    let error = &failed["error"];
    let found = [&failed["step"], &error["code"], &error["reason"]];
    if found != expected || said["ok"] != false {
        return Some(format!("{found:?}, not {expected:?}"));
    }
    let message = error["message"].as_str().unwrap_or_default();
    if message.contains("Error(") || message.contains("UnknownIssuer") {
        return Some(format!("a name from the code is in \"{message}\""));
    }
    let words = error["hint"].as_str().unwrap_or_default();
    let missing = hint.iter().find(|word| !words.contains(**word))?;
    Some(format!("\"{missing}\" is not in the hint"))
}

fn differs_in_warning(said: &Value, code: &str, words: &[&str]) -> Option<String> {
    let notes = said["notes"].as_array()?;
    let is_warned = said["ok"] == true
        && notes.iter().any(|note| {
            let message = note["message"].as_str().unwrap_or_default();
            note["code"] == code && words.iter().all(|word| message.contains(word))
        });
    (!is_warned).then(|| format!("no warning {code} with {words:?}"))
}

fn differs_in_note(said: &Value, key: &str, reason: &str) -> Option<String> {
    let notes = said["notes"].as_array()?;
    let is_noted = said["ok"] == true
        && notes
            .iter()
            .any(|note| note["code"] == reason && note["key"] == key);
    (!is_noted).then(|| format!("no note {reason} for {key}"))
}

/// Tries the suggested settings. Behind a proxy that keeps requests on this machine, valid settings
/// suffice.
async fn differs_in_offer(
    agent: &Agent,
    mut settings: Value,
    said: &Value,
    offers: Option<&str>,
) -> Option<String> {
    let Some(key) = offers else {
        return (!said["corrected"].is_null()).then(|| "it offers something".to_owned());
    };
    let offered = said["corrected"]
        .as_object()
        .filter(|offered| offered.contains_key(key));
    let Some(offered) = offered else {
        return Some(format!("it offers no {key}"));
    };
    settings.as_object_mut()?.extend(offered.clone());
    let again = checked(agent, &settings).await;
    let is_usable = again["steps"]
        .as_array()?
        .iter()
        .all(|step| step["step"] != "settings");
    let works = if settings.get("proxy").is_some() {
        is_usable
    } else {
        again["ok"] == true
    };
    (!works).then(|| format!("what it offers does not work: {again:#}"))
}

/// Differences from the table, for each cause of the case.
async fn differences(agent: &Agent, case: &Case) -> Vec<String> {
    let mut differences = Vec::new();
    for (number, made) in case.made.iter().enumerate() {
        let trouble = Trouble::make(made).await;
        let settings = trouble.location.json();
        let said = checked(agent, &settings).await;
        let mut differs = match &case.outcome {
            Outcome::Fails { step, code, reason } => {
                differs_in_failure(&said, [step, code, reason], case.hint)
            }
            Outcome::Warns { code } => differs_in_warning(&said, code, case.hint),
            Outcome::Notes { key, reason } => differs_in_note(&said, key, reason),
        };
        if differs.is_none() {
            differs = differs_in_offer(agent, settings, &said, case.offers).await;
        }
        if differs.is_none() {
            differs = trouble.traces().map(|traces| format!("left {traces:?}"));
        }
        differences.extend(
            differs.map(|differs| format!("{} ({number}): {differs}\n{said:#}", case.title)),
        );
    }
    differences
}

#[tokio::test]
async fn check_names_the_failing_step_and_the_fix() {
    let agent = Setup::with([]).serve().await;
    let tried = futures_util::stream::iter(cases()).map(|case| differences(&agent, case));
    let differences: Vec<String> = tried
        .buffer_unordered(AT_ONCE)
        .flat_map(futures_util::stream::iter)
        .collect()
        .await;
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[tokio::test]
async fn non_s3_answer_is_not_an_empty_bucket() {
    let not_s3 = cases().filter(|case| {
        matches!(
            case.outcome,
            Outcome::Fails {
                reason: "not_s3",
                ..
            }
        )
    });
    for made in not_s3.flat_map(|case| case.made) {
        let trouble = Trouble::make(made).await;
        let agent = Setup::of(trouble.location.clone()).serve().await;
        let answer = agent.get("/v1/locations/other/backups").await;
        answer.is_problem(502, "storage_error", &["not an S3 server"]);
    }
}

/// The hint of a reason, or of the code if there is no finer reason.
fn hint_of(reason: &str) -> &'static str {
    let reasons = Reason::ALL
        .into_iter()
        .map(|reason| (reason.code(), reason.hint()));
    let kinds = Kind::ALL
        .into_iter()
        .map(|kind| (kind.code(), kind.facts().hint));
    let hints: BTreeMap<_, _> = kinds.chain(reasons).collect();
    hints
        .get(reason)
        .unwrap_or_else(|| panic!("there is no reason {reason}"))
}

fn document() -> String {
    let [mut failures, mut warnings, mut notes] = [const { String::new() }; 3];
    for Case {
        title,
        outcome,
        offers,
        ..
    } in cases()
    {
        let offers = offers
            .map(|key| format!(" `check` offers the right `{key}`."))
            .unwrap_or_default();
        match outcome {
            Outcome::Fails { step, code, reason } => {
                writeln!(
                    failures,
                    "| {title} | {step} | `{code}` | `{reason}` | {}{offers} |",
                    hint_of(reason)
                )
                .unwrap();
            }
            Outcome::Warns { code } => {
                writeln!(warnings, "| {title} | `{code}` |").unwrap();
            }
            Outcome::Notes { key, reason } => {
                writeln!(
                    notes,
                    "| {title} | `{key}` | `{reason}` | {} |",
                    hint_of(reason)
                )
                .unwrap();
            }
        }
    }
    format!("{HEAD}{failures}{WARNED}{warnings}{NOTED}{notes}")
}

#[test]
fn troubleshooting_document_is_current() {
    assert_up_to_date("docs/troubleshooting.md", |_| document());
}
