//! The check's promise: where it succeeds, backups are stored and come back; where it fails, they
//! do not. Over all quirks, alone and in pairs.

use std::env;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::Value;

use super::STORAGE_CLASSES;
use crate::lab::{Agent, Imitation, Location, MIB, Quirk, Sample, Setup};

/// Number of concurrent cases; an agent accepts 16 uploads.
const AT_ONCE: usize = 12;

/// Duration of the pairs, without `S3_BACKUP_AGENT_TEST_SECONDS`.
const SECONDS: u64 = 45;

const ALL: &[Quirk] = &[
    Quirk::RefusesChecksumHeaders,
    Quirk::MisreadsTrailers,
    Quirk::EqualParts,
    Quirk::MaxParts(1000),
    Quirk::SlowDownFirst(1),
    Quirk::ClosesAfterAnswer,
    Quirk::FailsToComplete(1),
    Quirk::OpaqueETags,
    Quirk::OpaqueObjectETags,
    Quirk::OpaquePartETags,
    Quirk::CompletesSilently,
    Quirk::NoBulkDelete,
    Quirk::VirtualHostsOnly,
    Quirk::PageSize(2),
    Quirk::LeavesPlusSigns,
    Quirk::LeavesKeys,
    Quirk::Region("eu-central-7"),
    Quirk::RedirectsTo("eu-central-7"),
    Quirk::StorageClasses(STORAGE_CLASSES),
    Quirk::ClockAhead(14),
    Quirk::ClockAhead(20),
    Quirk::Denies("s3:PutObject"),
    Quirk::Denies("s3:GetObject"),
    Quirk::Denies("s3:ListBucket"),
    Quirk::Denies("s3:DeleteObject"),
    Quirk::Denies("s3:AbortMultipartUpload"),
    Quirk::Denies("s3:ListMultipartUploadParts"),
    Quirk::Denies("s3:ListBucketMultipartUploads"),
    Quirk::DemandsEncryption,
    Quirk::RegionInWords("eu-central-7"),
    Quirk::QuotaExceeded,
    Quirk::StorageFull,
    Quirk::KeepsVersions,
    Quirk::DemandsDigest,
    Quirk::KeepsObjects,
    Quirk::WriteOnce,
    Quirk::CachesTars,
    Quirk::CachesNotFound,
    Quirk::HeadAsGet,
    Quirk::DropsRange,
    Quirk::DropsIfMatch,
    Quirk::WeakETags,
    Quirk::RangeAs200,
    Quirk::ChangesContentType,
    Quirk::EncodesTwice,
    Quirk::DeniesDotfiles,
    Quirk::RefusesBrackets,
    Quirk::ListsFolderOnly,
    Quirk::MaxBody(1 << 20),
    Quirk::MaxBody(6 << 20),
    Quirk::CutsBodiesAbove(1 << 20),
];

/// Stores a small and a large backup, and downloads both.
async fn comes_back(agent: &Agent, location: &str, samples: &[Sample; 2]) -> Result<(), String> {
    for sample in samples {
        let created = agent.create(location, sample).await;
        if created.status != 201 {
            return Err(format!("announcing: {created:?}"));
        }
        let upload_id = created.json()["upload_id"].as_str().unwrap().to_owned();
        let stored = agent.content(&upload_id, sample.tar.clone()).await;
        if stored.status != 200 {
            return Err(format!("storing: {stored:?}"));
        }
        let completed = agent.complete(&upload_id, sample).await;
        if completed.status != 200 {
            return Err(format!("completing: {completed:?}"));
        }
    }
    for sample in samples {
        let restored = agent.download(location, sample.id()).await;
        let restored = restored.map_err(|error| format!("restoring {}: {error}", sample.id()))?;
        if restored.body != sample.tar {
            let said = String::from_utf8_lossy(&restored.body[..restored.body.len().min(600)]);
            return Err(format!(
                "restoring {}: {} {said}",
                sample.id(),
                restored.status
            ));
        }
    }
    Ok(())
}

