//! Checks of a location's settings.

use std::sync::Arc;
use std::time::Duration;

use s3_backup_agent::agent::Agent;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::agent;
use crate::lab::{
    Fault, Imitation, Location, Proxy, Request, Server, eventually, garage, time_passes,
};

#[tokio::test]
async fn check_does_not_save_settings() {
    for server in [Server::Garage, Server::Swift] {
        let (agent, bucket) = (agent().await, server.bucket().await);
        let settings = server.location(&bucket).json();
        let checked = agent.post("/v1/locations/check", &settings).await.json();
        assert_eq!(checked["ok"], true, "{checked:#}");
        let steps: Vec<_> = checked["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["step"].clone())
            .collect();
        assert_eq!(
            json!(steps),
            json!([
                "resolve",
                "connect",
                "clock",
                "signature",
                "region",
                "bucket",
                "list",
                "write",
                "multipart",
                "read",
                "delete"
            ])
        );
        assert_eq!(checked["found"]["addressing"], "path");
        agent
            .get("/v1/locations/home")
            .await
            .is_problem(404, "location_not_found", &[]);
        bucket.wait_until_empty().await;
    }
}

#[tokio::test]
async fn wrong_region_is_detected_and_corrected() {
    for server in [Server::Garage, Server::Swift] {
        let (agent, bucket) = (agent().await, server.bucket().await);
        let right = server.location(&bucket);
        let settings = right.clone().with("region", "mars-north-1").json();
        let checked = agent.post("/v1/locations/check", &settings).await.json();
        let last = checked["steps"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(
            (&last["step"], &last["error"]["code"]),
            (&json!("region"), &json!("wrong_region")),
            "{checked:#}"
        );
        assert_eq!(
            checked["corrected"],
            json!({"region": right.region}),
            "{checked:#}"
        );
        // Omitted, the region is detected silently.
        let settings = right.with("region", "").json();
        let checked = agent.post("/v1/locations/check", &settings).await.json();
        assert_eq!(
            (&checked["ok"], &checked["found"]["region"]),
            (&json!(true), &json!(bucket.region)),
            "{checked:#}"
        );
        bucket.wait_until_empty().await;
    }
}

/// The names of a check's steps.
fn steps(checked: &Value) -> Vec<&str> {
    checked["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn plain_http_endpoint_is_suggested_without_sending_signed_requests() {
    let (agent, server) = (agent().await, Imitation::with([]).await);
    let secure = server.endpoint().replace("http://", "https://");
    let location = Location {
        endpoint: secure,
        ..server.location()
    };
    for (token, offered) in [
        ("", json!({"endpoint": server.endpoint()})),
        ("a-token", Value::Null),
    ] {
        let settings = location.clone().with("session_token", token).json();
        let checked = agent.post("/v1/locations/check", &settings).await.json();
        assert_eq!(
            steps(&checked),
            ["resolve", "connect", "tls"],
            "{checked:#}"
        );
        assert_eq!(checked["corrected"], offered, "{checked:#}");
    }
    assert_eq!(server.count(|_| true), 1, "exactly one greeting");
    assert_eq!(
        server.count(|request| request.headers.contains_key("authorization")),
        0
    );
}

#[tokio::test]
async fn web_page_is_not_blamed_on_the_access_key() {
    let (agent, bucket) = (agent().await, garage::shared().bucket().await);
    let proxy = Proxy::before(&bucket.endpoint).await;
    proxy.fault(
        Request::is_list,
        Fault::Answer("404 Not Found", "404: Not Found"),
    );
    let location = Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    };
    let checked = agent
        .post("/v1/locations/check", &location.json())
        .await
        .json();
    assert_eq!(
        steps(&checked),
        ["resolve", "connect", "list"],
        "{checked:#}"
    );
}

#[tokio::test]
async fn check_names_undeletable_objects() {
    let (agent, bucket) = (agent().await, garage::shared().bucket().await);
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    };
    let refused = Fault::Answer(
        "403 Forbidden",
        "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>",
    );
    let noted = async || {
        let checked = agent
            .post("/v1/locations/check", &location.json())
            .await
            .json();
        assert_eq!(proxy.faults_left(), 0, "{checked:#}");
        checked["notes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|note| note["code"] == "left_behind")
            .count()
    };
    let is_probe = Request::is_probe;
    // The read fails, and then the deletion of the object.
    proxy.fault(
        move |request| is_probe(request) && !request.path.contains('?') && request.method == "GET",
        refused.clone(),
    );
    for _ in 0..2 {
        proxy.fault(
            move |request| {
                is_probe(request) && !request.path.contains('?') && request.method == "DELETE"
            },
            refused.clone(),
        );
    }
    assert_eq!(noted().await, 1);
    // Storing a part fails, and then aborting the upload.
    proxy.fault(|request| request.stores_part(2), refused.clone());
    proxy.fault(
        move |request| {
            is_probe(request) && request.path.contains('?') && request.method == "DELETE"
        },
        refused.clone(),
    );
    assert_eq!(noted().await, 1);
    // A missing object is no leftover.
    proxy.fault(
        move |request| is_probe(request) && request.method == "PUT",
        refused.clone(),
    );
    proxy.fault(
        move |request| is_probe(request) && request.method == "DELETE",
        refused,
    );
    assert_eq!(noted().await, 0);
}

/// A line that takes 512 KiB a second, and an agent in this process, whose clock is advanced: no second is waited for.
#[tokio::test]
async fn slow_uplink_passes_with_the_size_that_was_proven() {
    const PART_KIB: u64 = 32 * 1024;
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        part_size: format!("{PART_KIB} KiB"),
        ..Location::of(&bucket)
    };
    let line = Arc::new(Semaphore::new(0));
    proxy.fault(
        |request| request.stores_part(1),
        Fault::Slow(Arc::clone(&line)),
    );
    let state = tempfile::tempdir().unwrap();
    let agent = Agent::new(Vec::new(), state.path());
    let seconds = async {
        eventually("the part is sent", async || proxy.faults_left() == 0).await;
        let mut seconds = 0;
        // A small part follows the one that is cut off.
        while proxy.count(|request| request.stores_part(1)) < 2 && seconds < 60 {
            line.add_permits(512 * 1024);
            time_passes(Duration::from_secs(1)).await;
            seconds += 1;
        }
        let passed = seconds * 512 * 1024 - line.available_permits();
        (seconds, passed as u64 / 1024)
    };
    let (checked, (seconds, passed)) = tokio::join!(agent.check_settings(location.json()), seconds);
    let checked = serde_json::to_value(checked.unwrap()).unwrap();
    assert_eq!(checked["ok"], true, "{checked:#}");
    assert!((29..=32).contains(&seconds), "cut off after {seconds} s");
    let notes = checked["notes"].as_array().unwrap();
    let note = notes.iter().find(|note| note["code"] == "slow_uplink");
    let message = note.unwrap()["message"].as_str().unwrap();
    let numbers: Vec<u64> = message
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    let [proven, limit, part] = numbers[..] else {
        panic!("{message}");
    };
    assert_eq!((limit, part), (30, PART_KIB), "{message}");
    // What left the agent also fills the buffers on the way.
    assert!(passed > 1024, "test precondition not met");
    assert!((passed..PART_KIB).contains(&proven), "{passed}: {message}");
    bucket.wait_until_empty().await;
}
