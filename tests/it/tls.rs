//! TLS on the TCP listener.

use std::fs;

use crate::access::free_address;
use crate::harness::call::{Client, http};
use crate::harness::{Location, Sample, Setup, garage};

const TOKEN: &str = "correct-horse-battery-staple";

#[tokio::test]
async fn a_client_that_knows_the_certificate_is_served() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let setup = Setup::of(Location::of(&garage::shared().bucket().await)).keeping_secret(TOKEN);
    let (certificate, key) = (setup.path("cert.pem"), setup.path("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let address = free_address();
    let lines = format!("token = \"{TOKEN}\"\ntcp = \"{address}\"\ntls_cert = {certificate:?}\ntls_key = {key:?}");
    let agent = setup.listening(&lines).serve().await;

    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let knows = http().tls_certs_only([root]).resolve("localhost", address).build().unwrap();
    let base = format!("https://localhost:{}", address.port());
    let client = Client::new(knows, &base).with_token(TOKEN);
    let sample = Sample::new("a1", "Encrypted", 6 * 1024 * 1024);
    client.upload("garage", &sample).await;
    assert!(client.download("garage", "a1").await.unwrap().body == sample.tar);

    let stranger = Client::new(http().resolve("localhost", address).build().unwrap(), &base);
    assert!(!stranger.is_well().await, "a certificate that nobody vouches for was accepted");
    let plain = Client::new(http().build().unwrap(), &format!("http://{address}"));
    assert!(!plain.is_well().await, "TLS was configured, plain HTTP was served");
    assert_eq!(client.get("/v1/info").await.status, 200, "failed handshakes disturb nobody");
    drop(agent);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let setup = Setup::of(Location::of(&garage::shared().bucket().await));
    let file = setup.path("cert.pem");
    fs::write(&file, "no certificate").unwrap();
    let lines = format!("token = \"{TOKEN}\"\ntcp = \"127.0.0.1:0\"\ntls_cert = {file:?}\ntls_key = {file:?}");
    let ran = setup.listening(&lines).run(&["serve"]).await.ended_with(1);
    assert!(ran.stderr.contains("cert.pem") && ran.stderr.contains("TLS"), "{}", ran.stderr);
}
