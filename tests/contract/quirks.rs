//! Providers that differ: the main job succeeds on each of them, with nothing set by hand but endpoint, bucket and key.

use std::fmt::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use crate::lab::{Imitation, Location, MIB, Quirk, Sample, Setup};

const STORAGE_CLASSES: &[&str] = &["STANDARD", "REDUCED_REDUNDANCY"];

/// One backup of 100 MiB for all: 20 parts.
fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| Sample::new("1f2e3d4c", "Before the update", 100 * MIB))
}

/// Upload, list, download and delete.
async fn the_main_job_succeeds(quirks: impl IntoIterator<Item = Quirk>) -> Imitation {
    let server = Imitation::with(quirks).await;
    succeeds_at(&server, server.location()).await;
    server
}

async fn succeeds_at(server: &Imitation, location: Location) {
    let agent = Setup::of(location).serve().await;
    let (sample, stem) = (sample(), format!("backups/{}", sample().stem()));
    agent.upload("other", sample).await;
    server
        .comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
    assert!(
        server.get(&format!("{stem}.tar")) == sample.tar,
        "the tar in the bucket is another one"
    );
    assert_eq!(agent.listed("other").await, ["1f2e3d4c"]);
    assert!(
        agent.download("other", "1f2e3d4c").await.unwrap().body == sample.tar,
        "the download differs"
    );
    assert_eq!(agent.delete_backup("other", "1f2e3d4c").await.status, 204);
    server.comes_to_hold(&[]).await;
}

#[tokio::test]
async fn a_provider_without_quirks() {
    let server = the_main_job_succeeds([]).await;
    assert_eq!(server.quirks_shown(), 0);
}

#[tokio::test]
async fn a_provider_that_refuses_checksum_headers() {
    the_main_job_succeeds([Quirk::RefusesChecksumHeaders]).await;
}

