//! Caches, proxies and buckets that do less than Amazon S3: the check and backups agree.

use http::Method;
use http::request::Parts;
use serde_json::json;

use super::{main_job_succeeds_at, main_job_succeeds_for, main_job_succeeds_with};
use crate::lab::{Fault, Imitation, Location, MIB, Proxy, Quirk, Request, Sample, Setup};

#[tokio::test]
async fn provider_with_md5_etags_of_one_kind_only() {
    for quirk in [Quirk::OpaqueObjectETags, Quirk::OpaquePartETags] {
        let server = Imitation::with([quirk]).await;
        let location = server.location().with("checksum", "off");
        let large = Sample::new("1f2e3d4c", "Before the update", 22 * MIB);
        for sample in [large, Sample::small("1f2e3d4c")] {
            main_job_succeeds_for(&sample, &server, location.clone()).await;
        }
    }
}

/// A bucket that keeps everything tells each agent again that its `ETag`s are no MD5s, and no agent leaves more probes.
#[tokio::test]
async fn opaque_etags_in_a_write_once_bucket() {
    for quirk in [
        Quirk::OpaqueETags,
        Quirk::OpaqueObjectETags,
        Quirk::OpaquePartETags,
    ] {
        let server = Imitation::with([quirk.clone(), Quirk::WriteOnce]).await;
        let location = server.location().with("checksum", "off");
        for start in 0..3 {
            let agent = Setup::of(location.clone()).serve().await;
            for size in [40_960, 6 * MIB] {
                let id = format!("b{start}{size}");
                let sample = Sample::new(&id, &id, size);
                agent.upload("other", &sample).await;
                let restored = agent.download("other", &id).await.unwrap();
                assert!(restored.body == sample.tar, "{quirk:?}: {id}");
            }
            let settings = location.json();
            let checked = agent.post("/v1/locations/check", &settings).await.json();
            assert_eq!(checked["ok"], true, "{quirk:?}: {checked:#}");
        }
        let mut keys = server.keys();
        keys.retain(|key| key.contains("s3-backup-agent-check"));
        assert!(keys.len() <= 2, "{quirk:?}: {keys:?}");
        assert_eq!(server.unfinished(), Vec::<String>::new(), "{quirk:?}");
    }
}

/// The same bucket, behind a path that damages what is large.
#[tokio::test]
async fn damage_is_detected_in_a_write_once_bucket() {
    let server = Imitation::with([Quirk::WriteOnce]).await;
    for _start in 0..2 {
        let proxy = Proxy::before(&server.endpoint()).await;
        let location = Location {
            endpoint: proxy.endpoint(),
            ..server.location()
        };
        let agent = Setup::of(location.with("checksum", "off")).serve().await;
        for _ in 0..20 {
            proxy.fault(
                |request| request.method == "PUT",
                Fault::FlipRequest(10_000),
            );
        }
        for sample in [Sample::small("a1"), Sample::new("b2", "Large", 6 * MIB)] {
            let upload_id = agent.begin("other", &sample).await;
            let arrived = agent.content(&upload_id, sample.tar.clone()).await;
            let ended = if arrived.status == 200 {
                agent.complete(&upload_id, &sample).await
            } else {
                arrived
            };
            ended.is_problem(409, "checksum_mismatch", &["MD5"]);
        }
        assert!(proxy.faults_left() > 0, "test precondition not met");
    }
}

#[tokio::test]
async fn provider_completing_without_a_document() {
    main_job_succeeds_with([Quirk::CompletesSilently]).await;
}

#[tokio::test]
async fn cache_before_the_provider() {
    let server = Imitation::with([Quirk::CachesTars]).await;
    // The imitation reads the whole tar for each range.
    let sample = Sample::new("1f2e3d4c", "Before the update", 22 * MIB);
    main_job_succeeds_for(&sample, &server, server.location()).await;
}

#[tokio::test]
async fn cache_keeping_a_404() {
    let server = main_job_succeeds_with([Quirk::CachesNotFound]).await;
    assert!(server.quirks_shown() > 0, "the cache answered nothing");
}

#[tokio::test]
async fn proxy_sending_get_for_head() {
    main_job_succeeds_with([Quirk::HeadAsGet]).await;
}

#[tokio::test]
async fn proxy_dropping_ranges_and_conditions() {
    let server = main_job_succeeds_with([Quirk::DropsRange, Quirk::DropsIfMatch]).await;
    let reads = server.count(|request| request.method == Method::GET && is_tar(request));
    assert!(reads <= 4, "the tar was read {reads} times");
}

