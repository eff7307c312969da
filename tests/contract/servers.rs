//! What must be the same on every S3 server: one suite that two real ones of different makers run.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::lab::call::content_path;
use crate::lab::{Fault, Location, MIB, Proxy, Request, Sample, Server, Setup, eventually};

/// Every test runs on every server.
macro_rules! on_each_server {
    ($($test:ident)*) => {
        mod garage {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Server::Garage).await;
            })*
        }

        mod swift {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Server::Swift).await;
            })*
        }
    };
}

on_each_server! {
    a_small_backup_goes_there_and_back
    a_large_backup_goes_there_and_back
    ranges_reach_across_parts
    names_that_people_give_are_kept
    a_list_longer_than_a_page_is_read_to_its_end
    the_same_backup_uploaded_again_replaces_the_first
    an_upload_that_is_cancelled_leaves_nothing
    an_upload_whose_last_answer_is_lost_is_complete
    a_tar_of_others_is_not_taken_for_ones_own
    a_part_whose_answer_is_lost_is_stored_again
    what_is_damaged_each_time_is_never_acknowledged
    a_download_that_breaks_goes_on_where_it_was
    a_check_succeeds_and_leaves_nothing
    a_region_that_nobody_gave_is_found
    content_is_taken_with_any_checksum
    a_key_for_encryption_is_used_or_refused
    an_encryption_that_the_server_has_not_is_refused_at_once
    the_third_copy_of_a_backup_replaces_the_second
    a_bucket_that_does_not_exist
    a_key_that_the_server_does_not_know
    a_secret_that_is_wrong
    a_region_that_is_wrong
    a_key_without_permission
}

async fn there_and_back(server: Server, sample: Sample) {
    let home = server.home().await;
    home.agent.upload("home", &sample).await;
    let (tar, metadata) = (
        format!("backups/{}.tar", sample.stem()),
        format!("backups/{}.metadata.json", sample.stem()),
    );
    home.bucket.comes_to_hold(&[&metadata, &tar]).await;
    assert!(
        home.bucket.get(&tar).await == sample.tar,
        "the tar in the bucket is another one"
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
    home.bucket.comes_to_be_empty().await;
    assert!(home.agent.listed("home").await.is_empty());
}

async fn a_small_backup_goes_there_and_back(server: Server) {
    there_and_back(server, Sample::small("a1")).await;
}

async fn a_large_backup_goes_there_and_back(server: Server) {
    there_and_back(server, Sample::new("a1", "Large", 30 * MIB + 10_240)).await;
}

async fn ranges_reach_across_parts(server: Server) {
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

async fn names_that_people_give_are_kept(server: Server) {
    let home = server.home().await;
    for (index, name) in crate::contract::interop::NAMES.iter().enumerate() {
        let (ours, theirs) = (format!("ours{index}"), format!("theirs{index}"));
        let (ours, theirs) = (
            Sample::new(&ours, name, 20_480),
            Sample::new(&theirs, &format!("their {name}"), 20_480),
        );
        home.agent.upload("home", &ours).await;
        let stem = format!("backups/{}", ours.stem());
        home.bucket
            .comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
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
        home.bucket.comes_to_be_empty().await;
    }
}

/// A page holds 1,000 keys. What lies between the two backups is not read, which would take a slow server too long.
async fn a_list_longer_than_a_page_is_read_to_its_end(server: Server) {
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

async fn the_same_backup_uploaded_again_replaces_the_first(server: Server) {
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
        .comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
}

async fn an_upload_that_is_cancelled_leaves_nothing(server: Server) {
    let home = server.home().await;
    let mut events = home.agent.events().await;
    let sample = Sample::new("a1", "Cancelled", 20 * MIB);
    let upload_id = home.agent.begin("home", &sample).await;
    let mut sending = home.agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() > Some(0))
        .await;
    assert_eq!(
        home.bucket.unfinished().await,
        [format!("backups/{}.tar", sample.stem())]
    );
    assert_eq!(home.agent.cancel(&upload_id).await.status, 204);
    sending.gone().await;
    home.bucket.comes_to_be_empty().await;
}

/// Uploads a large backup with something that goes wrong on the way, which nobody notices.
async fn upload_with(
    server: Server,
    matches: impl Fn(&Request) -> bool + Send + 'static,
    fault: Fault,
) {
    let bucket = server.bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..server.location(&bucket)
    };
    let agent = Setup::of(location).serve().await;
    let sample = Sample::new("a1", "Unlucky", 12 * MIB);
    proxy.fault(matches, fault);
    agent.upload("home", &sample).await;
    assert_eq!(proxy.faults_left(), 0);
    let stem = format!("backups/{}", sample.stem());
    bucket
        .comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
    assert!(
        bucket.get(&format!("{stem}.tar")).await == sample.tar,
        "the tar in the bucket is another one"
    );
}

async fn an_upload_whose_last_answer_is_lost_is_complete(server: Server) {
    upload_with(server, Request::completes_multipart, Fault::CutAnswer(0)).await;
}

/// Another agent swept the parts, and put a tar of the same size in their place.
async fn a_tar_of_others_is_not_taken_for_ones_own(server: Server) {
    let bucket = server.bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..server.location(&bucket)
    };
    let agent = Setup::of(location).serve().await;
    let sample = Sample::new("a1", "Two at once", 12 * MIB);
    let upload_id = agent.begin("home", &sample).await;
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    let gate = proxy.hold(Request::completes_multipart);
    let key = format!("backups/{}.tar", sample.stem());
    let others = vec![7; sample.tar.len()];
    let meanwhile = async {
        eventually("it is about to be completed", async || {
            proxy.faults_left() == 0
        })
        .await;
        bucket.abort_unfinished().await;
        bucket.put(&key, others.clone()).await;
        gate.add_permits(1);
    };
    let (completed, ()) = tokio::join!(agent.complete(&upload_id, &sample), meanwhile);
    assert!(completed.status >= 500, "{completed:?}");
    assert!(agent.refreshed("home").await["backups"] == json!([]));
    assert!(
        bucket.get(&key).await == others,
        "what others stored is another one now"
    );
}

