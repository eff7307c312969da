//! Locations that come, change and go while the agent runs.

use serde_json::{Value, json};

use crate::lab::{
    Agent, Bucket, Fault, Garage, Imitation, Location, MIB, Proxy, Request, Sample, Server, Setup,
    eventually, garage,
};

/// An agent with no location of its own.
async fn agent() -> Agent {
    Setup::with([]).serve().await
}

/// Settings as Home Assistant registers them.
fn settings(bucket: &Bucket) -> Value {
    let mut settings = Location::of(bucket).json();
    settings.as_object_mut().unwrap().remove("id");
    settings
}

async fn put(agent: &Agent, id: &str, settings: &Value) -> crate::lab::call::Answer {
    agent
        .put(&format!("/v1/locations/{id}"), settings.to_string())
        .await
}

#[tokio::test]
async fn a_registered_location_works_like_a_configured_one() {
    let (agent, bucket) = (agent().await, garage::shared().bucket().await);
    let answer = put(&agent, "home", &settings(&bucket)).await;
    assert_eq!(
        (answer.status, &answer.json()["source"]),
        (200, &json!("registered")),
        "{answer:?}"
    );
    let sample = Sample::new("a1", "Registered", 12 * MIB);
    agent.upload("home", &sample).await;
    assert_eq!(agent.listed("home").await, ["a1"]);
    assert!(agent.download("home", "a1").await.unwrap().body == sample.tar);

    let before = agent.get("/v1/locations").await.json();
    assert_eq!(
        put(&agent, "home", &settings(&bucket)).await.status,
        200,
        "the same again"
    );
    assert_eq!(
        agent.get("/v1/locations").await.json(),
        before,
        "saying the same again changes nothing"
    );

    assert_eq!(agent.delete("/v1/locations/home").await.status, 204);
    agent
        .get("/v1/locations/home")
        .await
        .is_problem(404, "location_not_found", &["home"]);
    assert_eq!(bucket.keys().await.len(), 2, "what is in the bucket stays");
}

#[tokio::test]
async fn a_location_of_the_configuration_is_not_changed_from_outside() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::of(Location::of(&bucket)).serve().await;
    put(&agent, "garage", &settings(&bucket)).await.is_problem(
        400,
        "invalid_request",
        &["garage", "configuration"],
    );
    agent.delete("/v1/locations/garage").await.is_problem(
        400,
        "invalid_request",
        &["configuration"],
    );
    assert_eq!(agent.location("garage").await["source"], "configuration");
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_named_one_by_one() {
    let (agent, bucket) = (agent().await, garage::shared().bucket().await);
    let mut wrong = settings(&bucket);
    wrong["endpoint"] = json!("s3.example.com");
    wrong["part_size"] = json!("1 MiB");
    wrong["bukket"] = json!("x");
    let answer = put(&agent, "home", &wrong).await;
    answer.is_problem(400, "invalid_request", &["endpoint", "part_size", "bukket"]);
    let problems = answer.json()["problems"].as_array().unwrap().clone();
    let of = |key: &str| {
        problems
            .iter()
            .find(|problem| problem["key"] == key)
            .unwrap()
            .clone()
    };
    assert_eq!(of("endpoint")["reason"], "endpoint_without_scheme");
    assert_eq!(of("endpoint")["suggestion"], "https://s3.example.com");
    assert_eq!(of("part_size")["suggestion"], Value::Null);
    agent
        .get("/v1/locations/home")
        .await
        .is_problem(404, "location_not_found", &[]);

    for (key, value, word) in [
        ("endpoint", "file:///etc", "own configuration"),
        ("ca_certificate", "/etc/passwd", "BEGIN"),
        ("credentials", "environment", "own configuration"),
        ("id", "other", "another id"),
    ] {
        let mut wrong = settings(&bucket);
        wrong[key] = json!(value);
        put(&agent, "home", &wrong)
            .await
            .is_problem(400, "invalid_request", &[word]);
    }
    // Nobody can look into the agent's environment.
    let mut curious = settings(&bucket);
    curious["name"] = json!("${PATH}");
    assert_eq!(
        put(&agent, "home", &curious).await.json()["name"],
        "${PATH}"
    );
}

#[tokio::test]
async fn two_folders_of_one_bucket_are_two_locations() {
    let (agent, bucket) = (agent().await, garage::shared().bucket().await);
    for prefix in ["one", "two/deeper"] {
        let mut settings = settings(&bucket);
        settings["prefix"] = json!(prefix);
        assert_eq!(put(&agent, &prefix[..3], &settings).await.status, 200);
    }
    agent.upload("one", &Sample::small("a1")).await;
    agent.upload("two", &Sample::small("a2")).await;
    assert_eq!(
        (agent.listed("one").await, agent.listed("two").await),
        (vec!["a1".into()], vec!["a2".into()])
    );
    assert_eq!(agent.delete_backup("one", "a1").await.status, 204);
    assert_eq!(agent.listed("two").await, ["a2"]);
}

