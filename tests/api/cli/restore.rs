//! `restore` to what is no new Home Assistant. tests/e2e restores into real ones.

use std::fs;

use super::setup;
use crate::lab::Setup;
use crate::lab::quirks::{Certificate, Imitation};

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