#[tokio::test]
async fn proxy_with_weak_etags() {
    let server = main_job_succeeds_with([Quirk::WeakETags]).await;
    let sent_weak = server.count(|request| {
        let e_tag = request.headers.get("if-match");
        e_tag.is_some_and(|e_tag| e_tag.as_bytes().starts_with(b"W/"))
    });
    assert_eq!(sent_weak, 0);
}

#[tokio::test]
async fn provider_sending_ranges_with_status_200() {
    main_job_succeeds_with([Quirk::RangeAs200]).await;
}

#[tokio::test]
async fn proxy_changing_content_types() {
    main_job_succeeds_with([Quirk::ChangesContentType]).await;
}

#[tokio::test]
async fn proxy_denying_dotfiles() {
    let server = Imitation::with([Quirk::DeniesDotfiles, Quirk::OpaqueETags]).await;
    let location = server.location().with("checksum", "off");
    main_job_succeeds_at(&server, location).await;
    assert_eq!(server.quirks_shown(), 0, "a name starts with a dot");
}

fn is_tar(request: &Parts) -> bool {
    request.uri.path().strip_suffix(".tar").is_some()
}

/// One name that a proxy changes is no reason to replace the key of the whole location.
#[tokio::test]
async fn changed_name_is_not_blamed_on_the_access_key() {
    for (quirk, name) in [
        (Quirk::EncodesTwice, "Nächtlich"),
        (Quirk::RefusesBrackets, "Nightly [1]"),
        (Quirk::RefusesBrackets, "The \"good\" one"),
    ] {
        let server = Imitation::with([quirk]).await;
        // A refusal without a document may pass until then.
        let location = Location {
            outage_seconds: 1,
            ..server.location()
        };
        let agent = Setup::of(location).serve().await;
        agent.upload("other", &Sample::small("a1")).await;
        let sample = Sample::new("b2", name, 40_960);
        let created = agent.create("other", &sample).await;
        created.is_problem(502, "storage_error", &["proxy", "changes this name"]);
        let status = agent.location("other").await;
        assert!(status["error"].is_null(), "{name}: {status:#}");
        assert!(agent.download("other", "a1").await.unwrap().body == Sample::small("a1").tar);
    }
}

/// A bucket that keeps everything can be used, and no number of checks leaves more than one object.
#[tokio::test]
async fn check_warns_where_nothing_can_be_deleted() {
    let agent = Setup::with([]).serve().await;
    for (quirk, words) in [
        (Quirk::Denies("s3:DeleteObject"), "s3:DeleteObject"),
        (
            Quirk::Denies("s3:AbortMultipartUpload"),
            "s3:AbortMultipartUpload",
        ),
        (
            Quirk::Denies("s3:ListBucketMultipartUploads"),
            "s3:ListBucketMultipartUploads",
        ),
        (Quirk::KeepsObjects, "cost"),
        (Quirk::WriteOnce, "cost"),
    ] {
        let server = Imitation::with([quirk.clone()]).await;
        for _ in 0..3 {
            let settings = server.location().json();
            let checked = agent.post("/v1/locations/check", &settings).await.json();
            assert_eq!(checked["ok"], true, "{quirk:?}: {checked:#}");
            let notes = checked["notes"].as_array().unwrap();
            let is_noted = notes.iter().any(|note| {
                note["code"] == "left_behind" && note["message"].as_str().unwrap().contains(words)
            });
            assert!(is_noted, "{quirk:?}: {checked:#}");
        }
        let left = server.keys().len() + server.unfinished().len();
        assert!(
            left <= 1,
            "{quirk:?}: {:?} {:?}",
            server.keys(),
            server.unfinished()
        );
    }
}

/// A lock demands a digest, in any mode, also where checksum headers are refused; the first refusal teaches it.
#[tokio::test]
async fn bucket_demanding_a_digest() {
    for (quirks, provider) in [
        (vec![Quirk::DemandsDigest], "other"),
        (
            vec![Quirk::DemandsDigest, Quirk::RefusesChecksumHeaders],
            "garage",
        ),
        (vec![Quirk::DemandsDigest, Quirk::OpaqueETags], "other"),
    ] {
        let server = Imitation::with(quirks.clone()).await;
        for checksum in ["", "off"] {
            let shown = server.quirks_shown();
            let location = Location {
                provider: provider.into(),
                ..server.location()
            };
            let location = location.with("checksum", checksum);
            for sample in [
                Sample::small("1f2e3d4c"),
                Sample::new("1f2e3d4c", "Before the update", 12 * MIB),
            ] {
                main_job_succeeds_for(&sample, &server, location.clone()).await;
            }
            let refused = server.quirks_shown() - shown;
            // Up to five of each agent are for its probes.
            assert!(
                (2..=22).contains(&refused),
                "{quirks:?} {checksum}: {refused}"
            );
        }
    }
}

