//! `restore` to what is no new Home Assistant, or takes no backup. tests/e2e restores into real ones.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpListener;

use super::{setup, upload};
use crate::lab::quirks::{Certificate, Imitation};
use crate::lab::setup::Ran;
use crate::lab::{Sample, Setup};

/// A Home Assistant at its first page, which is busy once, and refuses each backup; returns its URL. As `localhost`, it leads
/// elsewhere.
async fn refusing() -> String {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let is_busy = Arc::new(AtomicBool::new(true));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let is_busy = Arc::clone(&is_busy);
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut request).await.unwrap() == 0 {
                        return;
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                stream
                    .write_all(answer_to(&request, &is_busy).as_bytes())
                    .await
                    .unwrap();
                // All of a form, so that the client reads the answer.
                drop(copy(&mut stream, &mut sink()).await);
            });
        }
    });
    format!("http://127.0.0.1:{port}")
}

fn answer_to(request: &str, is_busy: &AtomicBool) -> String {
    let (status, body) = match request.split(' ').nth(1).unwrap() {
        _ if request.to_lowercase().contains("host: localhost") => {
            let location = "https://ha.example.com/login?token=secret";
            return format!(
                "HTTP/1.1 301 Moved\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
        "/api/onboarding" => ("200 OK", json!([{"step": "user", "done": false}])),
        "/api/onboarding/installation_type" => {
            let kind = "Home Assistant Container";
            ("200 OK", json!({"installation_type": kind}))
        }
        "/api/onboarding/backup/info" if is_busy.swap(false, Ordering::Relaxed) => {
            ("200 OK", json!({"state": "blocked"}))
        }
        "/api/onboarding/backup/info" => ("200 OK", json!({"state": "idle"})),
        path if path.starts_with("/api/onboarding/backup/upload") => (
            "500 Internal Server Error",
            json!({"message": "No space left"}),
        ),
        _ => ("404 Not Found", json!({})),
    };
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// The JSON documents that a restore prints.
fn printed(ran: &Ran) -> Vec<Value> {
    let lines = ran.text().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The code of a restore's error.
fn code_of(ran: &Ran) -> String {
    let error = &printed(ran).pop().unwrap()["error"];
    error["code"].as_str().unwrap().to_owned()
}

/// The code of the error that a restore to `url` ends with, and its exit code.
async fn refused(setup: &Setup, url: &str, more: &[&str]) -> (String, i32) {
    let restore = ["--json", "restore", "garage", "a1", "--yes", "--to", url];
    let ran = setup.run(&[&restore[..], more].concat()).await;
    let last = ran.text().lines().last().unwrap();
    let error = &serde_json::from_str::<serde_json::Value>(last).unwrap()["error"];
    assert_ne!(error["hint"], "", "{error}");
    assert!(
        !error["detail"].as_str().unwrap().contains("secret"),
        "{error}"
    );
    (error["code"].as_str().unwrap().to_owned(), ran.code)
}

#[tokio::test]
async fn restore_to_something_else_is_refused() {
    let (setup, bucket) = setup().await;
    let encrypted = bucket.endpoint.replace("http:", "https:");
    for (url, code, exit_code) in [
        ("http://127.0.0.1:9", "home_assistant_unreachable", 1),
        (
            "http://no-such-host.invalid:8123",
            "home_assistant_unreachable",
            1,
        ),
        (&*bucket.endpoint, "not_home_assistant", 1),
        (&encrypted, "home_assistant_unreachable", 1),
        ("ftp://127.0.0.1", "invalid_url", 2),
        ("http://me:secret@127.0.0.1", "invalid_url", 2),
    ] {
        let ended = refused(&setup, url, &[]).await;
        assert_eq!(ended, (code.to_owned(), exit_code), "{url}");
    }
}

#[tokio::test]
async fn restore_trusts_the_named_authority_alone() {
    let (setup, _bucket) = setup().await;
    let server = Imitation::with_tls(Certificate::Good).await;
    let authority = server.location().options;
    let (_, authority) = authority
        .iter()
        .find(|(key, _)| key == "ca_certificate")
        .unwrap();
    let file = setup.path("authority.pem");
    fs::write(&file, authority).unwrap();
    let trusting = ["--ca-certificate", file.to_str().unwrap()];
    let url = server.endpoint();
    let ended = refused(&setup, &url, &[]).await;
    assert_eq!(ended, ("home_assistant_certificate".to_owned(), 1));
    let ended = refused(&setup, &url, &trusting).await;
    assert_eq!(ended, ("not_home_assistant".to_owned(), 1));
    fs::write(&file, "no certificate").unwrap();
    let ended = refused(&setup, &url, &trusting).await;
    assert_eq!(ended, ("invalid_certificate".to_owned(), 2));
}

#[tokio::test]
async fn key_is_checked_before_the_upload() {
    let (setup, _bucket) = setup().await;
    let key = "ABCD-efgh-1234";
    let setup = setup.keeping_secret(key);
    let tar = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/securetar-v3.tar"
    );
    setup.run(&["upload", "garage", tar]).await.ended_with(0);
    let url = refusing().await;
    let kit = format!("Home Assistant emergency kit\n\n{key}\n");
    for (text, exit_code, code) in [
        (key, 1, "home_assistant_refused"),
        ("another key", 1, "wrong_key"),
        (&*kit, 2, "configuration"),
    ] {
        fs::write(setup.path("key"), text).unwrap();
        let restore = ["--json", "restore", "garage", "5ec12e7a", "--yes"];
        let more = ["--to", &*url, "--password-file", "key"];
        let ran = setup.run(&[&restore[..], &more].concat()).await;
        assert_eq!(code_of(&ran.ended_with(exit_code)), code);
    }
}

#[tokio::test]
async fn newest_backup_of_home_assistant_is_chosen() {
    let (setup, bucket) = setup().await;
    let url = refusing().await;
    let newest = ["--json", "restore", "garage", "--yes", "--to", &*url];
    upload(&setup, &Sample::small("a1")).await.ended_with(0);
    let mut folder = Sample::small("b2");
    folder.metadata["date"] = "2026-11-21T04:47:12+01:00".into();
    folder.metadata["homeassistant_included"] = false.into();
    folder.metadata["homeassistant_version"] = Value::Null;
    bucket.put_backup("", "folder", &folder).await;
    bucket.put("backups/damaged.metadata.json", "{").await;
    let ran = setup.run(&newest).await.ended_with(1);
    assert_eq!(code_of(&ran), "home_assistant_refused");
    let lines = printed(&ran);
    let has = |field: &str, value: &str| lines.iter().any(|line| line[field] == value);
    assert!(has("passed_over", "b2"), "{lines:?}");
    assert!(has("backup_id", "a1"), "{lines:?}");
    assert!(has("waiting_for", "home_assistant_busy"), "{lines:?}");
    let is_left_out = |line: &Value| line["skipped"]["key"] == "backups/damaged.metadata.json";
    assert!(lines.iter().any(is_left_out), "{lines:?}");
}

#[tokio::test]
async fn restore_names_the_server_that_an_answer_leads_to() {
    let (setup, _bucket) = setup().await;
    let url = refusing().await.replace("127.0.0.1", "localhost");
    let ended = refused(&setup, &url, &[]).await;
    assert_eq!(ended, ("home_assistant_elsewhere".to_owned(), 1));
    let ran = setup.run(&["restore", "garage", "--to", &url]).await;
    let said = ran.ended_with(1).stderr;
    assert!(said.contains("leads to https://ha.example.com."), "{said}");
}

#[tokio::test]
async fn unreadable_certificate_is_a_wrong_option() {
    let (setup, _bucket) = setup().await;
    let missing = ["--ca-certificate", "missing.pem"];
    let restore = ["restore", "garage", "--to", "http://127.0.0.1:9"];
    let ran = setup.run(&[&restore[..], &missing].concat()).await;
    assert!(ran.ended_with(2).stderr.contains("\"missing.pem\""));
}
