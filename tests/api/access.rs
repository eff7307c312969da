//! Access control: tokens and TCP.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use crate::lab::call::{Client, http};
use crate::lab::{Location, Sample, Setup, garage};

const TOKEN: &str = "correct-horse-battery-staple";

async fn setup() -> Setup {
    Setup::of(Location::of(&garage::shared().bucket().await))
}

pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Asserts that everything but health requires the token.
async fn token_is_asked_for(client: &Client) {
    assert_eq!(
        client.get("/v1/health").await.json(),
        serde_json::json!({"status": "ok"})
    );
    for path in [
        "/v1/info",
        "/v1/providers",
        "/v1/locations",
        "/v1/events",
        "/v1/openapi.json",
        "/v1/nothing",
        "/v1/uploads/x",
    ] {
        let answer = client.get(path).await;
        answer.is_problem(401, "unauthorized", &["missing", "token file"]);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let wrong = client.clone().with_token("correct-horse-battery-staplf");
    wrong
        .get("/v1/info")
        .await
        .is_problem(401, "unauthorized", &["wrong"]);
    wrong
        .create("garage", &Sample::small("a1"))
        .await
        .is_problem(401, "unauthorized", &["wrong"]);
    let request = client
        .request(http::Method::GET, "/v1/info")
        .basic_auth("user", Some(TOKEN));
    assert_eq!(client.send(request).await.unwrap().status, 401);
}

#[tokio::test]
async fn configured_token_is_required_on_the_socket() {
    let setup = setup()
        .await
        .listening(&format!("token = \"{TOKEN}\""))
        .keeping_secret(TOKEN);
    let agent = setup.serve().await;
    token_is_asked_for(&agent.client).await;
    let client = agent.client.clone().with_token(TOKEN);
    assert_eq!(client.get("/v1/info").await.status, 200);
    client.upload("garage", &Sample::small("a1")).await;
}

#[tokio::test]
async fn tcp_requires_the_token() {
    let address = free_address();
    let lines = format!("token = \"{TOKEN}\"\ntcp = \"{address}\"");
    let agent = setup()
        .await
        .listening(&lines)
        .keeping_secret(TOKEN)
        .serve()
        .await;
    let client = Client::new(http().build().unwrap(), &format!("http://{address}"));
    token_is_asked_for(&client).await;
    let client = client.with_token(TOKEN);
    let sample = Sample::small("a1");
    client.upload("garage", &sample).await;
    assert!(client.download("garage", "a1").await.unwrap().body == sample.tar);
    drop(agent);
}

#[tokio::test]
async fn token_file_is_private_and_reused() {
    let address = free_address();
    let setup = setup().await;
    let file = setup.path("token");
    let lines = format!("token_file = {file:?}\ntcp = \"{address}\"");
    let mut agent = setup.listening(&lines).serve().await;
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let token = fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(token.len() >= 32, "{} characters", token.len());
    agent.setup.secrets.push(token.clone());
    let client =
        Client::new(http().build().unwrap(), &format!("http://{address}")).with_token(&token);
    assert_eq!(client.get("/v1/info").await.status, 200);
    assert_eq!(
        agent.get("/v1/info").await.status,
        401,
        "the socket requires the token too"
    );
    agent.signal("TERM");
    assert!(agent.ended().await.success());

    let again = crate::lab::Agent::restarted(agent).await;
    assert_eq!(
        client.get("/v1/info").await.status,
        200,
        "the token is the same after a restart"
    );
    drop(again);
}

#[tokio::test]
async fn unsafe_listeners_are_refused_at_startup() {
    for (lines, words) in [
        ("tcp = \"127.0.0.1:0\"", ["listen.tcp", "token"]),
        (
            "tcp = \"0.0.0.0:0\"\ntoken = \"correct-horse-battery-staple\"",
            ["listen.tcp", "unencrypted"],
        ),
        ("token = \"short\"", ["listen.token", "16 characters"]),
        ("tls_cert = \"/x\"", ["listen.tls_cert", "listen.tls_key"]),
        ("tcp = \"localhost\"", ["listen.tcp", "127.0.0.1:8099"]),
    ] {
        let ran = setup()
            .await
            .listening(lines)
            .keeping_secret("\"short\"")
            .run(&["serve"])
            .await
            .ended_with(2);
        for word in words {
            assert!(ran.stderr.contains(word), "{lines}: {}", ran.stderr);
        }
    }
}
