//! Leaks of secrets: all kinds are planted, then all output of the agent is searched.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::lab::call::Client;
use crate::lab::events::Events;
use crate::lab::{Agent, Location, MIB, Proxy, Sample, Setup, eventually, garage};

const TOKEN: &str = "planted token of the agent";
const SESSION: &str = "planted/session+token=";
const PROXY_PASSWORD: &str = "planted p@ss/word";
const CA_FOLDER: &str = "planted-folder";
const REGISTERED: &str = "planted\"key\\of/registered";
const TRIED: &str = "planted-and-only-tried";
const KMS_KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/planted";
const TOKEN_OF_FILE: &str = "planted token of a \"file\"";
const TOKEN_OF_SUPERVISOR: &str = "planted/token+of=Supervisor";

/// All planted secrets, in all encodings.
fn planted(bucket_secret: &str, customer_key: &str) -> Vec<String> {
    let mut forms = vec![BASE64.encode(format!("home:{PROXY_PASSWORD}"))];
    let of_the_agent = [
        TOKEN,
        TOKEN_OF_FILE,
        TOKEN_OF_SUPERVISOR,
        PROXY_PASSWORD,
        CA_FOLDER,
    ];
    let of_buckets = [
        SESSION,
        REGISTERED,
        TRIED,
        KMS_KEY,
        "PLANTEDKEYID",
        bucket_secret,
        customer_key,
    ];
    for secret in of_the_agent.into_iter().chain(of_buckets) {
        let json = Value::from(secret).to_string();
        forms.extend([
            secret.to_owned(),
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        ]);
        forms.push(json[1..json.len() - 1].to_owned());
    }
    forms.push("planted%20p%40ss%2Fword".to_owned());
    forms
}

fn assert_contains_none(what: &str, text: &str, planted: &[String]) {
    for form in planted {
        assert!(!text.contains(form.as_str()), "{what} holds {form}");
    }
}

/// Requests a path that contains a secret, as after a paste into the wrong field: it enters the
/// records.
async fn enter_secret(client: &Client, secret: &str) {
    let path = format!(
        "/v1/locations/{}",
        utf8_percent_encode(secret, NON_ALPHANUMERIC)
    );
    assert_eq!(
        client
            .request(Method::GET, &path)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16(),
        404
    );
}

async fn records(events: &mut Events) -> Vec<Value> {
    events
        .until(|event| event["fields"]["path"] == "/v1/providers")
        .await
}

#[tokio::test]
async fn agent_output_contains_no_secret() {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let customer_key = BASE64.encode([9; 32]);
    let encoded = utf8_percent_encode(PROXY_PASSWORD, NON_ALPHANUMERIC).to_string();
    let way = proxy
        .endpoint()
        .replace("http://", &format!("http://home:{encoded}@"));
    let location = Location::of(&bucket)
        .with("session_token", SESSION)
        .with("encryption", "SSE-C")
        .with("encryption_key", &customer_key)
        .with("proxy", &way);
    let setup = Setup::of(location);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::create_dir(setup.path(CA_FOLDER)).unwrap();
    let pem = setup.path(CA_FOLDER).join("ca.pem");
    fs::write(&pem, made.cert.pem()).unwrap();
    let mut setup = setup;
    setup.locations[0]
        .options
        .push(("ca_certificate".into(), pem.display().to_string()));
    let kms = Location {
        id: "kms".into(),
        prefix: "kms".into(),
        ..Location::of(&bucket)
    };
    setup.locations.push(
        kms.with("encryption", "aws:kms")
            .with("encryption_key", KMS_KEY),
    );
    let setup = setup.listening(&format!("token = \"{TOKEN}\""));
    let planted = planted(&bucket.secret, &customer_key);

    let agent = setup.serve().await;
    let client = agent.client.clone().with_token(TOKEN);
    let events = client.log("trace").await;
    let registered = json!({"endpoint": "http://127.0.0.1:9", "bucket": "nowhere", "access_key_id": "PLANTEDKEYID",
        "secret_access_key": REGISTERED, "session_token": SESSION, "proxy": way});
    client.register("away", &registered).await;
    let mut tried = registered.clone();
    tried["secret_access_key"] = TRIED.into();
    assert_eq!(
        client.post("/v1/locations/check", &tried).await.json()["ok"],
        false
    );
    client
        .post("/v1/locations/garage/check", &Value::Null)
        .await;
    client.get("/v1/locations/away/backups").await;
    client.post("/v1/locations/kms/check", &Value::Null).await;
    let upload_id = client.begin("kms", &Sample::small("k1")).await;
    client.content(&upload_id, Sample::small("k1").tar).await;
    client
        .upload("garage", &Sample::new("a1", "Planted", 11 * MIB))
        .await;
    assert_eq!(client.download("garage", "a1").await.unwrap().status, 200);
    for secret in [
        TOKEN,
        SESSION,
        PROXY_PASSWORD,
        REGISTERED,
        &bucket.secret,
        &customer_key,
    ] {
        enter_secret(&client, secret).await;
    }
    client.delete_backup("garage", "a1").await;
    client.get("/v1/providers").await;

    assert_outputs_contain_none(&agent, &client, events, &planted).await;
}

