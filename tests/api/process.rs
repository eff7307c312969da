//! The agent as a process: its socket, its lock, its log, its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use crate::lab::{
    Agent, Location, MIB, Sample, Setup, StateOn, agent_and_bucket, agent_behind_proxy, eventually,
    garage,
};

#[tokio::test]
async fn only_its_owner_may_use_the_socket() {
    let (agent, _bucket) = agent_and_bucket().await;
    let mode = fs::metadata(agent.setup.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_second_agent_is_refused_and_the_first_one_works_on() {
    let (agent, bucket) = agent_and_bucket().await;
    let ran = agent.setup.run(&["serve"]).await.ended_with(1);
    assert!(
        ran.stderr.contains("Another agent runs") && ran.stderr.contains("stop that one first"),
        "{}",
        ran.stderr
    );
    // The same socket with a state directory of its own.
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
async fn the_socket_of_an_agent_that_was_killed_is_replaced() {
    let (mut agent, _bucket) = agent_and_bucket().await;
    let socket = agent.setup.socket();
    agent.kill();
    assert!(
        fs::metadata(&socket).is_ok(),
        "the test would prove nothing"
    );
    let agent = Agent::restarted(agent).await;
    assert_eq!(agent.get("/v1/info").await.status, 200);
}

#[tokio::test]
async fn a_file_in_the_sockets_place_is_never_replaced() {
    let setup = Setup::of(Location::of(&garage::shared().bucket().await));
    fs::create_dir_all(setup.socket().parent().unwrap()).unwrap();
    fs::write(setup.socket(), "precious").unwrap();
    let ran = setup.run(&["serve"]).await.ended_with(1);
    assert!(ran.stderr.contains("is not a socket"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(setup.socket()).unwrap(), "precious");
}

#[tokio::test]
async fn the_socket_is_there_again_when_its_folder_was_deleted() {
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
async fn told_to_stop_it_ends_at_once_and_takes_its_socket_away() {
    for signal in ["TERM", "INT"] {
        let (mut agent, _bucket) = agent_and_bucket().await;
        let mut events = agent.events().await;
        agent.upload("garage", &Sample::small("a1")).await;
        let start = Instant::now();
        agent.signal(signal);
        while events.next().await.is_some() {}
        assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
        // Far below the ten seconds that a container is given.
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{:?}",
            start.elapsed()
        );
        assert!(!agent.setup.socket().exists());
    }
}

#[tokio::test]
async fn told_to_stop_while_an_upload_completes_it_lets_it_complete() {
    let (mut agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let sample = Sample::small("a1");
    let upload_id = agent.begin("garage", &sample).await;
    assert_eq!(
        agent.content(&upload_id, sample.tar.clone()).await.status,
        200
    );
    let gate = proxy.hold(|request| request.writes(".metadata.json"));
    let stop = async {
        eventually("the metadata is written", async || proxy.faults_left() == 0).await;
        agent.signal("TERM");
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.add_permits(1);
    };
    let (completed, ()) = tokio::join!(agent.complete(&upload_id, &sample), stop);
    assert_eq!(completed.status, 200, "{completed:?}");
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
    assert_eq!(bucket.keys().await.len(), 2);
}

#[tokio::test]
async fn told_to_stop_with_as_many_clients_as_it_takes_it_still_ends() {
    let (mut agent, _bucket) = agent_and_bucket().await;
    // Connections that say nothing; one more than the agent serves at a time.
    let mut clients = Vec::new();
    for _ in 0..129 {
        clients.push(UnixStream::connect(agent.setup.socket()).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    agent.signal("TERM");
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn the_log_level_changes_while_it_runs() {
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
    // At trace, everything that could hold a secret would be there; it is looked for when the agent is dropped.
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
async fn it_says_who_it_is() {
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
        "a restart is seen by its id"
    );
}

#[tokio::test]
async fn told_to_stop_during_a_download_it_breaks_it_loudly() {
    let (mut agent, _bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Stopped", 30 * MIB);
    agent.upload("garage", &sample).await;
    let path = crate::lab::call::content_path("garage", "a1");
    let mut answer = agent
        .request(http::Method::GET, &path)
        .send()
        .await
        .unwrap();
    let mut received = answer.chunk().await.unwrap().unwrap().len();
    agent.signal("TERM");
    // The client takes nothing more before the agent has ended.
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.printed());
    let complete = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => received += chunk.len(),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(
        !complete && received < sample.tar.len(),
        "{received} bytes came as if that were all"
    );
}

#[tokio::test]
async fn killed_during_an_upload_it_shows_no_half_backup_afterwards() {
    let (mut agent, bucket) = agent_and_bucket().await;
    let mut events = agent.events().await;
    let sample = Sample::new("a1", "Killed", 20 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() > Some(0))
        .await;
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
async fn a_state_directory_that_cannot_be_used_is_a_warning() {
    let (mut full, mut read_only) = (setup().await, setup().await);
    for (setup, state) in [
        (&mut full, StateOn::Full),
        (&mut read_only, StateOn::ReadOnly),
    ] {
        fs::create_dir(setup.path("state")).unwrap();
        setup.state_on = Some(state);
    }
    let (somebody_elses, impossible) = (setup().await.run_by_somebody_else(), setup().await);
    fs::create_dir(somebody_elses.path("state")).unwrap();
    fs::write(impossible.path("state"), "a file in the folder's place").unwrap();
    for setup in [full, read_only, somebody_elses, impossible] {
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
async fn a_state_directory_that_cannot_be_written_is_still_one_agents_alone() {
    let mut setup = setup().await;
    fs::create_dir(setup.path("state")).unwrap();
    setup.state_on = Some(StateOn::ReadOnly);
    let agent = setup.serve().await;
    let ran = agent.setup.run(&["serve"]).await.ended_with(1);
    assert!(ran.stderr.contains("Another agent runs"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_token_file_that_a_power_cut_left_empty_is_made_anew() {
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
async fn a_token_file_that_somebody_wrote_is_never_replaced() {
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
async fn a_token_that_cannot_be_kept_is_one_that_nobody_could_know() {
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

/// The token that the next message to Supervisor has.
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
async fn under_supervisor_a_token_that_cannot_be_kept_is_handed_over_all_the_same() {
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
