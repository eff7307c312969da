//! Invalid requests, regardless of their backup.

use serde_json::json;

use super::nothing_is_kept;
use crate::lab::{Sample, agent_and_bucket};

#[tokio::test]
async fn router_errors_are_problem_documents() {
    let (agent, _) = agent_and_bucket().await;
    for path in [
        "/v1/locations/garage/backups?refresh=maybe",
        "/v1/locations/%ff/backups",
    ] {
        agent
            .client
            .get(path)
            .await
            .is_problem(400, "invalid_request", &["cannot be read"]);
    }
}

#[tokio::test]
async fn missing_resources_are_named() {
    let (agent, _bucket) = agent_and_bucket().await;
    let sample = Sample::small("a1");
    agent.get("/v1/locations/attic").await.is_problem(
        404,
        "location_not_found",
        &["attic", "configuration"],
    );
    agent.get("/v1/locations/attic/backups").await.is_problem(
        404,
        "location_not_found",
        &["attic"],
    );
    agent
        .create("attic", &sample)
        .await
        .is_problem(404, "location_not_found", &["attic"]);
    agent
        .get("/v1/locations/garage/backups/a1")
        .await
        .is_problem(404, "backup_not_found", &["a1", "Refresh"]);
    agent
        .delete_backup("garage", "a1")
        .await
        .is_problem(404, "backup_not_found", &["a1"]);
    agent
        .download("garage", "a1")
        .await
        .unwrap()
        .is_problem(404, "backup_not_found", &["a1"]);
    agent
        .content("u1", sample.tar.clone())
        .await
        .is_problem(404, "upload_not_found", &["u1"]);
    agent
        .complete("u1", &sample)
        .await
        .is_problem(404, "upload_not_found", &["u1"]);
    agent
        .cancel("u1")
        .await
        .is_problem(404, "upload_not_found", &["u1"]);
    agent
        .get("/v1/nothing")
        .await
        .is_problem(404, "not_found", &["/v1/nothing", "openapi.json"]);
    agent
        .put("/v1/locations", "")
        .await
        .is_problem(404, "not_found", &["PUT /v1/locations"]);
}

#[tokio::test]
async fn invalid_request_bodies_are_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    let uploads = "/v1/locations/garage/uploads";
    let refused = async |body: &'static str| {
        let request = agent.request(http::Method::POST, uploads).body(body);
        agent.send(request).await.unwrap()
    };
    refused("{broken")
        .await
        .is_problem(400, "invalid_request", &["body"]);
    refused("")
        .await
        .is_problem(400, "invalid_request", &["body"]);
    refused("[1]")
        .await
        .is_problem(400, "invalid_request", &["body"]);
    refused("{\"filename\": \"x.tar\"}")
        .await
        .is_problem(400, "invalid_request", &["backup"]);
    refused("{\"backup\": {}}")
        .await
        .is_problem(400, "invalid_request", &["filename"]);
    refused("\u{0}\u{1}\u{ff}")
        .await
        .is_problem(400, "invalid_request", &["body"]);
    agent
        .put("/v1/log", "{\"level\": \"loud\"}")
        .await
        .is_problem(400, "invalid_request", &["loud", "debug"]);
    let sample = Sample::small("a1");
    let upload_id = agent.received("garage", &sample).await;
    let complete = format!("/v1/uploads/{upload_id}/complete");
    agent
        .post(&complete, &json!({"size": "many"}))
        .await
        .is_problem(400, "invalid_request", &["many"]);
    assert_eq!(
        agent.complete(&upload_id, &sample).await.status,
        200,
        "an invalid request does not end the upload"
    );
    assert_eq!(bucket.keys().await.len(), 2);
}

#[tokio::test]
async fn oversized_body_is_refused() {
    let (agent, bucket) = agent_and_bucket().await;
    let mut sample = Sample::small("a1");
    sample.metadata["extra_metadata"]["filler"] = "x".repeat(2 * 1024 * 1024).into();
    let request = agent.request(http::Method::POST, "/v1/locations/garage/uploads");
    let body = json!({"backup": sample.metadata, "filename": "a.tar"});
    // The agent stops reading: it answers or closes the connection.
    if let Ok(answer) = agent.send(request.json(&body)).await {
        answer.is_problem(400, "invalid_request", &["limit"]);
    }
    nothing_is_kept(&agent, &bucket).await;
}

#[tokio::test]
async fn oversized_header_is_refused() {
    let (agent, _bucket) = agent_and_bucket().await;
    let request = agent
        .request(http::Method::GET, "/v1/info")
        .header("x-filler", "x".repeat(2 * 1024 * 1024));
    if let Ok(answer) = agent.send(request).await {
        assert_eq!(answer.status, 431);
    }
    let many = agent.request(http::Method::GET, "/v1/info");
    let many = (0..500).fold(many, |request, index| {
        request.header(format!("x-filler-{index}"), "x")
    });
    if let Ok(answer) = agent.send(many).await {
        assert_eq!(answer.status, 431);
    }
    assert_eq!(agent.get("/v1/info").await.status, 200);
}