/// Returns how check and backup differ.
async fn broken_promise(agent: &Agent, quirks: &[Quirk], samples: &[Sample; 2]) -> Option<String> {
    let server = Imitation::with(quirks.iter().cloned()).await;
    let number = server.address().rsplit(':').next().unwrap().to_owned();
    let compares_e_tags = [
        Quirk::OpaqueETags,
        Quirk::OpaqueObjectETags,
        Quirk::OpaquePartETags,
    ];
    let checksum = quirks.iter().any(|quirk| compares_e_tags.contains(quirk));
    let location = Location {
        id: format!("l{number}"),
        outage_seconds: 5,
        ..server.location()
    };
    let location = location.with("checksum", if checksum { "off" } else { "" });
    let settings = location.json();
    let checked = agent.post("/v1/locations/check", &settings).await.json();
    let (left, unfinished) = (server.keys().len(), server.unfinished().len());
    agent.register(&location.id, &settings).await;
    let works = comes_back(agent, &location.id, samples).await;
    let removed = agent
        .delete(&format!("/v1/locations/{}", location.id))
        .await;
    assert_eq!(removed.status, 204, "{removed:?}");
    let is_green = checked["ok"] == Value::Bool(true);
    let said = match works {
        Ok(()) if !is_green => format!("the check fails and backups work: {checked:#}"),
        Err(error) if is_green => format!("the check succeeds and a backup fails: {error}"),
        _ if left > most_left(quirks) || unfinished > 1 => {
            format!("the check left {left} objects and {unfinished} uploads: {checked:#}")
        }
        _ => return None,
    };
    Some(format!("{quirks:?}: {said}"))
}

/// Number of objects that any number of checks and agents may leave. Without a digest that the provider verifies, opaque
/// `ETag`s are told by a probe, those of parts by one of its own.
fn most_left(quirks: &[Quirk]) -> usize {
    let is_of_parts = [Quirk::OpaqueETags, Quirk::OpaquePartETags];
    let probes_parts = is_of_parts.iter().any(|quirk| quirks.contains(quirk));
    if probes_parts { 2 } else { 1 }
}

/// All pairs, in an order that mixes them.
fn pairs() -> Vec<[Quirk; 2]> {
    let all = (0..ALL.len()).flat_map(|one| (one + 1..ALL.len()).map(move |other| (one, other)));
    let pairs = all.map(|(one, other)| [ALL[one].clone(), ALL[other].clone()]);
    let mixed = |index: usize| (index * 7919) % 9973;
    let mut order: Vec<_> = pairs.enumerate().collect();
    order.sort_by_key(|(index, _)| mixed(*index));
    order.into_iter().map(|(_, pair)| pair).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_succeeds_exactly_where_backups_come_back() {
    let seconds = env::var("S3_BACKUP_AGENT_TEST_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let agent = &Setup::with([]).serve().await;
    let samples = &[
        Sample::new("a1", "Nächtlich (1)", 40_960),
        Sample::new("b2", "Vor dem Update", 5 * MIB + 40_960),
    ];
    let start = Instant::now();
    let is_due = move || start.elapsed() < Duration::from_secs(seconds);
    let singles = ALL.iter().map(|quirk| vec![quirk.clone()]);
    let pairs = pairs().into_iter().map(|pair| pair.to_vec());
    let cases = singles.chain(pairs.take_while(|_| is_due()));
    let tried: Vec<Option<String>> = futures_util::stream::iter(cases)
        .map(|quirks| async move { broken_promise(agent, &quirks, samples).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    println!("{} combinations in {:?}", tried.len(), start.elapsed());
    let broken: Vec<String> = tried.into_iter().flatten().collect();
    assert!(
        broken.is_empty(),
        "{} promises are broken:\n{}",
        broken.len(),
        broken.join("\n")
    );
}
