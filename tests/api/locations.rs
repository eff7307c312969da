//! Locations added, changed and removed at run time.

mod check;

use serde_json::{Value, json};

use crate::lab::{
    Agent, Bucket, Garage, HalfSent, Location, MIB, Proxy, Sample, Setup, Stopwatch, eventually,
    garage,
};

/// An agent without configured locations.
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
async fn registered_location_works_like_a_configured_one() {
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
        "the same settings again"
    );
    assert_eq!(
        agent.get("/v1/locations").await.json(),
        before,
        "repeated registration changes nothing"
    );

    assert_eq!(agent.delete("/v1/locations/home").await.status, 204);
    agent
        .get("/v1/locations/home")
        .await
        .is_problem(404, "location_not_found", &["home"]);
    assert_eq!(bucket.keys().await.len(), 2, "the bucket's content stays");
}

#[tokio::test]
async fn configured_location_cannot_be_changed_over_the_api() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::of(Location::of(&bucket)).serve().await;
    let mut elsewhere = settings(&bucket);
    elsewhere["prefix"] = json!("elsewhere");
    put(&agent, "garage", &elsewhere).await.is_problem(
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
async fn one_folder_is_one_location() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::of(Location::of(&bucket)).serve().await;
    let mut same = settings(&bucket);
    let answer = put(&agent, "home", &same).await;
    answer.is_problem(
        400,
        "invalid_request",
        &["\"home\"", "\"garage\"", "/backups/"],
    );
    assert_eq!(answer.json()["reason"], "folder_in_use");
    // Under the id of the configuration it is the same location, which stays as it is.
    same["name"] = json!("Renamed");
    let merged = put(&agent, "garage", &same).await;
    assert_eq!(
        (
            merged.status,
            &merged.json()["source"],
            &merged.json()["name"]
        ),
        (200, &json!("configuration"), &json!(bucket.name)),
    );

    let register = async |id: &str, prefix: &str| {
        let mut settings = settings(&bucket);
        settings["prefix"] = json!(prefix);
        put(&agent, id, &settings).await
    };
    assert_eq!(register("attic", "attic").await.status, 200);
    assert_eq!(register("cellar", "cellar").await.status, 200);
    let answer = register("cellar", "/attic/").await;
    assert_eq!(answer.json()["reason"], "folder_in_use");
    assert!(
        agent.location("cellar").await["prefix"] == "cellar",
        "it stays as it was"
    );
    assert_eq!(agent.delete("/v1/locations/attic").await.status, 204);
    assert_eq!(register("cellar", "attic").await.status, 200);
}

/// Home Assistant registers both again, and then once more the one that was refused.
#[tokio::test]
async fn locations_exchange_their_folders() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::with([]).serve().await;
    let register = async |id: &str, prefix: &str| {
        let mut settings = settings(&bucket);
        settings["prefix"] = json!(prefix);
        put(&agent, id, &settings).await.status
    };
    for (id, prefix) in [("a", "attic"), ("b", "cellar"), ("c", "roof")] {
        assert_eq!(register(id, prefix).await, 200);
    }
    let upload = agent.begin("c", &Sample::small("a1")).await;
    assert_eq!(register("a", "cellar").await, 400);
    assert_eq!(register("b", "attic").await, 200);
    assert_eq!(register("a", "cellar").await, 200);
    for (id, prefix) in [("a", "cellar"), ("b", "attic"), ("c", "roof")] {
        assert_eq!(agent.location(id).await["prefix"], prefix);
    }
    // One that was moved back stays where it is.
    assert_eq!(register("a", "attic").await, 400);
    assert_eq!(register("a", "cellar").await, 200);
    assert_eq!(register("b", "cellar").await, 400);
    assert_eq!(agent.location("a").await["prefix"], "cellar");
    assert_eq!(agent.cancel(&upload).await.status, 204);
}

/// A refused move does not free the folder for a third location: retention there would delete the backups.
#[tokio::test]
async fn only_an_exchange_takes_another_locations_folder() {
    let bucket = garage::shared().bucket().await;
    let agent = Setup::with([]).serve().await;
    let register = async |id: &str, prefix: &str| {
        let mut settings = settings(&bucket);
        settings["prefix"] = json!(prefix);
        put(&agent, id, &settings).await.status
    };
    for (id, prefix) in [("a", "attic"), ("b", "cellar"), ("c", "roof")] {
        assert_eq!(register(id, prefix).await, 200);
    }
    assert_eq!(register("a", "cellar").await, 400);
    assert_eq!(register("new", "attic").await, 400);
    assert_eq!(register("c", "attic").await, 400);
    assert_eq!(agent.location("a").await["prefix"], "attic");
    // An upload keeps its location.
    let upload = agent.begin("a", &Sample::small("a1")).await;
    assert_eq!(register("b", "attic").await, 400);
    assert_eq!(agent.cancel(&upload).await.status, 204);
    assert_eq!(agent.location("a").await["prefix"], "attic");
}

