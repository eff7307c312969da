//! Refusals of a server, and settings that it does not support.

use s3_backup_agent::error::Reason;
use serde_json::Value;

use crate::lab::call::content_path;
use crate::lab::capability::{Encryption, Keys};
use crate::lab::{Location, MIB, Sample, Server, Setup};

/// The first upload's first request is for a missing object.
pub(super) async fn omitted_region_is_detected(server: Server) {
    let left_out =
        |home: &mut Location| (home.provider, home.region) = ("other".into(), String::new());
    let home = server.home_with(left_out).await;
    home.agent.upload("home", &Sample::small("a1")).await;
    assert_eq!(home.agent.listed("home").await, ["a1"]);
}

/// A configured encryption key must never be silently ignored: Swift stores plain bytes.
pub(super) async fn encryption_key_is_applied_or_refused(server: Server) {
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
        let applied = server.capabilities().sse_c == Encryption::Applied;
        assert_eq!(ran.code == 0, applied, "{}", ran.stderr);
        if applied {
            for key in bucket.keys().await {
                assert!(
                    !bucket.can_be_read(&key).await,
                    "{key} is publicly readable"
                );
            }
        } else {
            bucket.wait_until_empty().await;
        }
    }
}

/// A backup whose metadata needs a key is not called missing.
pub(super) async fn missing_encryption_key_is_named(server: Server) {
    if server.capabilities().sse_c != Encryption::Applied {
        return;
    }
    let bucket = server.bucket().await;
    let location = |byte: &str| {
        let key = format!("{}s=", byte.repeat(42));
        server
            .location(&bucket)
            .with("encryption", "SSE-C")
            .with("encryption_key", &key)
    };
    let agent = Setup::of(location("a")).serve().await;
    agent.upload("home", &Sample::small("a1")).await;
    for other in [location("b"), server.location(&bucket)] {
        let agent = Setup::of(other).serve().await;
        let answer = agent.get(&content_path("home", "a1")).await;
        let problem = answer.json();
        let reason = problem["reason"].as_str().unwrap();
        assert_eq!(answer.status, 502, "{problem:#}");
        assert!(reason.starts_with("encryption_key_"), "{problem:#}");
        assert!(problem["hint"].as_str().unwrap().contains("encryption_key"));
    }
}

/// Swift answers 501 `NotImplemented`, Ceph 400 `InvalidArgument`; both are permanent. Few name encryption; the agent names
/// the setting.
pub(super) async fn unsupported_encryption_is_refused_immediately(server: Server) {
    for sample in [Sample::small("a1"), Sample::new("b2", "Large", 6 * MIB)] {
        let bucket = server.bucket().await;
        let setup = Setup::of(server.location(&bucket).with("encryption", "AES256")).verbose();
        let file = setup.path("backup.tar");
        std::fs::write(&file, &sample.tar).unwrap();
        let ran = setup.run(&["upload", "home", file.to_str().unwrap()]).await;
        assert!(!ran.stderr.contains("retrying"), "{}", ran.stderr);
        if server.capabilities().aes256 == Encryption::Applied {
            ran.ended_with(0);
            continue;
        }
        assert_ne!(ran.code, 0, "{}", ran.stderr);
        let hint = Reason::NoEncryption.hint();
        assert!(
            hint.contains("encryption to none") && ran.stderr.contains(hint),
            "{}",
            ran.stderr
        );
        bucket.wait_until_empty().await;
    }
}

/// Asserts that listing and upload fail with `code` and the server's own word.
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

/// Asserts that an upload and a listing succeed despite a wrong setting, which the server does not check.
async fn is_accepted(server: Server, change: impl FnOnce(&mut Location)) {
    let home = server.home_with(change).await;
    home.agent.upload("home", &Sample::small("a1")).await;
    assert_eq!(home.agent.listed("home").await, ["a1"]);
}

/// Asserts that the server refuses an access key, or accepts it if it checks none.
async fn key_is_refused(
    server: Server,
    change: impl FnOnce(&mut Location),
    code: &str,
    words: &[&str],
) {
    if server.capabilities().keys == Keys::Unchecked {
        is_accepted(server, change).await;
    } else {
        is_refused(server, change, code, words).await;
    }
}

pub(super) async fn missing_bucket_is_reported(server: Server) {
    is_refused(
        server,
        |home| home.bucket = "no-such-bucket".into(),
        "bucket_not_found",
        &["no-such-bucket"],
    )
    .await;
}

pub(super) async fn unknown_access_key_is_reported(server: Server) {
    let unknown = |home: &mut Location| home.key_id = "GK000000000000000000000000".into();
    key_is_refused(server, unknown, "storage_auth", &["access key"]).await;
}

pub(super) async fn wrong_secret_is_reported(server: Server) {
    key_is_refused(
        server,
        |home| home.secret = "0".repeat(64),
        "storage_auth",
        &["secret access key"],
    )
    .await;
}

pub(super) async fn wrong_region_is_reported_or_harmless(server: Server) {
    let elsewhere = |home: &mut Location| home.region = "eu-west-1".into();
    if !server.capabilities().checks_region {
        return is_accepted(server, elsewhere).await;
    }
    let region = server.bucket().await.region;
    let words = ["region", &format!("\"{region}\"")];
    is_refused(server, elsewhere, "wrong_region", &words).await;
}

pub(super) async fn missing_permission_is_reported(server: Server) {
    let bucket = server.bucket().await;
    let (key_id, secret) = server.guest(&bucket).await;
    let guest = |home: &mut Location| (home.key_id, home.secret) = (key_id, secret);
    let (code, word) = match server.capabilities().keys {
        Keys::OwnerOnly => ("storage_auth", "access key"),
        Keys::HavePermissions | Keys::Unchecked => ("storage_forbidden", "permission"),
    };
    key_is_refused(server, guest, code, &[word]).await;
}
