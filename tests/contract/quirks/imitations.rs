//! The imitations answer like the providers.

use std::fmt::Write;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::STORAGE_CLASSES;
use crate::lab::{Imitation, MIB, Quirk};

/// The server's answer to a plain signed request that the quirk concerns, without the agent.
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
async fn imitations_answer_like_the_providers() {
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

/// Completes an upload of parts of these sizes without the agent; returns status and text.
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
async fn imitations_complete_uploads_like_the_providers() {
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
