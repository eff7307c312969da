//! Common behaviour of all S3 servers: one suite against real servers of different vendors.

mod capabilities;
mod checksums;
mod refusals;

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::lab::call::content_path;
use crate::lab::{
    Fault, HalfSent, Home, MIB, Request, Sample, Server, Setup, eventually, home_behind_proxy,
};
use capabilities::{
    condition_on_a_write_is_honoured_or_ignored, copy_inside_the_storage_is_made,
    range_is_answered, unfinished_uploads_are_listed, wrong_checksum_is_refused_or_ignored,
};
use checksums::{
    automatic_checksum_is_one_that_is_verified, damage_on_the_way_is_refused_with_every_checksum,
    every_checksum_mode_is_accepted, persistently_damaged_content_is_never_acknowledged,
};
use refusals::{
    encryption_key_is_applied_or_refused, missing_bucket_is_reported,
    missing_encryption_key_is_named, missing_permission_is_reported, omitted_region_is_detected,
    unknown_access_key_is_reported, unsupported_encryption_is_refused_immediately,
    wrong_region_is_reported_or_harmless, wrong_secret_is_reported,
};

/// Runs every test on one server.
macro_rules! on_server {
    ($module:ident, $server:ident, #[$when:meta], $($test:ident)*) => {
        mod $module {
            $(#[tokio::test]
            #[$when]
            async fn $test() {
                super::$test(super::Server::$server).await;
            })*
        }
    };
}

