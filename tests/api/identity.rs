//! The agent's identity.

use std::fs;

use crate::lab::{Agent, Location, Sample, Setup, StateOn, agent_and_bucket, garage};

async fn id(agent: &Agent) -> String {
    let info = agent.get("/v1/info").await.json();
    let id = info["agent_id"].as_str().unwrap();
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    id.to_owned()
}

async fn restarted(mut agent: Agent) -> Agent {
    agent.signal("TERM");
    assert!(agent.ended().await.success());
    Agent::restarted(agent).await
}

#[tokio::test]
async fn identity_persists_across_restart_and_differs_between_agents() {
    let (agent, _bucket) = agent_and_bucket().await;
    let before = id(&agent).await;
    let agent = restarted(agent).await;
    assert_eq!(id(&agent).await, before);
    assert!(
        !agent.printed().contains("another id"),
        "{}",
        agent.printed()
    );
    let (other, _bucket) = agent_and_bucket().await;
    assert_ne!(id(&other).await, before);
}

#[tokio::test]
async fn commands_create_no_identity() {
    let setup = Setup::of(Location::of(&garage::shared().bucket().await));
    setup.run(&["list"]).await.ended_with(0);
    assert!(!setup.path("state/agent_id").exists());
}

#[tokio::test]
async fn identity_is_temporary_without_state_directory() {
    let mut setup = Setup::of(Location::of(&garage::shared().bucket().await));
    fs::create_dir(setup.path("state")).unwrap();
    setup.state_on = Some(StateOn::ReadOnly);
    let agent = setup.serve().await;
    let before = id(&agent).await;
    let printed = agent.printed();
    assert!(
        printed.contains("WARN") && printed.contains("state/agent_id\" cannot be written"),
        "{printed}"
    );
    let second = agent.setup.run(&["serve"]).await.ended_with(1);
    assert!(
        second.stderr.contains("Another agent runs"),
        "{}",
        second.stderr
    );
    agent
        .upload("garage", &Sample::new("a1", "In parts", 12 << 20))
        .await;
    assert_ne!(id(&restarted(agent).await).await, before);
}