#[tokio::test]
async fn bucket_with_versions_is_told() {
    for (quirks, keeps) in [(vec![Quirk::KeepsVersions], true), (vec![], false)] {
        let server = Imitation::with(quirks).await;
        let agent = Setup::of(server.location()).serve().await;
        let told = async || agent.location("other").await["keeps_versions"].clone();
        // Only an upload in parts tells: Garage names a version for every other write.
        for (id, size, expected) in [
            ("a1", 40_960, json!(null)),
            ("b2", 6 * MIB, json!(keeps)),
            ("c3", 40_960, json!(keeps)),
        ] {
            agent.upload("other", &Sample::new(id, id, size)).await;
            assert_eq!(told().await, expected, "{id}");
        }
        let settings = server.location().json();
        let checked = agent.post("/v1/locations/check", &settings).await.json();
        assert_eq!(checked["ok"], true, "{checked:#}");
        let notes = checked["notes"].as_array().unwrap();
        let is_noted = notes.iter().any(|note| note["code"] == "keeps_versions");
        assert_eq!(is_noted, keeps, "{checked:#}");
    }
}

#[tokio::test]
async fn check_finds_limits_of_body_size() {
    let agent = Setup::with([]).serve().await;
    for quirk in [
        Quirk::MaxBody(1 << 20),
        Quirk::MaxBody(4 << 20),
        Quirk::CutsBodiesAbove(1 << 20),
    ] {
        let server = Imitation::with([quirk.clone()]).await;
        let settings = server.location().json();
        let checked = agent.post("/v1/locations/check", &settings).await.json();
        let failed = checked["steps"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&failed["step"], &failed["error"]["reason"]),
            (&json!("multipart"), &json!("body_too_large")),
            "{quirk:?}: {checked:#}"
        );
        let hint = failed["error"]["hint"].as_str().unwrap();
        assert!(hint.contains("client_max_body_size") && hint.contains("part_size"));
        assert_eq!((server.keys().len(), server.unfinished().len()), (0, 0));
    }
}

/// The first answer is lost, and the next is an error of the server's own, as Ceph 20 answers for an upload that is complete.
#[tokio::test]
async fn completion_with_lost_answer_is_found_behind_an_error() {
    let server = Imitation::with([Quirk::OpaqueETags]).await;
    let proxy = Proxy::before(&server.endpoint()).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..server.location()
    };
    let agent = Setup::of(location).serve().await;
    let sample = Sample::new("a1", "Nightly", 12 * MIB);
    let upload_id = agent.received("other", &sample).await;
    let error = "<Error><Code>InternalError</Code></Error>";
    for fault in [
        Fault::CutAnswer(0),
        Fault::Answer("500 Internal Server Error", error),
    ] {
        proxy.fault(Request::completes_multipart, fault);
    }
    let completed = agent.complete(&upload_id, &sample).await;
    assert_eq!(completed.status, 200, "{completed:?}");
    assert_eq!(proxy.faults_left(), 0, "test precondition not met");
    let restored = agent.download("other", "a1").await.unwrap();
    assert!(restored.body == sample.tar, "the download differs");
}

/// A firewall that learns names, or one that restarts.
#[tokio::test]
async fn bare_refusal_of_a_special_name_may_pass() {
    let server = Imitation::with([]).await;
    let proxy = Proxy::before(&server.endpoint()).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..server.location()
    };
    let agent = Setup::of(location).serve().await;
    let sample = Sample::new("a1", "N\u{e4}chtlich #1", 20_480);
    for _ in 0..2 {
        let page = Fault::Answer("403 Forbidden", "<html>Forbidden</html>");
        proxy.fault(|request| request.writes(".tar"), page);
    }
    agent.upload("other", &sample).await;
    assert_eq!(proxy.faults_left(), 0, "test precondition not met");
    let restored = agent.download("other", "a1").await.unwrap();
    assert!(restored.body == sample.tar, "the download differs");
}
