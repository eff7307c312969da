//! Deviating providers: a round trip succeeds on each with only endpoint, bucket and key
//! configured.

mod between;
mod imitations;
mod promise;

use std::sync::OnceLock;

use http::Method;
use serde_json::json;

use crate::lab::quirks::Certificate;
use crate::lab::{Failure, Imitation, Location, MIB, Quirk, Sample, Setup};

const STORAGE_CLASSES: &[&str] = &["STANDARD", "REDUCED_REDUNDANCY"];

/// One shared backup of 100 MiB: 20 parts.
fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| Sample::new("1f2e3d4c", "Before the update", 100 * MIB))
}

/// Uploads, lists, downloads and deletes.
async fn main_job_succeeds_with(quirks: impl IntoIterator<Item = Quirk>) -> Imitation {
    let server = Imitation::with(quirks).await;
    main_job_succeeds_at(&server, server.location()).await;
    server
}

async fn main_job_succeeds_at(server: &Imitation, location: Location) {
    main_job_succeeds_for(sample(), server, location).await;
}

async fn main_job_succeeds_for(sample: &Sample, server: &Imitation, location: Location) {
    let agent = Setup::of(location).serve().await;
    let stem = format!("backups/{}", sample.stem());
    agent.upload("other", sample).await;
    server
        .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
    assert!(
        server.get(&format!("{stem}.tar")) == sample.tar,
        "the tar in the bucket differs"
    );
    assert_eq!(agent.listed("other").await, ["1f2e3d4c"]);
    assert!(
        agent.download("other", "1f2e3d4c").await.unwrap().body == sample.tar,
        "the download differs"
    );
    assert_eq!(agent.delete_backup("other", "1f2e3d4c").await.status, 204);
    server.wait_until_keys_are(&[]).await;
}

#[tokio::test]
async fn provider_without_quirks() {
    let server = main_job_succeeds_with([]).await;
    assert_eq!(server.quirks_shown(), 0);
}

/// As `openssl req -x509` makes it, and given to the agent byte for byte.
#[tokio::test]
async fn certificate_that_is_its_own_authority_is_trusted() {
    let server = Imitation::with_tls(Certificate::OwnAuthority).await;
    main_job_succeeds_at(&server, server.location()).await;
}

#[tokio::test]
async fn provider_refusing_checksum_headers() {
    main_job_succeeds_with([Quirk::RefusesChecksumHeaders]).await;
}

#[tokio::test]
async fn provider_refusing_its_preset_checksum() {
    let server = Imitation::with([Quirk::RefusesChecksumHeaders]).await;
    main_job_succeeds_at(
        &server,
        Location {
            provider: "garage".into(),
            ..server.location()
        },
    )
    .await;
    assert!(server.quirks_shown() > 0);
}

#[tokio::test]
async fn provider_misreading_trailers() {
    main_job_succeeds_with([Quirk::MisreadsTrailers]).await;
}

/// Acknowledged backups are in the list, whatever their names.
#[tokio::test]
async fn provider_listing_keys_without_the_encoding_it_claims() {
    for quirks in [
        vec![Quirk::LeavesPlusSigns],
        vec![Quirk::LeavesKeys],
        vec![Quirk::LeavesKeys, Quirk::PageSize(1)],
        vec![],
    ] {
        let server = Imitation::with(quirks.clone()).await;
        let agent = Setup::of(server.location()).serve().await;
        let mut samples = Vec::new();
        for (id, name) in [
            ("a1", "C++ 50%"),
            ("b2", "Größe + Öl"),
            ("c3", "100%25 a%2Bb"),
            ("d4", "plain"),
        ] {
            let sample = Sample::new(id, name, 40_960);
            agent.upload("other", &sample).await;
            samples.push(sample);
        }
        let list = agent.refreshed("other").await;
        assert_eq!(list["skipped"], json!([]), "{quirks:?}");
        assert_eq!(list["backups"].as_array().unwrap().len(), 4, "{quirks:?}");
        let again = Setup::of(server.location()).serve().await;
        for sample in samples {
            let download = again.download("other", sample.id()).await.unwrap();
            assert!(download.body == sample.tar, "{quirks:?}: {}", sample.id());
            let deleted = again.delete_backup("other", sample.id()).await;
            assert_eq!(deleted.status, 204, "{quirks:?}: {}", sample.id());
        }
        server.wait_until_keys_are(&[]).await;
    }
}