#[tokio::test]
async fn secrets_from_files_and_supervisor_do_not_leak() {
    let bucket = garage::shared().bucket().await;
    let (supervisor, _answering) = supervisor_that_repeats_tokens().await;
    let setup = Setup::of(Location::of(&bucket));
    let file = setup.path("token");
    fs::write(&file, TOKEN_OF_FILE).unwrap();
    let setup = setup
        .listening(&format!("token_file = {file:?}\npage = \"127.0.0.1:0\""))
        .with_variable("SUPERVISOR", &supervisor)
        .with_variable("SUPERVISOR_TOKEN", TOKEN_OF_SUPERVISOR);
    let planted = planted(&bucket.secret, "planted-nowhere");
    let agent = setup.serve().await;
    let client = agent.client.clone().with_token(TOKEN_OF_FILE);
    let mut events = client.log("trace").await;
    events
        .until(|event| {
            event["message"]
                .as_str()
                .is_some_and(|text| text.contains("Supervisor"))
        })
        .await;
    for secret in [
        TOKEN_OF_FILE,
        TOKEN_OF_SUPERVISOR,
        &bucket.secret,
        TOKEN_OF_FILE,
        TOKEN_OF_SUPERVISOR,
        "\"***\"",
    ] {
        enter_secret(&client, secret).await;
    }
    client.get("/v1/providers").await;
    assert_outputs_contain_none(&agent, &client, events, &planted).await;
}

/// A Supervisor that refuses every message and echoes it.
async fn supervisor_that_repeats_tokens() -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap();
            let message = String::from_utf8_lossy(&request[..read]).into_owned();
            let body = json!({"result": "error", "message": message}).to_string();
            let answer = format!(
                "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (host, AbortOnDropHandle::new(answering))
}

/// Searches all output of an agent after secrets were pasted.
async fn assert_outputs_contain_none(
    agent: &Agent,
    client: &Client,
    mut events: Events,
    planted: &[String],
) {
    let told = records(&mut events).await;
    assert!(
        told.iter()
            .any(|event| event["level"] == "debug" && event["type"] == "log"),
        "no event arrived"
    );
    let hidden = told.iter().filter(|event| {
        event["message"]
            .as_str()
            .is_some_and(|text| text.contains("\"***\""))
    });
    assert!(hidden.count() >= 6, "precondition: pasted text is recorded");
    assert_contains_none("the log of a stream", &json!(told).to_string(), planted);

    let diagnostics = client.get("/v1/diagnostics").await;
    assert_eq!(diagnostics.status, 200, "{diagnostics:?}");
    let text = String::from_utf8(diagnostics.body.to_vec()).unwrap();
    assert!(
        text.contains("\\\"***\\\""),
        "precondition: the records contain the pasted paths: {text}"
    );
    assert_contains_none("the diagnostics", &text, planted);
    for path in [
        "/metrics",
        "/v1/locations",
        "/v1/info",
        "/v1/uploads",
        "/v1/locations/garage/backups",
    ] {
        assert_contains_none(
            path,
            str::from_utf8(&client.get(path).await.body).unwrap(),
            planted,
        );
    }
    eventually("standard error has all records", async || {
        agent.printed().contains("path=\"/v1/info\"")
    })
    .await;
    assert_contains_none("standard error", &agent.printed(), planted);
}