#[tokio::test]
async fn a_key_is_replaced_under_a_running_upload() {
    let garage = Garage::new().await;
    let (agent, bucket) = (agent().await, garage.bucket().await);
    let proxy = Proxy::before(&bucket.endpoint).await;
    let (old_id, old_secret) = garage
        .key_for(&bucket, json!({"read": true, "write": true}))
        .await;
    let (new_id, new_secret) = garage
        .key_for(&bucket, json!({"read": true, "write": true}))
        .await;
    let with = |key_id: &str, secret: &str| {
        let mut settings = settings(&bucket);
        settings["endpoint"] = json!(proxy.endpoint());
        (settings["access_key_id"], settings["secret_access_key"]) = (json!(key_id), json!(secret));
        settings
    };
    assert_eq!(
        put(&agent, "home", &with(&old_id, &old_secret))
            .await
            .status,
        200
    );
    // One part is on its way when its key is gone.
    let gate = proxy.hold(|request| request.stores_part(2));
    let sample = Sample::new("a1", "Rotated", 40 * MIB);
    let upload_id = agent.begin("home", &sample).await;
    let mut sending = agent.sending(&upload_id);
    let half = sample.tar.len() / 2;
    sending.send(&sample.tar.slice(..half)).await;
    eventually("a part is on its way", async || proxy.faults_left() == 0).await;

    assert_eq!(
        put(&agent, "home", &with(&new_id, &new_secret))
            .await
            .status,
        200
    );
    garage.forget_key(&old_id).await;
    gate.add_permits(1);
    sending.send(&sample.tar.slice(half..)).await;
    let arrived = sending.ended().await.unwrap();
    assert_eq!(arrived.status, 200, "{arrived:?}");
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
    assert_eq!(
        agent.listed("home").await,
        ["a1"],
        "the list is the one of the location as it is now"
    );
    assert!(bucket.get(&format!("backups/{}.tar", sample.stem())).await == sample.tar);
}

#[tokio::test]
async fn a_location_that_is_forgotten_takes_its_uploads_with_it() {
    let (agent, bucket) = (agent().await, garage::shared().bucket().await);
    put(&agent, "home", &settings(&bucket)).await;
    let mut events = agent.events().await;
    let sample = Sample::new("a1", "Forgotten", 30 * MIB);
    let upload_id = agent.begin("home", &sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 << 20)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() > Some(0))
        .await;
    assert_eq!(agent.delete("/v1/locations/home").await.status, 204);
    sending.gone().await;
    bucket.comes_to_be_empty().await;
}

#[tokio::test]
async fn a_dead_provider_never_slows_another() {
    let (agent, bucket) = (agent().await, garage::shared().bucket().await);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut dead = settings(&bucket);
    dead["endpoint"] = json!(format!("http://{}", silent.local_addr().unwrap()));
    put(&agent, "dead", &dead).await;
    put(&agent, "home", &settings(&bucket)).await;
    let waiting: Vec<_> = (0..20)
        .map(|number| {
            let client = agent.client.clone();
            tokio::spawn(async move {
                let sample = Sample::small(&format!("d{number}"));
                tokio::join!(
                    client.get("/v1/locations/dead/backups"),
                    client.create("dead", &sample)
                );
            })
        })
        .collect();
    let start = std::time::Instant::now();
    for number in 0..10 {
        agent
            .upload("home", &Sample::small(&format!("a{number}")))
            .await;
        agent.refreshed("home").await;
    }
    assert_eq!(agent.listed("home").await.len(), 10);
    assert!(
        start.elapsed().as_secs() < 15,
        "the dead location was waited for: {:?}",
        start.elapsed()
    );
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn settings_are_tried_without_being_kept() {
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
        bucket.comes_to_be_empty().await;
    }
}

#[tokio::test]
async fn a_wrong_region_is_found_out_and_offered() {
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
        // Left open, it is found without a word.
        let settings = right.with("region", "").json();
        let checked = agent.post("/v1/locations/check", &settings).await.json();
        assert_eq!(
            (&checked["ok"], &checked["found"]["region"]),
            (&json!(true), &json!(bucket.region)),
            "{checked:#}"
        );
        bucket.comes_to_be_empty().await;
    }
}

/// The names of the steps of a check.
fn steps(checked: &Value) -> Vec<&str> {
    checked["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn an_endpoint_without_tls_is_offered_and_nothing_signed_goes_there() {
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
    assert_eq!(server.count(|_| true), 1, "one greeting");
    assert_eq!(
        server.count(|request| request.headers.contains_key("authorization")),
        0
    );
}

#[tokio::test]
async fn a_web_page_proves_nothing_about_the_key() {
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
async fn what_a_check_cannot_remove_is_named() {
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
    let is_probe = |request: &Request| request.path.contains("s3-backup-agent-check-");
    // The read fails, and then the object cannot be removed.
    proxy.fault(
        move |request| is_probe(request) && request.method == "GET",
        refused.clone(),
    );
    proxy.fault(
        move |request| {
            is_probe(request) && !request.path.contains('?') && request.method == "DELETE"
        },
        refused.clone(),
    );
    assert_eq!(noted().await, 1);
    // A part cannot be stored, and then the upload cannot be aborted.
    proxy.fault(|request| request.stores_part(2), refused.clone());
    proxy.fault(
        move |request| {
            is_probe(request) && request.path.contains('?') && request.method == "DELETE"
        },
        refused.clone(),
    );
    assert_eq!(noted().await, 1);
    // What was never there is not left.
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
