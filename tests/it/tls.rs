//! TLS on the TCP listener, and on the way to a bucket: 1.2 or newer.

use std::fs;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::access::free_address;
use crate::harness::call::{Client, http};
use crate::harness::liar::Liar;
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

/// The first word of a client that knows this version and no later one: its highest is in the middle, nothing is said
/// of `supported_versions`. Source: RFC 5246, section 7.4.1.2.
fn hello(version: u8) -> Vec<u8> {
    let prefixed = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let extension = |kind: u16, data: &[u8]| [&kind.to_be_bytes()[..], &prefixed(data)].concat();
    // x25519 and P-256; RSA and ECDSA with SHA-256; ECDHE with AES, for 1.2 and for what was before it.
    let extensions = [
        extension(10, &prefixed(&[0, 0x1d, 0, 0x17])),
        extension(11, &[1, 0]),
        extension(13, &prefixed(&[4, 3, 8, 4, 4, 1])),
        extension(0xff01, &[0]),
    ];
    let suites = prefixed(&[0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13, 0, 0x2f]);
    let body = [&[3, version][..], &[7; 32], &[0], &suites, &[1, 0], &prefixed(&extensions.concat())].concat();
    let handshake = [&[1, 0][..], &prefixed(&body)].concat();
    [&[22, 3, 1][..], &prefixed(&handshake)].concat()
}

#[tokio::test]
async fn an_old_version_is_refused() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let setup = Setup::of(Location::of(&garage::shared().bucket().await)).keeping_secret(TOKEN);
    let (certificate, key) = (setup.path("cert.pem"), setup.path("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let address = free_address();
    let lines = format!("token = \"{TOKEN}\"\ntcp = \"{address}\"\ntls_cert = {certificate:?}\ntls_key = {key:?}");
    let _agent = setup.listening(&lines).serve().await;
    // 3.1 is TLS 1.0, and 3.3 is 1.2.
    for (version, is_taken) in [(1, false), (2, false), (3, true)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&hello(version)).await.unwrap();
        let mut said = [0; 7];
        stream.read_exact(&mut said).await.unwrap();
        if is_taken {
            assert_eq!((said[0], said[5]), (22, 2), "no answer to TLS 1.2: {said:?}");
        } else {
            assert_eq!((said[0], &said[5..]), (21, &[2, 70][..]), "no fatal protocol_version alert: {said:?}");
        }
    }
}

#[tokio::test]
async fn a_bucket_with_an_old_version_is_refused() {
    for version in [1, 2, 3] {
        // The first word of a server, which chooses the version and a suite that nobody offered; then it says nothing.
        let random = [&[3, version][..], &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
        let handshake = [&[2, 0, 0, u8::try_from(random.len()).unwrap()][..], &random].concat();
        let record = [&[22, 3, version, 0, u8::try_from(handshake.len()).unwrap()][..], &handshake].concat();
        let (liar, alerts) = Liar::raw(record).await;
        let mut location = liar.location();
        location.endpoint = location.endpoint.replace("http://", "https://");
        let agent = Setup::of(location).serve().await;
        agent.get("/v1/locations/garage/backups").await.is_problem(502, "storage_certificate", &[]);
        let alert = alerts.lock().unwrap().last().copied();
        // With 1.2 it is the suite that is wrong.
        assert_eq!(alert == Some(70), version < 3, "protocol_version is alert 70, this is {alert:?} to 3.{version}");
    }
}