#[tokio::test]
async fn command_line_output_contains_no_secret() {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let encoded = utf8_percent_encode(PROXY_PASSWORD, NON_ALPHANUMERIC).to_string();
    let way = proxy
        .endpoint()
        .replace("http://", &format!("http://home:{encoded}@"));
    let customer_key = BASE64.encode([9; 32]);
    let location = Location::of(&bucket)
        .with("encryption", "SSE-C")
        .with("encryption_key", &customer_key);
    let setup = Setup::of(location.with("secret_access_key", "${BUCKET_SECRET}"))
        .listening(&format!("token = \"{TOKEN}\""))
        .with_variable("BUCKET_SECRET", &bucket.secret)
        .with_variable("S3_BACKUP_AGENT__LOCATIONS__0__PROXY", &way)
        .with_variable("S3_BACKUP_AGENT__LOG__LEVEL", "trace");
    let planted = planted(&bucket.secret, &customer_key);
    let sample = Sample::new("a1", "Planted", 11 * MIB);
    let (tar, back) = (setup.path("in.tar"), setup.path("out.tar"));
    fs::write(&tar, &sample.tar).unwrap();
    let [tar, back] = [&tar, &back].map(|path| path.to_str().unwrap());
    for arguments in [
        &["check"][..],
        &["upload", "garage", tar],
        &["list"],
        &["verify", "--full"],
        &["download", "garage", "a1", "-o", back],
        &["download", "garage", "a1", "-o", back],
        &["recover", "garage"],
        &["import", "garage", "--dry-run"],
        &["delete", "garage", "a1"],
        &["delete", "garage", "a1"],
        &["healthcheck"],
    ] {
        for json in [&[][..], &["--json"]] {
            let ran = setup.run(&[json, arguments].concat()).await;
            assert_contains_none("standard error", &ran.stderr, &planted);
            assert_contains_none(
                "standard output",
                &String::from_utf8_lossy(&ran.stdout),
                &planted,
            );
        }
    }
}

#[tokio::test]
async fn misplaced_secret_in_the_configuration_is_not_echoed() {
    let bucket = garage::shared().bucket().await;
    let way = "http://home:planted-in-the-way@127.0.0.1:1";
    for (key, value) in [
        (
            "ENDPOINT",
            "https://home:planted-before-the-host@s3.example.com",
        ),
        (
            "ENDPOINT",
            "ftp://home:planted-before-the-host@s3.example.com",
        ),
        (
            "ENDPOINT",
            "https://s3.example.com/?signature=planted-in-the-query",
        ),
        ("PROXY", "ftp://home:planted-in-the-way@127.0.0.1"),
        ("ENCRYPTION_KEY", "planted-key-that-is-none"),
    ] {
        let name: &'static str = format!("S3_BACKUP_AGENT__LOCATIONS__0__{key}").leak();
        let setup = Setup::of(
            Location::of(&bucket)
                .with("proxy", way)
                .with("encryption", "SSE-C"),
        );
        let setup = setup.with_variable(name, value).keeping_secret("planted-");
        for arguments in [&["list"][..], &["--json", "check"], &["serve"]] {
            let ran = setup.run(arguments).await.ended_with(2);
            let said = format!("{}{}", ran.text(), ran.stderr);
            assert!(said.contains(&key.to_lowercase()), "{said}");
        }
    }
}