async fn a_part_whose_answer_is_lost_is_stored_again(server: Server) {
    upload_with(
        server,
        |request| request.stores_part(2),
        Fault::CutAnswer(0),
    )
    .await;
}

/// Nobody but the agent compares anything here, and it has seen no answer that was right.
async fn what_is_damaged_each_time_is_never_acknowledged(server: Server) {
    // All that is written, and only what is large: then the agent's own probe arrives as it was.
    for index in [10, 1_000_000] {
        let bucket = server.bucket().await;
        let proxy = Proxy::before(&bucket.endpoint).await;
        let location = Location {
            endpoint: proxy.endpoint(),
            ..server.location(&bucket)
        };
        let agent = Setup::of(location.with("checksum", "off")).serve().await;
        for _ in 0..100 {
            proxy.fault(|request| request.method == "PUT", Fault::FlipRequest(index));
        }
        let sample = Sample::new("a1", "Damaged", 12 * MIB);
        for attempt in 0..3 {
            let upload_id = agent.begin("home", &sample).await;
            let arrived = agent.content(&upload_id, sample.tar.clone()).await;
            arrived.is_problem(409, "checksum_mismatch", &["MD5"]);
            assert!(
                agent.refreshed("home").await["backups"] == json!([]),
                "attempt {attempt}"
            );
            bucket.comes_to_be_empty().await;
        }
        assert!(proxy.faults_left() > 0, "the test would prove nothing");
        proxy.forget_faults();
        agent.upload("home", &sample).await;
        assert!(agent.download("home", "a1").await.unwrap().body == sample.tar);
    }
}

async fn a_download_that_breaks_goes_on_where_it_was(server: Server) {
    let bucket = server.bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..server.location(&bucket)
    };
    let agent = Setup::of(location).serve().await;
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

async fn a_check_succeeds_and_leaves_nothing(server: Server) {
    let bucket = server.bucket().await;
    Setup::of(server.location(&bucket))
        .run(&["check"])
        .await
        .ended_with(0);
    bucket.comes_to_be_empty().await;
}

/// The first request of the first upload is for an object that is not there.
async fn a_region_that_nobody_gave_is_found(server: Server) {
    let left_out =
        |home: &mut Location| (home.provider, home.region) = ("other".into(), String::new());
    let home = server.home_with(left_out).await;
    home.agent.upload("home", &Sample::small("a1")).await;
    assert_eq!(home.agent.listed("home").await, ["a1"]);
}

