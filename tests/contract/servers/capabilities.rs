//! What a server makes of requests, asked without the agent: each cell of the table of capabilities that the agent's own
//! behaviour does not show.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::lab::capability::{CHECKSUMS, Condition, NoUploads, Unverified};
use crate::lab::{Server, Setup, swept};

/// A server that answers otherwise than in the table would hide what the tests look for.
pub(super) async fn unfinished_uploads_are_listed(server: Server) {
    let bucket = server.bucket().await;
    let answer = bucket
        .ask(Method::GET, "/?uploads=", &[], Bytes::new())
        .await;
    let found = answer.status() == StatusCode::OK;
    let expected = server.capabilities().no_uploads == NoUploads::Empty;
    assert_eq!(found, expected, "{}", answer.text().await.unwrap());
    let agent = Setup::of(server.location(&bucket)).serve().await;
    let sweep = swept(&agent).await;
    assert_eq!(
        (&sweep["unfinished"], &sweep["error"]),
        (&json!(0), &Value::Null),
        "{sweep}"
    );
    bucket.leave_unfinished("backups/left.tar").await;
    let agent = Setup::of(server.location(&bucket)).serve().await;
    assert_eq!(swept(&agent).await["unfinished"], 1);
    bucket.abort_unfinished().await;
    bucket.wait_until_empty().await;
}

pub(super) async fn wrong_checksum_is_refused_or_ignored(server: Server) {
    // Zeros, base64.
    let wrong = [
        (
            "x-amz-checksum-sha256",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        ("x-amz-checksum-crc32c", "AAAAAA=="),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
    ];
    let expected = server.capabilities();
    let (bucket, mut verified) = (server.bucket().await, Vec::new());
    for (name, header) in CHECKSUMS.into_iter().zip(wrong) {
        let (key, algorithm) = (format!("/{name}"), name.to_uppercase());
        let headers = [header, ("x-amz-sdk-checksum-algorithm", &algorithm)];
        let content = Bytes::from_static(b"content");
        let answer = bucket.ask(Method::PUT, &key, &headers, content).await;
        if answer.status().is_success() {
            let is_repeated = answer.headers().contains_key(header.0);
            let repeats = expected.unverified == Unverified::Repeated;
            assert_eq!(is_repeated, repeats, "{name}: {answer:?}");
        } else {
            verified.push(name);
        }
    }
    assert_eq!(verified, expected.verifies);
    assert_eq!(bucket.keys().await.len(), CHECKSUMS.len() - verified.len());
}

pub(super) async fn condition_on_a_write_is_honoured_or_ignored(server: Server) {
    let bucket = server.bucket().await;
    bucket.put("a", "first").await;
    let condition = [("if-none-match", "*")];
    let answer = bucket
        .ask(Method::PUT, "/a", &condition, Bytes::from_static(b"second"))
        .await;
    let (status, kept) = (answer.status(), bucket.get("a").await == "first");
    let honoured = server.capabilities().if_none_match == Condition::Honoured;
    assert_eq!(
        (kept, status.is_success()),
        (honoured, !honoured),
        "{status}"
    );
}

pub(super) async fn copy_inside_the_storage_is_made(server: Server) {
    let bucket = server.bucket().await;
    bucket.put("a", "content").await;
    let source = format!("/{}/a", bucket.name);
    let answer = bucket
        .ask(
            Method::PUT,
            "/b",
            &[("x-amz-copy-source", &source)],
            Bytes::new(),
        )
        .await;
    assert!(answer.status().is_success(), "{answer:?}");
    assert_eq!(bucket.get("b").await, "content");
}

pub(super) async fn range_is_answered(server: Server) {
    let bucket = server.bucket().await;
    bucket.put("a", "content").await;
    let answer = bucket
        .ask(Method::GET, "/a", &[("range", "bytes=2-4")], Bytes::new())
        .await;
    assert_eq!(answer.status().as_u16(), server.capabilities().range_status);
    assert_eq!(answer.bytes().await.unwrap(), "nte");
}
