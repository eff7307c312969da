//! The agent's process: socket, lock, log, shutdown.

mod shutdown;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use crate::lab::{
    Agent, HalfSent, Location, MIB, Sample, Setup, StateOn, agent_and_bucket, eventually, garage,
};

#[tokio::test]
async fn socket_is_accessible_to_its_owner_only() {
    let (agent, _bucket) = agent_and_bucket().await;
    let mode = fs::metadata(agent.setup.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn second_agent_is_refused_while_the_first_keeps_working() {
    let (agent, bucket) = agent_and_bucket().await;
    let ran = agent.setup.run(&["serve"]).await.ended_with(1);
    assert!(
        ran.stderr.contains("Another agent runs") && ran.stderr.contains("stop that one first"),
        "{}",
        ran.stderr
    );
    // The same socket with another state directory.
    let other = Setup::of(Location::of(&bucket));
    let toml = fs::read_to_string(other.path("agent.toml")).unwrap();
    let (mine, taken) = (other.socket(), agent.setup.socket());
    let toml = toml.replace(mine.to_str().unwrap(), taken.to_str().unwrap());
    fs::write(other.path("agent.toml"), toml).unwrap();
    let ran = other.run(&["serve"]).await.ended_with(1);
    assert!(
        ran.stderr.contains(taken.to_str().unwrap()) && ran.stderr.contains("running"),
        "{}",
        ran.stderr
    );
    agent.upload("garage", &Sample::small("a1")).await;
}

#[tokio::test]
async fn stale_socket_of_a_killed_agent_is_replaced() {
    let (mut agent, _bucket) = agent_and_bucket().await;
    let socket = agent.setup.socket();
    agent.kill();
    assert!(fs::metadata(&socket).is_ok(), "test precondition not met");
    let agent = Agent::restarted(agent).await;
    assert_eq!(agent.get("/v1/info").await.status, 200);
}

#[tokio::test]
async fn existing_file_at_the_socket_path_is_never_replaced() {
    let setup = Setup::of(Location::of(&garage::shared().bucket().await));
    fs::create_dir_all(setup.socket().parent().unwrap()).unwrap();
    fs::write(setup.socket(), "precious").unwrap();
    let ran = setup.run(&["serve"]).await.ended_with(1);
    assert!(ran.stderr.contains("is not a socket"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(setup.socket()).unwrap(), "precious");
}

#[tokio::test]
async fn socket_is_recreated_after_its_folder_was_deleted() {
    let (agent, _bucket) = agent_and_bucket().await;
    fs::remove_dir_all(agent.setup.socket().parent().unwrap()).unwrap();
    eventually("the socket is there again", async || {
        agent.setup.socket().exists() && UnixStream::connect(agent.setup.socket()).await.is_ok()
    })
    .await;
    let mode = fs::metadata(agent.setup.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    agent.upload("garage", &Sample::small("a1")).await;
}

#[tokio::test]
async fn log_level_changes_at_run_time() {
    let (agent, _bucket) = agent_and_bucket().await;
    let is_debug = |text: &str| text.contains("DEBUG");
    agent.refreshed("garage").await;
    assert!(!is_debug(&agent.printed()), "{}", agent.printed());
    let set = agent.put("/v1/log", "{\"level\": \"debug\"}").await;
    assert_eq!(
        (set.status, set.json()),
        (200, serde_json::json!({"level": "debug"}))
    );
    agent.refreshed("garage").await;
    eventually("debug records appear", async || is_debug(&agent.printed())).await;
    // The trace level would reveal any secret; dropping the agent asserts that there is none.
    assert_eq!(
        agent.put("/v1/log", "{\"level\": \"trace\"}").await.status,
        200
    );
    agent
        .upload("garage", &Sample::new("a1", "Traced", 6 * MIB))
        .await;
    assert_eq!(agent.download("garage", "a1").await.unwrap().status, 200);
    assert_eq!(
        agent.put("/v1/log", "{\"level\": \"error\"}").await.status,
        200
    );
    let before = agent.printed().lines().count();
    agent.refreshed("garage").await;
    assert_eq!(agent.printed().lines().count(), before);
}

#[tokio::test]
async fn info_reports_version_and_instance() {
    let (mut agent, _bucket) = agent_and_bucket().await;
    let info = agent.get("/v1/info").await.json();
    assert_eq!(
        (&info["name"], &info["protocol"]),
        (&"s3-backup-agent".into(), &1.into())
    );
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    let openapi = agent.get("/v1/openapi.json").await;
    assert_eq!(openapi.header("content-type"), "application/json");
    assert!(
        openapi.json()["openapi"]
            .as_str()
            .unwrap()
            .starts_with("3.")
    );
    agent.kill();
    let agent = Agent::restarted(agent).await;
    let again = agent.get("/v1/info").await.json();
    assert_ne!(
        info["instance_id"], again["instance_id"],
        "the instance id reveals a restart"
    );
}

#[tokio::test]
async fn agent_killed_during_upload_lists_no_partial_backup() {
    let (mut agent, bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Killed", 20 * MIB);
    let HalfSent {
        upload_id, sending, ..
    } = agent.half_sent("garage", &sample, 1).await;
    agent.kill();
    assert!(sending.ended().await.is_err());
    let agent = Agent::restarted(agent).await;
    assert!(agent.listed("garage").await.is_empty() && bucket.keys().await.is_empty());
    agent
        .complete(&upload_id, &sample)
        .await
        .is_problem(404, "upload_not_found", &["again"]);
    agent.upload("garage", &sample).await;
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

async fn setup() -> Setup {
    Setup::of(Location::of(&garage::shared().bucket().await))
}

#[tokio::test]
async fn unusable_state_directory_is_a_warning() {
    let (mut full, mut read_only) = (setup().await, setup().await);
    for (setup, state) in [
        (&mut full, StateOn::Full),
        (&mut read_only, StateOn::ReadOnly),
    ] {
        fs::create_dir(setup.path("state")).unwrap();
        setup.state_on = Some(state);
    }
    let (foreign, impossible) = (setup().await.run_as_other_user(), setup().await);
    fs::create_dir(foreign.path("state")).unwrap();
    fs::write(impossible.path("state"), "a file in the folder's place").unwrap();
    for setup in [full, read_only, foreign, impossible] {
        let agent = setup.serve().await;
        for sample in [Sample::small("a1"), Sample::new("b2", "Large", 12 * MIB)] {
            agent.upload("garage", &sample).await;
            assert!(agent.download("garage", sample.id()).await.unwrap().body == sample.tar);
        }
        let printed = agent.printed();
        let warning = printed
            .lines()
            .find(|line| line.contains("WARN") && line.contains("Set state_dir"));
        assert!(
            warning.is_some_and(|line| line.contains("interrupted uploads start over")),
            "{printed}"
        );
    }
}

#[tokio::test]
async fn read_only_state_directory_still_has_one_agent() {
    let mut setup = setup().await;
    fs::create_dir(setup.path("state")).unwrap();
    setup.state_on = Some(StateOn::ReadOnly);
    let agent = setup.serve().await;
    let ran = agent.setup.run(&["serve"]).await.ended_with(1);
    assert!(ran.stderr.contains("Another agent runs"), "{}", ran.stderr);
}

#[tokio::test]
async fn empty_token_file_after_power_loss_is_regenerated() {
    for torn in ["", "\n", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
        let setup = setup().await;
        let file = setup.path("token");
        fs::write(&file, torn).unwrap();
        let mut agent = setup
            .listening(&format!("token_file = {file:?}"))
            .serve()
            .await;
        let token = fs::read_to_string(&file).unwrap().trim().to_owned();
        agent.setup.secrets.push(token.clone());
        assert_eq!(token.len(), 64, "256 bits in hex digits");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            agent
                .client
                .clone()
                .with_token(&token)
                .get("/v1/info")
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn custom_token_file_is_never_replaced() {
    let setup = setup().await;
    let file = setup.path("token");
    fs::write(&file, "too short\n").unwrap();
    let setup = setup.listening(&format!("token_file = {file:?}"));
    let ran = setup.run(&["serve"]).await.ended_with(1);
    assert!(
        ran.stderr.contains("shorter than 16 characters"),
        "{}",
        ran.stderr
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "too short\n");
}

#[tokio::test]
async fn unsaved_token_is_random() {
    let mut setup = setup().await;
    let file = setup.path("state/token");
    fs::create_dir(setup.path("state")).unwrap();
    setup.state_on = Some(StateOn::Full);
    let ran = setup
        .listening(&format!("token_file = {file:?}"))
        .run(&["serve"])
        .await
        .ended_with(1);
    assert!(
        ran.stderr.contains(file.to_str().unwrap()) && ran.stderr.contains("No space"),
        "{}",
        ran.stderr
    );
}

/// The token in the next message to Supervisor.
async fn announced(supervisor: &TcpListener) -> String {
    let (mut stream, _) = supervisor.accept().await.unwrap();
    let mut text = String::new();
    let body = loop {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        text += str::from_utf8(&bytes[..read]).unwrap();
        let body = text
            .split_once("\r\n\r\n")
            .map(|(_, body)| serde_json::from_str::<Value>(body));
        if let Some(Ok(body)) = body {
            break body;
        }
        assert!(read > 0, "{text}");
    };
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        .await
        .unwrap();
    body["config"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn supervisor_receives_an_unsaved_token() {
    let supervisor = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut setup = setup().await.listening("page = \"127.0.0.1:0\"");
    fs::create_dir(setup.path("state")).unwrap();
    setup.state_on = Some(StateOn::Full);
    let host = supervisor.local_addr().unwrap().to_string();
    let setup = setup
        .with_variable("SUPERVISOR_TOKEN", "of Supervisor")
        .with_variable("SUPERVISOR", &host);
    let mut agent = setup.keeping_secret("of Supervisor").serve().await;
    let token = announced(&supervisor).await;
    agent.setup.secrets.push(token.clone());
    let client = agent.client.clone().with_token(&token);
    assert_eq!(client.get("/v1/info").await.status, 200);
    assert_eq!(agent.get("/v1/info").await.status, 401);
    client.upload("garage", &Sample::small("a1")).await;
    assert!(
        agent
            .printed()
            .contains("the token changes at the next start"),
        "{}",
        agent.printed()
    );
}
