//! A certificate that is trusted by its fingerprint alone.

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use crate::lab::quirks::{Certificate, Imitation};
use crate::lab::sample::hex;
use crate::lab::tunnel::Tunnel;
use crate::lab::{Agent, Location, Setup};

const MARK: &str = "SHA-256 fingerprint is ";

/// The fingerprint that the check's error names, as a user copies it.
fn named(checked: &Value) -> Option<String> {
    let steps = checked["steps"].as_array().unwrap();
    let error = &steps.last().unwrap()["error"];
    let (_, rest) = error["detail"].as_str()?.split_once(MARK)?;
    let fingerprint: String = rest.chars().take(95).collect();
    let hint = error["hint"].as_str().unwrap();
    assert!(!hint.is_empty(), "{checked:#}");
    Some(fingerprint)
}

async fn check(agent: &Agent, location: &Location) -> Value {
    let checked = agent.post("/v1/locations/check", &location.json()).await;
    checked.json()
}

/// The reason of the failed step.
fn reason(checked: &Value) -> &Value {
    &checked["steps"].as_array().unwrap().last().unwrap()["error"]["reason"]
}

#[tokio::test]
async fn named_fingerprint_is_trusted_whatever_else_is_wrong() {
    let agent = Setup::with([]).serve().await;
    for certificate in [
        Certificate::SelfSigned,
        Certificate::OwnAuthority,
        Certificate::OtherAuthority,
        Certificate::OtherName,
        Certificate::OwnAuthorityOfOtherName,
        Certificate::Expired,
        Certificate::ForClients,
        Certificate::WithoutNames,
    ] {
        let server = Imitation::with_tls(certificate).await;
        let untrusting = Location {
            options: Vec::new(),
            ..server.location()
        };
        let checked = check(&agent, &untrusting).await;
        assert_eq!(checked["ok"], false, "{certificate:?}: {checked:#}");
        let fingerprint = named(&checked).unwrap_or_else(|| panic!("{certificate:?}: {checked:#}"));
        let pinned = untrusting.with("certificate_sha256", &fingerprint);
        let checked = check(&agent, &pinned).await;
        assert_eq!(checked["ok"], true, "{certificate:?}: {checked:#}");
    }
}

#[tokio::test]
async fn other_certificate_is_refused_with_both_fingerprints() {
    let agent = Setup::with([]).serve().await;
    // Trusted without the setting.
    let server = Imitation::with_tls(Certificate::Good).await;
    assert_eq!(check(&agent, &server.location()).await["ok"], true);
    let other = "0123456789abcdef".repeat(4);
    let checked = check(
        &agent,
        &server.location().with("certificate_sha256", &other),
    )
    .await;
    assert_eq!(
        reason(&checked),
        "certificate_other_fingerprint",
        "{checked:#}"
    );
    let seen = named(&checked).unwrap();
    let detail = checked["steps"].to_string();
    assert!(
        detail.contains(&format!("{seen}, not 01:23:45:67:89:AB")),
        "{detail}"
    );
    let again = server.location().with("certificate_sha256", &seen);
    assert_eq!(check(&agent, &again).await["ok"], true);
}

#[tokio::test]
async fn fingerprint_makes_no_broken_certificate_acceptable() {
    let agent = Setup::with([]).serve().await;
    for (certificate, pem, expected) in [
        (
            Certificate::Version1,
            "version-1.pem",
            "certificate_version_1",
        ),
        (Certificate::WeakKey, "weak-key.pem", "certificate_weak_key"),
    ] {
        let server = Imitation::with_tls(certificate).await;
        let path = format!("tests/lab/quirks/certificates/{pem}");
        let text = std::fs::read(path).unwrap();
        let der = CertificateDer::from_pem_slice(&text).unwrap();
        let fingerprint = hex(digest(&SHA256, &der).as_ref());
        let pinned = server.location().with("certificate_sha256", &fingerprint);
        let checked = check(&agent, &pinned).await;
        assert_eq!(reason(&checked), expected, "{checked:#}");
        assert_eq!(named(&checked), None);
    }
}

#[tokio::test]
async fn invalid_fingerprint_is_refused() {
    let agent = Setup::with([]).serve().await;
    let server = Imitation::with_tls(Certificate::Good).await;
    let settings = server.location().with("certificate_sha256", "AB:CD");
    let checked = check(&agent, &settings).await;
    let step = checked["steps"].as_array().unwrap().last().unwrap();
    let problem = (&step["step"], &step["key"]);
    assert_eq!(problem, (&"settings".into(), &"certificate_sha256".into()));
}

/// The proxy has another certificate, which an authority vouches for.
#[tokio::test]
async fn fingerprint_is_that_of_the_storage_behind_a_proxy_with_tls() {
    let server = Imitation::with_tls(Certificate::SelfSigned).await;
    let proxy = Tunnel::start(Certificate::Good).await;
    let untrusting = Location {
        endpoint: server.location().endpoint.replace("localhost", "127.0.0.1"),
        options: Vec::new(),
        ..server.location()
    };
    let agent = Setup::with([])
        .with_variable("HTTPS_PROXY", &proxy.url())
        .serve()
        .await;
    let seen = named(&check(&agent, &untrusting).await).unwrap();
    for way in ["environment", &proxy.url()] {
        let through = untrusting
            .clone()
            .with("proxy", way)
            .with("ca_certificate", &proxy.authority);
        let pinned = through.clone().with("certificate_sha256", &seen);
        let checked = check(&agent, &pinned).await;
        assert_eq!(checked["ok"], true, "{way}: {checked:#}");
        assert!(proxy.opened() > 0);
        let other = through.with("certificate_sha256", &"ab".repeat(32));
        let checked = check(&agent, &other).await;
        assert_eq!(reason(&checked), "certificate_other_fingerprint", "{way}");
    }
    // The proxy's certificate is not accepted unseen.
    let unknown = untrusting
        .with("proxy", "environment")
        .with("certificate_sha256", &seen);
    let checked = check(&agent, &unknown).await;
    assert_eq!(checked["ok"], false, "{checked:#}");
}