#[tokio::test]
async fn provider_requiring_equal_parts() {
    main_job_succeeds_with([Quirk::EqualParts]).await;
}

#[tokio::test]
async fn provider_throttling_at_first() {
    let server = main_job_succeeds_with([Quirk::SlowDownFirst(2)]).await;
    assert!(server.quirks_shown() > 10);
}

#[tokio::test]
async fn provider_throttling_repeatedly() {
    let server = main_job_succeeds_with([Quirk::SlowDownEvery(7)]).await;
    assert!(server.quirks_shown() > 3);
}

#[tokio::test]
async fn busy_provider_gets_fewer_concurrent_parts() {
    let server = Imitation::with([Quirk::BusyAbove(2)]).await;
    let agent = Setup::of(Location {
        concurrency: 8,
        ..server.location()
    })
    .serve()
    .await;
    let sample = Sample::new("a1", "Busy", 60 * MIB);
    agent.upload("other", &sample).await;
    let slowed_to = agent.get("/v1/diagnostics").await.json()["locations"][0]["slowed_to"].as_u64();
    assert!(slowed_to.is_some_and(|parts| parts <= 4), "{slowed_to:?}");
    // Eight concurrent requests for twelve parts would be throttled repeatedly.
    assert!(
        server.quirks_shown() <= 12,
        "throttled {} times",
        server.quirks_shown()
    );
    assert!(agent.download("other", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn provider_disconnecting_repeatedly() {
    let server = main_job_succeeds_with([Quirk::HangsUpEvery(5)]).await;
    assert!(server.quirks_shown() > 5);
}

#[tokio::test]
async fn provider_closing_idle_connections() {
    main_job_succeeds_with([Quirk::ClosesAfterAnswer]).await;
}

#[tokio::test]
async fn provider_failing_completion_inside_a_200_response() {
    main_job_succeeds_with([Quirk::FailsToComplete(1)]).await;
}

#[tokio::test]
async fn provider_failing_every_completion_leaves_no_backup() {
    let server = Imitation::with([Quirk::FailsToComplete(usize::MAX)]).await;
    let agent = Setup::of(Location {
        outage_seconds: 3,
        ..server.location()
    })
    .serve()
    .await;
    let sample = Sample::new("a1", "Never", 11 * MIB);
    let upload_id = agent.received("other", &sample).await;
    let completed = agent.complete(&upload_id, &sample).await;
    completed.is_problem(503, "storage_unreachable", &["internal error"]);
    assert_eq!(completed.json()["provider_code"], "InternalError");
    server.wait_until_keys_are(&[]).await;
}

/// It completed the upload at first, and reports an error of its own from then on.
#[tokio::test]
async fn completion_behind_lasting_errors_is_found() {
    let server = Imitation::with([]).await;
    let agent = Setup::of(server.location()).serve().await;
    let sample = Sample::new("a1", "Late", 11 * MIB);
    let upload_id = agent.received("other", &sample).await;
    // The first request asks whether the name is free.
    server.fail(2, 2, Failure::FailsAfter);
    let completed = agent.complete(&upload_id, &sample).await;
    assert_eq!(completed.status, 200, "{completed:?}");
    let completions = server.count(|request| {
        let query = request.uri.query().unwrap_or_default();
        request.method == Method::POST && query.contains("uploadId=")
    });
    assert_eq!(completions, 2);
    assert!(agent.download("other", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn provider_with_non_md5_etags() {
    main_job_succeeds_with([Quirk::OpaqueETags]).await;
}

#[tokio::test]
async fn provider_without_multi_object_delete() {
    main_job_succeeds_with([Quirk::NoBulkDelete]).await;
}

#[tokio::test]
async fn provider_requiring_virtual_hosted_addressing() {
    let server = main_job_succeeds_with([Quirk::VirtualHostsOnly]).await;
    assert!(server.quirks_shown() > 0, "path-style was not tried first");
}

#[tokio::test]
async fn provider_naming_its_region() {
    let server = main_job_succeeds_with([Quirk::Region("eu-central-7")]).await;
    assert!(server.quirks_shown() > 0);
}

#[tokio::test]
async fn provider_redirecting_to_its_region() {
    let server = main_job_succeeds_with([Quirk::RedirectsTo("eu-central-7")]).await;
    assert!(server.quirks_shown() > 0);
}

#[tokio::test]
async fn provider_with_another_region_and_addressing() {
    main_job_succeeds_with([
        Quirk::VirtualHostsOnly,
        Quirk::Region("cn-nanjing"),
        Quirk::RefusesChecksumHeaders,
    ])
    .await;
}

#[tokio::test]
async fn provider_accepting_few_parts() {
    main_job_succeeds_with([Quirk::MaxParts(1000)]).await;
}

#[tokio::test]
async fn provider_with_few_storage_classes() {
    main_job_succeeds_with([Quirk::StorageClasses(STORAGE_CLASSES)]).await;
}

#[tokio::test]
async fn provider_listing_a_hundred_keys_per_page() {
    let server = Imitation::with([Quirk::PageSize(100)]).await;
    let sample = Sample::small("a");
    for index in 0..130 {
        let mut metadata = sample.metadata.clone();
        metadata["backup_id"] = json!(format!("b{index:03}"));
        server.put(&format!("backups/Backup ä+{index}.tar"), &sample.tar);
        server.put(
            &format!("backups/Backup ä+{index}.metadata.json"),
            metadata.to_string(),
        );
    }
    let agent = Setup::of(server.location()).serve().await;
    let listed = agent.listed("other").await;
    assert_eq!(
        (listed.len(), &*listed[0], &*listed[129]),
        (130, "b000", "b129")
    );
    assert_eq!(
        server.count(|request| request
            .uri
            .query()
            .is_some_and(|query| query.contains("list-type=2"))),
        3
    );
    agent.upload("other", &Sample::small("new")).await;
    assert_eq!(agent.listed("other").await.len(), 131);
    assert!(agent.download("other", "b077").await.unwrap().body == sample.tar);
    assert_eq!(agent.delete_backup("other", "b077").await.status, 204);
    assert_eq!(agent.listed("other").await.len(), 130);
}

#[tokio::test]
async fn check_detects_provider_requirements() {
    let agent = Setup::with([]).serve().await;
    let found = |region: &str, addressing: &str| json!({"region": region, "addressing": addressing, "checksum": "sha256"});
    let (usual, mut differences) = (found("us-east-1", "path"), Vec::new());
    for (quirk, found) in [
        (Quirk::RefusesChecksumHeaders, usual.clone()),
        (Quirk::MisreadsTrailers, usual.clone()),
        (Quirk::EqualParts, usual.clone()),
        (Quirk::SlowDownFirst(1), usual.clone()),
        (Quirk::HangsUpEvery(5), usual.clone()),
        (Quirk::ClosesAfterAnswer, usual.clone()),
        (Quirk::OpaqueETags, usual.clone()),
        (Quirk::NoBulkDelete, usual.clone()),
        (Quirk::StorageClasses(STORAGE_CLASSES), usual.clone()),
        (Quirk::ClockAhead(14), usual),
        (Quirk::VirtualHostsOnly, found("us-east-1", "virtual")),
        (Quirk::Region("eu-central-7"), found("eu-central-7", "path")),
        (
            Quirk::RedirectsTo("eu-central-7"),
            found("eu-central-7", "path"),
        ),
    ] {
        let server = Imitation::with([quirk.clone()]).await;
        let checked = agent
            .post("/v1/locations/check", &server.location().json())
            .await
            .json();
        if (&checked["ok"], &checked["found"]) != (&json!(true), &found)
            || !server.keys().is_empty()
        {
            differences.push(format!("{quirk:?}: {checked:#}, left {:?}", server.keys()));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