#[tokio::test]
async fn a_provider_that_refuses_the_checksum_its_preset_takes() {
    let server = Imitation::with([Quirk::RefusesChecksumHeaders]).await;
    succeeds_at(
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
async fn a_provider_that_misreads_trailers() {
    the_main_job_succeeds([Quirk::MisreadsTrailers]).await;
}

#[tokio::test]
async fn a_provider_that_wants_equal_parts() {
    the_main_job_succeeds([Quirk::EqualParts]).await;
}

#[tokio::test]
async fn a_provider_that_asks_to_slow_down_at_first() {
    let server = the_main_job_succeeds([Quirk::SlowDownFirst(2)]).await;
    assert!(server.quirks_shown() > 10);
}

#[tokio::test]
async fn a_provider_that_asks_to_slow_down_again_and_again() {
    let server = the_main_job_succeeds([Quirk::SlowDownEvery(7)]).await;
    assert!(server.quirks_shown() > 3);
}

#[tokio::test]
async fn a_provider_that_is_busy_gets_fewer_parts_at_a_time() {
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
    // Of twelve parts, eight at a time would be refused again and again.
    assert!(
        server.quirks_shown() <= 12,
        "it was refused {} times",
        server.quirks_shown()
    );
    assert!(agent.download("other", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn a_provider_that_hangs_up_again_and_again() {
    let server = the_main_job_succeeds([Quirk::HangsUpEvery(5)]).await;
    assert!(server.quirks_shown() > 5);
}

#[tokio::test]
async fn a_provider_that_closes_connections_by_surprise() {
    the_main_job_succeeds([Quirk::ClosesAfterAnswer]).await;
}

#[tokio::test]
async fn a_provider_that_says_200_and_then_fails_to_put_the_parts_together() {
    the_main_job_succeeds([Quirk::FailsToComplete(1)]).await;
}

#[tokio::test]
async fn a_provider_that_never_puts_the_parts_together_leaves_no_backup() {
    let server = Imitation::with([Quirk::FailsToComplete(usize::MAX)]).await;
    let agent = Setup::of(Location {
        outage_seconds: 3,
        ..server.location()
    })
    .serve()
    .await;
    let sample = Sample::new("a1", "Never", 11 * MIB);
    let upload_id = agent.begin("other", &sample).await;
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    let completed = agent.complete(&upload_id, &sample).await;
    completed.is_problem(503, "storage_unreachable", &["internal error"]);
    assert_eq!(completed.json()["provider_code"], "InternalError");
    server.comes_to_hold(&[]).await;
}

#[tokio::test]
async fn a_provider_whose_e_tags_are_no_md5() {
    the_main_job_succeeds([Quirk::OpaqueETags]).await;
}

#[tokio::test]
async fn a_provider_that_cannot_delete_several_at_once() {
    the_main_job_succeeds([Quirk::NoBulkDelete]).await;
}

#[tokio::test]
async fn a_provider_that_wants_the_bucket_before_the_host_name() {
    let server = the_main_job_succeeds([Quirk::VirtualHostsOnly]).await;
    assert!(
        server.quirks_shown() > 0,
        "it was not asked for the path first"
    );
}

#[tokio::test]
async fn a_provider_in_another_region_that_names_it() {
    let server = the_main_job_succeeds([Quirk::Region("eu-central-7")]).await;
    assert!(server.quirks_shown() > 0);
}

#[tokio::test]
async fn a_provider_in_another_region_that_redirects() {
    let server = the_main_job_succeeds([Quirk::RedirectsTo("eu-central-7")]).await;
    assert!(server.quirks_shown() > 0);
}

#[tokio::test]
async fn a_provider_of_another_region_and_addressing() {
    the_main_job_succeeds([
        Quirk::VirtualHostsOnly,
        Quirk::Region("cn-nanjing"),
        Quirk::RefusesChecksumHeaders,
    ])
    .await;
}

#[tokio::test]
async fn a_provider_that_takes_few_parts() {
    the_main_job_succeeds([Quirk::MaxParts(1000)]).await;
}

#[tokio::test]
async fn a_provider_that_knows_few_storage_classes() {
    the_main_job_succeeds([Quirk::StorageClasses(STORAGE_CLASSES)]).await;
}

#[tokio::test]
async fn a_provider_that_lists_a_hundred_at_a_time() {
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
async fn check_finds_out_how_each_provider_wants_it() {
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

/// What the server says to a plain signed request that the quirk concerns, past the agent.
async fn says(
    quirk: Quirk,
    method: Method,
    target: &str,
    header: (&'static str, &str),
    expected: (u16, &str),
) {
    let server = Imitation::with([quirk.clone()]).await;
    let answer = server
        .bucket()
        .ask(method, target, &[header], "data".into())
        .await;
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(
        status,
        StatusCode::from_u16(expected.0).unwrap(),
        "{quirk:?}: {text}"
    );
    assert!(text.contains(expected.1), "{quirk:?}: {text}");
}

#[tokio::test]
async fn the_imitations_say_what_the_providers_say() {
    let (put, none) = (Method::PUT, ("accept", "*/*"));
    let checksum = ("x-amz-checksum-crc32", "rQcj4w==");
    let words = "Unsupported header 'x-amz-checksum-crc32' received for this API call.";
    says(
        Quirk::RefusesChecksumHeaders,
        put.clone(),
        "/key",
        checksum,
        (400, words),
    )
    .await;
    says(
        Quirk::SlowDownFirst(1),
        put.clone(),
        "/key",
        none,
        (503, "SlowDown"),
    )
    .await;
    says(
        Quirk::NoBulkDelete,
        Method::POST,
        "/?delete=",
        none,
        (400, "POST ?delete is not implemented"),
    )
    .await;
    says(
        Quirk::VirtualHostsOnly,
        put.clone(),
        "/key",
        none,
        (403, "SecondLevelDomainForbidden"),
    )
    .await;
    says(
        Quirk::Region("eu-7"),
        put.clone(),
        "/key",
        none,
        (400, "<Region>eu-7</Region>"),
    )
    .await;
    says(
        Quirk::RedirectsTo("eu-7"),
        put.clone(),
        "/key",
        none,
        (301, "PermanentRedirect"),
    )
    .await;
    let class = ("x-amz-storage-class", "GLACIER");
    says(
        Quirk::StorageClasses(STORAGE_CLASSES),
        put.clone(),
        "/key",
        class,
        (400, "InvalidStorageClass"),
    )
    .await;
    says(
        Quirk::ClockAhead(20),
        put.clone(),
        "/key",
        none,
        (403, "RequestTimeTooSkewed"),
    )
    .await;
    says(Quirk::ClockAhead(14), put.clone(), "/key", none, (200, "")).await;
    says(
        Quirk::Denies("s3:PutObject"),
        put.clone(),
        "/key",
        none,
        (403, "AccessDenied"),
    )
    .await;
    says(
        Quirk::Denies("s3:GetObject"),
        put.clone(),
        "/key",
        none,
        (200, ""),
    )
    .await;
    says(
        Quirk::QuotaExceeded,
        put.clone(),
        "/key",
        none,
        (403, "QuotaExceeded"),
    )
    .await;
    says(
        Quirk::StorageFull,
        put.clone(),
        "/key",
        none,
        (507, "XMinioStorageFull"),
    )
    .await;
    says(
        Quirk::TokenExpired,
        put,
        "/key",
        ("x-amz-security-token", "old"),
        (400, "ExpiredToken"),
    )
    .await;
}

/// Puts parts of these sizes together past the agent; the answer's status and text.
async fn completes(server: &Imitation, sizes: &[u64]) -> (u16, String) {
    let bucket = server.bucket();
    let started = bucket
        .ask(Method::POST, "/key?uploads=", &[], Bytes::new())
        .await
        .text()
        .await
        .unwrap();
    let (_, id) = started.split_once("<UploadId>").unwrap();
    let (id, _) = id.split_once("</UploadId>").unwrap();
    let mut parts = String::new();
    for (number, size) in (1..).zip(sizes) {
        let data = vec![0; usize::try_from(*size).unwrap()].into();
        let target = format!("/key?partNumber={number}&uploadId={id}");
        let stored = bucket.ask(Method::PUT, &target, &[], data).await;
        let Some(e_tag) = stored.headers().get("etag") else {
            return (stored.status().as_u16(), stored.text().await.unwrap());
        };
        let e_tag = e_tag.to_str().unwrap();
        write!(
            parts,
            "<Part><ETag>{e_tag}</ETag><PartNumber>{number}</PartNumber></Part>"
        )
        .unwrap();
    }
    let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let answer = bucket
        .ask(
            Method::POST,
            &format!("/key?uploadId={id}"),
            &[],
            document.into(),
        )
        .await;
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn the_imitations_put_parts_together_as_the_providers_do() {
    const PART: u64 = 5 * MIB;
    let plain = Imitation::with([]).await;
    assert_eq!(completes(&plain, &[PART + 1, PART, 1]).await.0, 200);
    assert_eq!(plain.keys(), ["key"]);
    let (status, text) = completes(&plain, &[PART - 1, PART]).await;
    assert!(status == 400 && text.contains("EntityTooSmall"), "{text}");

    let equal = Imitation::with([Quirk::EqualParts]).await;
    assert_eq!(completes(&equal, &[PART, PART, 1]).await.0, 200);
    let (status, text) = completes(&equal, &[PART + 1, PART, 1]).await;
    assert!(
        status == 400 && text.contains("All non-trailing parts must have the same length."),
        "{text}"
    );

    let (status, text) = completes(
        &Imitation::with([Quirk::MaxParts(2)]).await,
        &[PART, PART, 1],
    )
    .await;
    assert!(status == 400 && text.contains("between 1 and 2"), "{text}");

    let failing = Imitation::with([Quirk::FailsToComplete(1)]).await;
    let (status, text) = completes(&failing, &[PART, 1]).await;
    let (space, error) = text.split_once("<Error>").unwrap();
    assert!(
        status == 200 && space.contains("  ") && error.contains("InternalError"),
        "{text}"
    );
    assert_eq!(failing.keys(), [""; 0]);
}