#[tokio::test]
async fn check_names_the_folder_and_its_id() {
    let (mut agent, bucket) = (agent().await, garage::shared().bucket().await);
    let check = async |agent: &Agent, settings: &Value| {
        agent.post("/v1/locations/check", settings).await.json()
    };
    let folder = format!("{}/{}/backups/", bucket.endpoint, bucket.name);
    let first = check(&agent, &settings(&bucket)).await;
    assert_eq!(first["folder"], folder);
    // As the app's options derive it on any machine.
    let mut options = Location::of(&bucket);
    options.id = String::new();
    let listed = Setup::of(options.clone()).run(&["--json", "list"]).await;
    assert_eq!(
        first["location_id"],
        listed.ended_with(0).json()["location"]
    );

    // A registered id is the folder's, also for the options of a later start.
    put(&agent, "ha-0123456789ab", &settings(&bucket)).await;
    let known = agent.location("ha-0123456789ab").await;
    assert_eq!(known["folder"], folder);
    assert!(
        known["other_ids"]
            .as_array()
            .unwrap()
            .contains(&first["location_id"]),
        "{known}"
    );
    let asked = check(&agent, &settings(&bucket)).await;
    assert_eq!(asked["location_id"], "ha-0123456789ab");
    agent.setup.set_locations([options]);
    agent.kill();
    let agent = Agent::restarted(agent).await;
    let known = agent.location("ha-0123456789ab").await;
    assert_eq!(known["source"], "configuration");
    let merged = put(&agent, "ha-0123456789ab", &settings(&bucket)).await;
    assert_eq!((merged.status, merged.json()), (200, known));
    // Settings that are invalid have no folder.
    let invalid = check(&agent, &json!({"bucket": "x"})).await;
    assert_eq!(
        (&invalid["folder"], &invalid["location_id"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn invalid_settings_are_reported_one_by_one() {
    let (agent, bucket) = (agent().await, garage::shared().bucket().await);
    let mut wrong = settings(&bucket);
    wrong["endpoint"] = json!("s3.example.com");
    wrong["part_size"] = json!("1 MiB");
    wrong["bukket"] = json!("x");
    wrong["provider"] = json!("garag");
    wrong["colour"] = json!("blue");
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
    for (key, reason, meant) in [
        ("bukket", "misspelt_setting", json!("bucket")),
        ("provider", "misspelt_provider", json!("garage")),
        ("colour", "unknown_setting", Value::Null),
    ] {
        let found = of(key);
        assert_eq!(
            (&found["reason"], &found["placeholders"]["meant"]),
            (&json!(reason), &meant)
        );
    }
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
    // The API gives no access to the agent's environment.
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
async fn access_key_changes_during_an_upload() {
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
    // One part is in flight when its key is deleted.
    let gate = proxy.hold(|request| request.stores_part(2));
    let sample = Sample::new("a1", "Rotated", 40 * MIB);
    let upload_id = agent.begin("home", &sample).await;
    let mut sending = agent.sending(&upload_id);
    let half = sample.tar.len() / 2;
    sending.send(&sample.tar.slice(..half)).await;
    eventually("a part is in flight", async || proxy.faults_left() == 0).await;

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
        "the list belongs to the current settings"
    );
    assert!(bucket.get(&format!("backups/{}.tar", sample.stem())).await == sample.tar);
}

#[tokio::test]
async fn removed_location_aborts_its_uploads() {
    let (agent, bucket) = (agent().await, garage::shared().bucket().await);
    put(&agent, "home", &settings(&bucket)).await;
    let sample = Sample::new("a1", "Forgotten", 30 * MIB);
    let HalfSent { sending, .. } = agent.half_sent("home", &sample, 1).await;
    assert_eq!(agent.delete("/v1/locations/home").await.status, 204);
    sending.gone().await;
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn unreachable_provider_does_not_slow_other_locations() {
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
    let watch = Stopwatch::start(&agent);
    for number in 0..10 {
        agent
            .upload("home", &Sample::small(&format!("a{number}")))
            .await;
        agent.refreshed("home").await;
    }
    assert_eq!(agent.listed("home").await.len(), 10);
    watch.assert_below(
        std::time::Duration::from_secs(15),
        "uploads and lists beside an unreachable location",
    );
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}
