//! TLS on the TCP listener and to the bucket: 1.2 or newer.

mod pinned;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::api::access::free_address;
use crate::lab::call::{Client, http};
use crate::lab::liar::Liar;
use crate::lab::{Agent, HalfSent, Location, MIB, Sample, Setup, Stopwatch, garage};

const TOKEN: &str = "correct-horse-battery-staple";

/// An agent that listens with TLS, its address, and its certificate.
async fn with_tls() -> (Agent, SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let setup = Setup::of(Location::of(&garage::shared().bucket().await)).keeping_secret(TOKEN);
    let (certificate, key) = (setup.path("cert.pem"), setup.path("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let address = free_address();
    let lines = format!(
        "token = \"{TOKEN}\"\ntcp = \"{address}\"\ntls_cert = {certificate:?}\ntls_key = {key:?}"
    );
    (
        setup.listening(&lines).serve().await,
        address,
        made.cert.pem(),
    )
}

#[tokio::test]
async fn client_trusting_the_certificate_is_served() {
    let (agent, address, certificate) = with_tls().await;
    let root = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let knows = http()
        .tls_certs_only([root])
        .resolve("localhost", address)
        .build()
        .unwrap();
    let base = format!("https://localhost:{}", address.port());
    let client = Client::new(knows, &base).with_token(TOKEN);
    let sample = Sample::new("a1", "Encrypted", 6 * 1024 * 1024);
    client.upload("garage", &sample).await;
    assert!(client.download("garage", "a1").await.unwrap().body == sample.tar);

    let stranger = Client::new(http().resolve("localhost", address).build().unwrap(), &base);
    assert!(
        !stranger.is_well().await,
        "an untrusted certificate was accepted"
    );
    let plain = Client::new(http().build().unwrap(), &format!("http://{address}"));
    assert!(
        !plain.is_well().await,
        "TLS was configured, plain HTTP was served"
    );
    assert_eq!(
        client.get("/v1/info").await.status,
        200,
        "failed handshakes affect no other client"
    );
    drop(agent);
}

#[tokio::test]
async fn unusable_certificate_is_named() {
    let setup = Setup::of(Location::of(&garage::shared().bucket().await));
    let file = setup.path("cert.pem");
    fs::write(&file, "no certificate").unwrap();
    let lines = format!(
        "token = \"{TOKEN}\"\ntcp = \"127.0.0.1:0\"\ntls_cert = {file:?}\ntls_key = {file:?}"
    );
    let ran = setup.listening(&lines).run(&["serve"]).await.ended_with(1);
    assert!(
        ran.stderr.contains("cert.pem") && ran.stderr.contains("TLS"),
        "{}",
        ran.stderr
    );
}

/// The `ClientHello` of a client limited to this version: its highest version is in the middle, and
/// it has no `supported_versions`. Source: RFC 5246, section 7.4.1.2.
fn hello(version: u8) -> Vec<u8> {
    let prefixed =
        |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let extension = |kind: u16, data: &[u8]| [&kind.to_be_bytes()[..], &prefixed(data)].concat();
    // x25519 and P-256; RSA and ECDSA with SHA-256; ECDHE with AES, for 1.2 and older.
    let extensions = [
        extension(10, &prefixed(&[0, 0x1d, 0, 0x17])),
        extension(11, &[1, 0]),
        extension(13, &prefixed(&[4, 3, 8, 4, 4, 1])),
        extension(0xff01, &[0]),
    ];
    let suites = prefixed(&[0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13, 0, 0x2f]);
    let body = [
        &[3, version][..],
        &[7; 32],
        &[0],
        &suites,
        &[1, 0],
        &prefixed(&extensions.concat()),
    ]
    .concat();
    let handshake = [&[1, 0][..], &prefixed(&body)].concat();
    [&[22, 3, 1][..], &prefixed(&handshake)].concat()
}

#[tokio::test]
async fn old_tls_version_is_refused() {
    let (_agent, address, _) = with_tls().await;
    // 3.1 is TLS 1.0, and 3.3 is 1.2.
    for (version, is_taken) in [(1, false), (2, false), (3, true)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&hello(version)).await.unwrap();
        let mut said = [0; 7];
        stream.read_exact(&mut said).await.unwrap();
        if is_taken {
            assert_eq!(
                (said[0], said[5]),
                (22, 2),
                "no answer to TLS 1.2: {said:?}"
            );
        } else {
            assert_eq!(
                (said[0], &said[5..]),
                (21, &[2, 70][..]),
                "no fatal protocol_version alert: {said:?}"
            );
        }
    }
}

#[tokio::test]
async fn bucket_with_old_tls_is_refused() {
    for version in [1, 2, 3] {
        // A `ServerHello` with this version and a suite that the client did not offer; then
        // silence.
        let random = [&[3, version][..], &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
        let handshake = [&[2, 0, 0, u8::try_from(random.len()).unwrap()][..], &random].concat();
        let record = [
            &[22, 3, version, 0, u8::try_from(handshake.len()).unwrap()][..],
            &handshake,
        ]
        .concat();
        let (liar, alerts) = Liar::raw(record).await;
        let mut location = liar.location();
        location.endpoint = location.endpoint.replace("http://", "https://");
        let agent = Setup::of(location).serve().await;
        agent
            .get("/v1/locations/garage/backups")
            .await
            .is_problem(502, "storage_certificate", &[]);
        let alert = alerts.lock().unwrap().last().copied();
        // With 1.2, the suite is the error.
        assert_eq!(
            alert == Some(70),
            version < 3,
            "protocol_version is alert 70, this is {alert:?} to 3.{version}"
        );
    }
}

/// A listener that accepts connections and stays silent.
async fn silent() -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    };
    (address, AbortOnDropHandle::new(tokio::spawn(accepting)))
}

