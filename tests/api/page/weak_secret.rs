//! A secret that is also a word of the agent: replacing that word would reveal it.

use http::Method;
use serde_json::{Value, json};

use super::{Visitor, text, with_page};
use crate::lab::liar::{Liar, Lie};
use crate::lab::{Agent, Location, Setup, garage};

/// Words of the page, of the log and of the API.
const WEAK: [&str; 6] = ["wrong", "location", "Backups", "checked", "error", "garage"];

/// Sentence of a provider that repeats the secret.
fn echo(secret: &str) -> String {
    format!("Key {secret} is not {secret}!")
}

/// An agent with a bucket that works, and one whose provider repeats the secret.
async fn agent_with(secret: &str) -> Agent {
    let said = echo(secret);
    let liar = Liar::start(move |head, _| {
        // Without a signature, a server knows nothing of the secret.
        let is_signed = head.to_ascii_lowercase().contains("authorization:");
        let message = if is_signed { &*said } else { "Sign!" };
        let document =
            format!("<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>");
        Lie::body(
            "403 Forbidden",
            "content-type: application/xml\r\n",
            document,
        )
    })
    .await;
    let echoing = Location {
        id: "away".into(),
        secret: secret.to_owned(),
        ..liar.location()
    };
    let working = Location::of(&garage::shared().bucket().await);
    let mut setup = with_page(Setup::with([working, echoing]));
    // Its words stay in the log.
    setup.secrets.retain(|kept| kept != secret);
    setup.serve().await
}

/// Asserts that the provider's sentence is redacted in a text, and nothing else.
#[track_caller]
fn assert_only_echo_is_redacted(what: &str, text: &str, secret: &str) {
    let redacted = echo("***");
    assert!(text.contains(&redacted), "{what} hides the error: {text}");
    assert!(!text.contains(&echo(secret)), "{what} repeats \"{secret}\"");
    let rest = text.replace(&redacted, "");
    assert!(
        !rest.contains("***"),
        "{what} tells that \"{secret}\" is a secret: {rest}"
    );
}

#[tokio::test]
async fn secret_that_is_a_word_of_the_agent_is_redacted_in_values_alone() {
    for secret in WEAK {
        let agent = agent_with(secret).await;
        let visitor = Visitor::of(&agent.setup);
        let events = agent.client.log("debug").await;
        let mut seen = visitor.open().await;
        seen += &visitor.check("away").await.concat();
        seen += &visitor.check("garage").await.concat();
        seen += &visitor.open().await;
        assert_only_echo_is_redacted("the page", &seen, secret);
        let headers = [("accept-language", "de")];
        let german = text(&visitor.with(Method::GET, "/", &headers).await);
        assert_only_echo_is_redacted("the page in German", &german, secret);

        agent.get("/v1/locations/away/backups").await;
        let locations = String::from_utf8(agent.get("/v1/locations").await.body.to_vec()).unwrap();
        assert_only_echo_is_redacted("the list of locations", &locations, secret);
        let mut events = events;
        agent.get("/v1/providers").await;
        let told = events
            .until(|event| event["fields"]["path"] == "/v1/providers")
            .await;
        let told: Vec<_> = told.iter().filter(|event| event["type"] == "log").collect();
        assert_only_echo_is_redacted("the log of a stream", &json!(told).to_string(), secret);
        assert_only_echo_is_redacted("standard error", &agent.printed(), secret);

        let mut diagnostics = agent.get("/v1/diagnostics").await.json();
        // Secret settings are hidden there by their names, and the other values come from outside.
        diagnostics["configuration"] = Value::Null;
        for location in diagnostics["locations"].as_array_mut().unwrap() {
            location["name"] = Value::Null;
        }
        assert_only_echo_is_redacted("the diagnostics", &diagnostics.to_string(), secret);
    }
}

#[tokio::test]
async fn short_secret_is_warned_about() {
    let agent = agent_with("wrong").await;
    let warning = "The secret access key has fewer than 8 characters";
    assert!(agent.printed().contains(warning), "{}", agent.printed());
    let checked = agent
        .client
        .post("/v1/locations/away/check", &Value::Null)
        .await
        .json();
    let codes: Vec<_> = checked["notes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|note| &note["code"])
        .collect();
    assert!(codes.contains(&&json!("short_secret")), "{checked}");
    let page = Visitor::of(&agent.setup).check("away").await.pop().unwrap();
    assert!(page.contains(warning), "{page}");
    let checked = agent
        .client
        .post("/v1/locations/garage/check", &Value::Null)
        .await
        .json();
    assert_eq!(checked["notes"], json!([]));
}

#[tokio::test]
async fn weak_secret_that_was_pasted_into_a_name_is_redacted() {
    let bucket = garage::shared().bucket().await;
    let pasted = Location::of(&bucket).with("name", "minioadmin");
    let other = Location {
        id: "away".into(),
        endpoint: "http://127.0.0.1:9".into(),
        secret: "minioadmin".into(),
        ..Location::of(&bucket)
    };
    let agent = with_page(Setup::with([pasted, other])).serve().await;
    let events = agent.client.log("debug").await;
    // The answer echoes it, its record does not.
    let path = "/v1/locations/minioadmin";
    let answer = agent.client.request(Method::GET, path).send().await;
    assert_eq!(answer.unwrap().status(), 404);
    drop(events);
    let page = Visitor::of(&agent.setup).open().await;
    assert!(page.contains(">***</h3>"), "{page}");
    let diagnostics = agent.get("/v1/diagnostics").await.json().to_string();
    for (what, text) in [
        ("the page", page),
        ("the diagnostics", diagnostics),
        ("standard error", agent.printed()),
    ] {
        assert!(!text.contains("minioadmin"), "{what}: {text}");
    }
}