/// Runs every test on every server; on the last three, `scripts/test nightly` does.
macro_rules! on_each_server {
    ($($test:ident)*) => {
        on_server!(garage, Garage, #[cfg(test)], $($test)*);
        on_server!(swift, Swift, #[cfg(test)], $($test)*);
        on_server!(ceph, Ceph, #[cfg(test)], $($test)*);
        on_server!(seaweedfs, SeaweedFs, #[cfg(test)], $($test)*);
        on_server!(rclone, Rclone, #[ignore = "nightly"], $($test)*);
        on_server!(juicefs, JuiceFs, #[ignore = "nightly"], $($test)*);
        on_server!(moto, Moto, #[ignore = "nightly"], $($test)*);

        /// Names of the tests, which pass on each server.
        pub(crate) const TESTS: &[&str] = &[$(stringify!($test)),*];
    };
}

on_each_server! {
    small_backup_round_trips
    large_backup_round_trips
    ranges_span_parts
    user_given_names_are_kept
    list_spans_several_pages
    reuploaded_backup_replaces_the_first
    cancelled_upload_leaves_nothing
    upload_with_lost_completion_answer_succeeds
    foreign_tar_is_not_mistaken_for_the_own_upload
    part_with_lost_answer_is_stored_again
    persistently_damaged_content_is_never_acknowledged
    damage_on_the_way_is_refused_with_every_checksum
    interrupted_download_resumes
    check_succeeds_and_leaves_nothing_behind
    omitted_region_is_detected
    every_checksum_mode_is_accepted
    automatic_checksum_is_one_that_is_verified
    encryption_key_is_applied_or_refused
    missing_encryption_key_is_named
    unsupported_encryption_is_refused_immediately
    unfinished_uploads_are_listed
    wrong_checksum_is_refused_or_ignored
    condition_on_a_write_is_honoured_or_ignored
    copy_inside_the_storage_is_made
    range_is_answered
    third_copy_of_a_backup_replaces_the_second
    missing_bucket_is_reported
    unknown_access_key_is_reported
    wrong_secret_is_reported
    wrong_region_is_reported_or_harmless
    missing_permission_is_reported
}

async fn round_trip(server: Server, sample: Sample) -> Home {
    let home = server.home().await;
    home.agent.upload("home", &sample).await;
    let (tar, metadata) = (
        format!("backups/{}.tar", sample.stem()),
        format!("backups/{}.metadata.json", sample.stem()),
    );
    home.bucket.wait_until_keys_are(&[&metadata, &tar]).await;
    assert!(
        home.bucket.get(&tar).await == sample.tar,
        "the tar in the bucket differs"
    );
    assert_eq!(
        home.bucket.json(&metadata).await["s3_backup_agent"]["sha256"],
        sample.sha256()
    );

    for list in [
        home.agent.list("home").await,
        home.agent.refreshed("home").await,
    ] {
        assert_eq!(
            (
                &list["backups"][0]["backup_id"],
                &list["backups"][0]["size"]
            ),
            (&json!("a1"), &json!(sample.size()))
        );
        assert_eq!(
            (&list["skipped"], &list["error"]),
            (&json!([]), &Value::Null)
        );
    }
    let content = home.agent.download("home", "a1").await.unwrap();
    assert!(
        content.status == 200 && content.body == sample.tar,
        "the download differs"
    );

    assert_eq!(home.agent.delete_backup("home", "a1").await.status, 204);
    home.bucket.wait_until_empty().await;
    assert!(home.agent.listed("home").await.is_empty());
    home
}

async fn small_backup_round_trips(server: Server) {
    round_trip(server, Sample::small("a1")).await;
}

/// No bucket of the tests keeps versions.
async fn large_backup_round_trips(server: Server) {
    let home = round_trip(server, Sample::new("a1", "Large", 30 * MIB + 10_240)).await;
    assert_eq!(home.agent.location("home").await["keeps_versions"], false);
}

async fn ranges_span_parts(server: Server) {
    let home = server.home().await;
    let sample = Sample::new("a1", "Ranges", 12 * MIB);
    home.agent.upload("home", &sample).await;
    let (size, part) = (sample.tar.len(), 5 * 1024 * 1024);
    for wanted in [
        0..1,
        part - 10..part + 10,
        part - 1..2 * part + 1,
        size - 5..size,
    ] {
        let asked = format!("bytes={}-{}", wanted.start, wanted.end - 1);
        let request = home
            .agent
            .request(Method::GET, &content_path("home", "a1"))
            .header("range", &asked);
        let answer = home.agent.send(request).await.unwrap();
        assert_eq!(answer.status, 206, "{asked}");
        assert!(answer.body == sample.tar[wanted], "{asked}: other bytes");
    }
}

async fn user_given_names_are_kept(server: Server) {
    let home = server.home().await;
    for (index, name) in crate::contract::interop::NAMES.iter().enumerate() {
        let (ours, theirs) = (format!("ours{index}"), format!("theirs{index}"));
        let (ours, theirs) = (
            Sample::new(&ours, name, 20_480),
            Sample::new(&theirs, &format!("their {name}"), 20_480),
        );
        home.agent.upload("home", &ours).await;
        let mut stem = format!("backups/{}", ours.stem());
        if !server.capabilities().keeps_backslashes {
            stem = stem.replace('\\', "/");
        }
        home.bucket
            .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
            .await;
        home.bucket.put_backup("", &theirs.stem(), &theirs).await;
        assert_eq!(home.agent.listed("home").await.len(), 2, "{name}");
        for sample in [&ours, &theirs] {
            assert!(
                home.agent.download("home", sample.id()).await.unwrap().body == sample.tar,
                "{name}"
            );
            assert_eq!(
                home.agent.delete_backup("home", sample.id()).await.status,
                204,
                "{name}"
            );
        }
        home.bucket.wait_until_empty().await;
    }
}

/// A page holds 1,000 keys. Only the two backups are read; reading all would take a slow server too
/// long.
async fn list_spans_several_pages(server: Server) {
    let home = server.home().await;
    home.bucket
        .put_backup("", "a first #1", &Sample::small("first"))
        .await;
    home.bucket
        .put_backup("", "z last #2", &Sample::small("last"))
        .await;
    for chunk in (0..1000).collect::<Vec<_>>().chunks(16) {
        join_all(chunk.iter().map(|index| {
            let key = format!("backups/not ours {index:04}.txt");
            let bucket = &home.bucket;
            async move { bucket.put(&key, "x").await }
        }))
        .await;
    }
    assert_eq!(home.agent.listed("home").await, ["first", "last"]);
}

async fn reuploaded_backup_replaces_the_first(server: Server) {
    let home = server.home().await;
    let (first, second) = (
        Sample::new("a1", "Again", 6 * MIB),
        Sample::new("a1", "Again", 7 * MIB),
    );
    home.agent.upload("home", &first).await;
    home.agent.upload("home", &second).await;
    assert_eq!(home.agent.listed("home").await, ["a1"]);
    assert!(home.agent.download("home", "a1").await.unwrap().body == second.tar);
    let stem = format!("backups/{}_a1", second.stem());
    home.bucket
        .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
}

async fn cancelled_upload_leaves_nothing(server: Server) {
    let home = server.home().await;
    let sample = Sample::new("a1", "Cancelled", 20 * MIB);
    let HalfSent {
        upload_id, sending, ..
    } = home.agent.half_sent("home", &sample, 1).await;
    assert_eq!(
        home.bucket.unfinished().await,
        [format!("backups/{}.tar", sample.stem())]
    );
    assert_eq!(home.agent.cancel(&upload_id).await.status, 204);
    sending.gone().await;
    home.bucket.wait_until_empty().await;
}

/// Uploads a large backup through a failure that the caller does not notice.
async fn upload_with(
    server: Server,
    matches: impl Fn(&Request) -> bool + Send + 'static,
    fault: Fault,
) {
    let (agent, proxy, bucket) = home_behind_proxy(server).await;
    let sample = Sample::new("a1", "Unlucky", 12 * MIB);
    proxy.fault(matches, fault);
    agent.upload("home", &sample).await;
    assert_eq!(proxy.faults_left(), 0);
    let stem = format!("backups/{}", sample.stem());
    bucket.wait_until_only(&stem, &sample).await;
}

async fn upload_with_lost_completion_answer_succeeds(server: Server) {
    upload_with(server, Request::completes_multipart, Fault::CutAnswer(0)).await;
}

/// Another agent swept the parts, and stored a tar of the same size under the key.
async fn foreign_tar_is_not_mistaken_for_the_own_upload(server: Server) {
    let (agent, proxy, bucket) = home_behind_proxy(server).await;
    let sample = Sample::new("a1", "Two at once", 12 * MIB);
    let upload_id = agent.received("home", &sample).await;
    let gate = proxy.hold(Request::completes_multipart);
    let key = format!("backups/{}.tar", sample.stem());
    let others = vec![7; sample.tar.len()];
    let meanwhile = async {
        eventually("the completion is pending", async || {
            proxy.faults_left() == 0
        })
        .await;
        bucket.abort_unfinished().await;
        bucket.put(&key, others.clone()).await;
        gate.add_permits(1);
    };
    let (completed, ()) = tokio::join!(agent.complete(&upload_id, &sample), meanwhile);
    assert!(completed.status >= 500, "{completed:?}");
    let completions = proxy.count(Request::completes_multipart);
    assert!(
        completions <= 2,
        "an aborted upload was completed {completions} times"
    );
    assert!(agent.refreshed("home").await["backups"] == json!([]));
    // It deletes what it may have written until then.
    agent.wait_until_no_journal().await;
    assert!(bucket.get(&key).await == others, "a foreign object changed");
}

async fn part_with_lost_answer_is_stored_again(server: Server) {
    upload_with(
        server,
        |request| request.stores_part(2),
        Fault::CutAnswer(0),
    )
    .await;
}

async fn interrupted_download_resumes(server: Server) {
    let (agent, proxy, _bucket) = home_behind_proxy(server).await;
    let sample = Sample::new("a1", "Long", 12 * MIB);
    agent.upload("home", &sample).await;
    proxy.fault(|request| request.reads(".tar"), Fault::CutAnswer(3 * MIB));
    proxy.fault(|request| request.reads(".tar"), Fault::CutAnswer(MIB));
    assert!(
        agent.download("home", "a1").await.unwrap().body == sample.tar,
        "the download differs"
    );
    assert_eq!(proxy.faults_left(), 0);
}

async fn check_succeeds_and_leaves_nothing_behind(server: Server) {
    let bucket = server.bucket().await;
    Setup::of(server.location(&bucket))
        .run(&["check"])
        .await
        .ended_with(0);
    bucket.wait_until_empty().await;
}

async fn third_copy_of_a_backup_replaces_the_second(server: Server) {
    let home = server.home().await;
    for size in [20_480, 30_720, 40_960, 51_200] {
        let sample = Sample::new("a1", "Again", size);
        home.agent.upload("home", &sample).await;
        assert!(
            home.agent.download("home", "a1").await.unwrap().body == sample.tar,
            "{size}: an older copy"
        );
        // The previous copy is deleted in the background.
        eventually("one copy remains", || async {
            home.bucket.keys().await.len() == 2
        })
        .await;
    }
}