/// Asserts that this location times out while another one is served.
async fn location_times_out(change: impl FnOnce(&mut Location)) {
    let bucket = garage::shared().bucket().await;
    let mut stalled = Location {
        id: "stalled".into(),
        ..Location::of(&bucket)
    };
    change(&mut stalled);
    let agent = Setup::with([Location::of(&bucket), stalled]).serve().await;
    let watch = Stopwatch::start(&agent);
    let refused = async {
        agent
            .get("/v1/locations/stalled/backups")
            .await
            .is_problem(504, "storage_timeout", &[]);
        // Home Assistant waits 20 seconds for a list.
        watch.assert_below(Duration::from_secs(25), "a list of the stalled location");
        watch.wall()
    };
    let beside = async {
        agent.upload("garage", &Sample::small("a1")).await;
        watch.wall()
    };
    let (refused, beside) = tokio::join!(refused, beside);
    assert!(
        beside < refused,
        "the other location waited too: {beside:?}"
    );
}

#[tokio::test]
async fn hanging_tls_handshake_of_the_bucket_times_out() {
    let (address, _silent) = silent().await;
    location_times_out(|location| location.endpoint = format!("https://{address}")).await;
}

#[tokio::test]
async fn silent_proxy_times_out() {
    let (address, _silent) = silent().await;
    location_times_out(|location| {
        location.endpoint = "https://storage.example.com".into();
        *location = location.clone().with("proxy", &format!("http://{address}"));
    })
    .await;
}

#[tokio::test]
async fn client_without_handshake_is_disconnected() {
    let (agent, address, certificate) = with_tls().await;
    let mut streams = Vec::new();
    // Nothing, and half of a `ClientHello`.
    for said in [&[][..], &hello(3)[..20]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said).await.unwrap();
        streams.push(stream);
    }
    let root = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let knows = http()
        .tls_certs_only([root])
        .resolve("localhost", address)
        .build()
        .unwrap();
    let client = Client::new(knows, &format!("https://localhost:{}", address.port()));
    assert!(client.is_well().await, "other clients wait for them");
    let start = Instant::now();
    for mut stream in streams {
        let mut rest = Vec::new();
        drop(
            timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
                .await
                .expect("it is waited for"),
        );
    }
    assert!(
        start.elapsed() > Duration::from_secs(5),
        "a slow client is disconnected: {:?}",
        start.elapsed()
    );
    drop(agent);
}

/// TLS in front of a server, with a replaceable certificate; replacing it breaks open connections.
struct Front {
    address: SocketAddr,
    authority: CertifiedIssuer<'static, KeyPair>,
    shown: watch::Sender<Option<TlsAcceptor>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Front {
    async fn before(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let (shown, target) = (
            watch::Sender::new(None::<TlsAcceptor>),
            endpoint.replace("http://", ""),
        );
        let showing = shown.clone();
        let accepting = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut shown, target) = (showing.subscribe(), target.clone());
                let acceptor = shown.borrow_and_update().clone().unwrap();
                tokio::spawn(async move {
                    let connection = async {
                        let mut client = acceptor.accept(stream).await?;
                        copy_bidirectional(&mut client, &mut TcpStream::connect(target).await?)
                            .await
                    };
                    tokio::select! {
                        _ = shown.changed() => {}
                        _ = connection => {}
                    }
                });
            }
        };
        Self {
            address,
            authority,
            shown,
            _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)),
        }
    }

    /// Presents a certificate that becomes valid at `from`.
    fn show_valid_from(&self, from: SystemTime) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_before = from.into();
        let key = KeyPair::generate().unwrap();
        let chain = vec![
            params
                .signed_by(&key, &self.authority)
                .unwrap()
                .der()
                .clone(),
        ];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = config
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        self.shown
            .send_replace(Some(TlsAcceptor::from(Arc::new(config))));
    }
}

/// A machine without a clock rejects every certificate until it has synchronised.
#[tokio::test]
async fn upload_waits_for_a_certificate_not_yet_valid() {
    let bucket = garage::shared().bucket().await;
    let front = Front::before(&bucket.endpoint).await;
    front.show_valid_from(SystemTime::now() - Duration::from_hours(1));
    let location = Location {
        endpoint: format!("https://{}", front.address),
        ..Location::of(&bucket)
    };
    let agent = Setup::of(location.with("ca_certificate", &front.authority.pem()))
        .serve()
        .await;
    assert_eq!(agent.list("garage").await["stale"], false);
    let sample = Sample::new("a1", "Of the past", 30 * MIB);
    let HalfSent {
        upload_id,
        mut sending,
        mut events,
        rest,
        ..
    } = agent.half_sent("garage", &sample, 1).await;
    front.show_valid_from(SystemTime::now() + Duration::from_secs(20));
    let shown = async {
        let watch = Stopwatch::start(&agent);
        let list = agent.refreshed("garage").await;
        watch.assert_below(Duration::from_secs(5), "a list that fails at once");
        assert_eq!(
            (&list["stale"], &list["error"]["code"]),
            (&json!(true), &json!("storage_certificate"))
        );
        let waits = events
            .until(|event| event["upload_id"] == upload_id && !event["waiting"].is_null())
            .await;
        assert_eq!(
            waits.last().unwrap()["waiting"]["code"],
            "storage_certificate"
        );
    };
    tokio::join!(shown, sending.send(&rest));
    assert_eq!(sending.ended().await.unwrap().status, 200);
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}