async fn content_is_taken_with_any_checksum(server: Server) {
    for checksum in ["sha256", "crc32c", "crc64nvme", "off"] {
        let home = server
            .home_with(|home| *home = home.clone().with("checksum", checksum))
            .await;
        for sample in [
            Sample::small("small"),
            Sample::new("large", "Large", 6 * MIB),
        ] {
            home.agent.upload("home", &sample).await;
            assert!(
                home.agent.download("home", sample.id()).await.unwrap().body == sample.tar,
                "{checksum}"
            );
        }
    }
}

/// Whoever gives a key must not come to believe in an encryption that is not there: Swift stores the bytes as they are.
async fn a_key_for_encryption_is_used_or_refused(server: Server) {
    let key = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
    for sample in [Sample::small("a1"), Sample::new("b2", "Large", 6 * MIB)] {
        let bucket = server.bucket().await;
        let location = server
            .location(&bucket)
            .with("encryption", "SSE-C")
            .with("encryption_key", key);
        let setup = Setup::of(location);
        let file = setup.path("backup.tar");
        std::fs::write(&file, &sample.tar).unwrap();
        let ran = setup.run(&["upload", "home", file.to_str().unwrap()]).await;
        if ran.code == 0 {
            for key in bucket.keys().await {
                assert!(
                    !bucket.can_be_read(&key).await,
                    "{key} is there for everybody to read"
                );
            }
        } else {
            bucket.comes_to_be_empty().await;
        }
    }
}

/// Swift answers 501 `NotImplemented`, which no waiting changes.
async fn an_encryption_that_the_server_has_not_is_refused_at_once(server: Server) {
    let bucket = server.bucket().await;
    let setup = Setup::of(server.location(&bucket).with("encryption", "AES256"));
    let file = setup.path("backup.tar");
    std::fs::write(&file, &Sample::small("a1").tar).unwrap();
    let start = std::time::Instant::now();
    let ran = setup.run(&["upload", "home", file.to_str().unwrap()]).await;
    assert!(
        start.elapsed() < std::time::Duration::from_secs(5),
        "{}",
        ran.stderr
    );
    assert!(
        ran.code == 0 || ran.stderr.contains("ncryption"),
        "{}",
        ran.stderr
    );
}

async fn the_third_copy_of_a_backup_replaces_the_second(server: Server) {
    let home = server.home().await;
    for size in [20_480, 30_720, 40_960, 51_200] {
        let sample = Sample::new("a1", "Again", size);
        home.agent.upload("home", &sample).await;
        assert!(
            home.agent.download("home", "a1").await.unwrap().body == sample.tar,
            "{size}: an older copy"
        );
        // The copy before it goes in the background.
        eventually("one copy is left", || async {
            home.bucket.keys().await.len() == 2
        })
        .await;
    }
}

/// The location cannot be listed, nor uploaded to; both say `code`, and give the server's own word.
async fn is_refused(
    server: Server,
    change: impl FnOnce(&mut Location),
    code: &str,
    words: &[&str],
) {
    let home = server.home_with(change).await;
    let large = Sample::new("a1", "Refused", 11 * MIB);
    for answer in [
        home.agent.get("/v1/locations/home/backups").await,
        home.agent.create("home", &large).await,
    ] {
        answer.is_problem(502, code, words);
        assert_ne!(answer.json()["provider_code"], Value::Null, "{answer:?}");
    }
}

async fn a_bucket_that_does_not_exist(server: Server) {
    is_refused(
        server,
        |home| home.bucket = "no-such-bucket".into(),
        "bucket_not_found",
        &["no-such-bucket"],
    )
    .await;
}

async fn a_key_that_the_server_does_not_know(server: Server) {
    let unknown = |home: &mut Location| home.key_id = "GK000000000000000000000000".into();
    is_refused(server, unknown, "storage_auth", &["access key"]).await;
}

async fn a_secret_that_is_wrong(server: Server) {
    is_refused(
        server,
        |home| home.secret = "0".repeat(64),
        "storage_auth",
        &["secret access key"],
    )
    .await;
}

async fn a_region_that_is_wrong(server: Server) {
    let region = server.bucket().await.region;
    let words = ["region", &format!("\"{region}\"")];
    is_refused(
        server,
        |home| home.region = "eu-west-1".into(),
        "wrong_region",
        &words,
    )
    .await;
}

async fn a_key_without_permission(server: Server) {
    let bucket = server.bucket().await;
    let (key_id, secret) = server.guest(&bucket).await;
    let guest = |home: &mut Location| (home.key_id, home.secret) = (key_id, secret);
    is_refused(server, guest, "storage_forbidden", &["permission"]).await;
}
